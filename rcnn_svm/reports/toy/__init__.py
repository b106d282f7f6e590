"""The toy of the bootstrap: a page in which hard negative mining runs step by step on the reader's own points.

bootstrap_toy  the page
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.reports.toy.page import bootstrap_toy
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = ["bootstrap_toy"]
