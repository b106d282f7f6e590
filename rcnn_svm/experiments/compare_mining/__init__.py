"""What mining is worth: the same features, seven ways to choose the examples.

MiningComparison  trains and tests them, several seeds each
METHODS           the seven ways
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.experiments.compare_mining.comparison import METHODS, MiningComparison
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "METHODS",
    "MiningComparison",
]
