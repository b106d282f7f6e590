"""How a fine-tuning went: loss and accuracy over its steps."""

from __future__ import annotations

import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from rcnn_svm.reports.style import BLUE, LINE_WIDTH, ORANGE, new_figure, save_figure, tidy


def finetuning_figure(log: Sequence[dict[str, float]]) -> Figure:
    """Return a figure with the loss on the left, and the accuracies on the right.

    Args:
        log: lines with `iteration`, `loss`, `accuracy` and `foreground_accuracy`.
    """
    iterations = [line["iteration"] for line in log]
    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    left.plot(iterations, [line["loss"] for line in log], color=BLUE, linewidth=LINE_WIDTH)
    left.set(title="softmax loss", ylim=(0, None))
    for key, label, color in (
        ("accuracy", "all windows", BLUE),
        ("foreground_accuracy", "windows on objects", ORANGE),
    ):
        right.plot(iterations, [100 * line[key] for line in log], color=color, linewidth=LINE_WIDTH, label=label)
    right.set(title="classified correctly, %", ylim=(0, 102))
    tidy(left)
    tidy(right, legend=9)
    for axis in (left, right):
        axis.set_xlabel("step")
    return figure


def save_finetuning(log: Sequence[dict[str, float]], path: str | os.PathLike) -> None:
    """Write the figure of `finetuning_figure` as PNG."""
    save_figure(finetuning_figure(log), path)
