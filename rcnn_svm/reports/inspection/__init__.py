"""What an artefact holds: `artefact.py` finds out what it is, and a file for each family says what is in it.

Inspection        what was found, as text of a screen and as JSON
inspect_artefact  what a file or folder of any stage holds
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.reports.inspection.artefact import inspect_artefact
    from rcnn_svm.reports.inspection.result import Inspection
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = ["Inspection", "inspect_artefact"]
