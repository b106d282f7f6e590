"""Where two artefacts differ: `artefact.py` finds out what they are, and a file for each family compares them.

Comparison         what was found, as text of a terminal and as JSON
compare_artefacts  where two artefacts of one kind differ first, by how much, and which setting explains it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.reports.difference.artefact import compare_artefacts
    from rcnn_svm.reports.difference.result import Comparison
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = ["Comparison", "compare_artefacts"]
