"""The tables of the R-CNN paper on VOC 2007, row by row, beside the published figures.

Row                one row of a table
rows_of            the rows of a network
published_figures  what the paper printed
Pipeline           runs the stages of a row
Setup              which images and limits all rows share
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.experiments.reproduce.pipeline import Pipeline, Setup
    from rcnn_svm.experiments.reproduce.published import published_figures
    from rcnn_svm.experiments.reproduce.rows import Row, rows_of
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "Pipeline",
    "Row",
    "Setup",
    "published_figures",
    "rows_of",
]
