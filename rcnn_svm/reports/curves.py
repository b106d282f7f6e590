"""Precision over recall, one small plot per class."""

from __future__ import annotations

import math
import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rcnn_svm.evaluation.voc import PrecisionRecall, VocResult
from rcnn_svm.reports.style import BLUE, LINE_WIDTH, PALE_BLUE, new_figure, save_figure, tidy

COLUMNS = 5


def precision_recall_figure(result: VocResult) -> Figure:
    """Return a figure with one plot per class: precision over recall, and the area that AP measures."""
    columns = min(COLUMNS, len(result.classes))
    rows = math.ceil(len(result.classes) / columns)
    figure = new_figure(2.5 * columns + 0.4, 2.4 * rows + 0.8)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis, entry in zip(axes.flat, result.classes, strict=False):
        _plot_class(axis, entry)
    for axis in axes.flat[len(result.classes) :]:
        axis.set_axis_off()
    figure.suptitle(
        f"{result.image_set}: mAP {100 * result.map11:.1f} (VOC07) | {100 * result.map_area:.1f} (area)",
        fontsize=12,
        parse_math=False,
    )
    figure.supxlabel("recall", fontsize=10)
    figure.supylabel("precision", fontsize=10)
    return figure


def _plot_class(axis: Axes, entry: PrecisionRecall) -> None:
    # A name may hold $, which would be a formula.
    if entry.num_objects:
        title = f"{entry.name}  {100 * entry.ap11:.1f} | {100 * entry.ap_area:.1f}"
    else:
        title = f"{entry.name}: no objects"
    axis.set_title(title, fontsize=9, parse_math=False)
    plot_curve(axis, entry)


def plot_curve(axis: Axes, entry: PrecisionRecall) -> None:
    """Plot the precision of a class over its recall, and the area that AP measures; without objects the axes alone."""
    axis.set(xlim=(0, 1.02), ylim=(0, 1.04), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axis.tick_params(labelsize=8)
    tidy(axis)
    if not entry.num_objects:
        return
    precision = np.nan_to_num(entry.precision)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    axis.fill_between(np.append(0, entry.recall), np.append(best[:1], best), step="pre", color=PALE_BLUE, lw=0)
    axis.plot(entry.recall, entry.precision, color=BLUE, linewidth=LINE_WIDTH)


def save_precision_recall(result: VocResult, path: str | os.PathLike) -> None:
    """Write the figure of `precision_recall_figure` as PNG."""
    save_figure(precision_recall_figure(result), path)
