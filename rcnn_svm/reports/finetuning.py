"""How a fine-tuning went: loss and accuracy over its steps."""

from __future__ import annotations

import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from rcnn_svm.artefacts.files import atomic_path


def finetuning_figure(log: Sequence[dict[str, float]]) -> Figure:
    """Return a figure with the loss on the left, and the accuracies on the right.

    Args:
        log: lines with `iteration`, `loss`, `accuracy` and `foreground_accuracy`.
    """
    iterations = [line["iteration"] for line in log]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(iterations, [line["loss"] for line in log], color="#08519c", linewidth=1.1)
    left.set(title="softmax loss", ylim=(0, None))
    for key, label, color in (
        ("accuracy", "all windows", "#08519c"),
        ("foreground_accuracy", "windows on objects", "#d94801"),
    ):
        right.plot(iterations, [100 * line[key] for line in log], color=color, linewidth=1.1, label=label)
    right.set(title="classified correctly, %", ylim=(0, 102))
    right.legend(frameon=False, fontsize=9)
    for axis in (left, right):
        axis.set_xlabel("step")
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def save_finetuning(log: Sequence[dict[str, float]], path: str | os.PathLike) -> None:
    """Write the figure of `finetuning_figure` as PNG."""
    with atomic_path(path) as temporary:
        finetuning_figure(log).savefig(temporary, format="png", dpi=110)
