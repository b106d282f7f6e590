"""How the training of a RoI head went: its losses over the steps."""

from __future__ import annotations

import os

import numpy as np
from matplotlib.figure import Figure

from rcnn_svm.reports.style import BLUE, LINE_WIDTH, ORANGE, new_figure, save_figure, tidy

POINTS = 200


def interval_means(values: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return a long curve as the means of at most `points` intervals.

    Args:
        values: (N,) float, one per step.
        points: largest number of intervals.

    Returns:
        (n,) int64, the last step of every interval, counted from 1; (n,) float64, the means.
    """
    edges = np.unique(np.linspace(0, len(values), min(points, len(values)) + 1).astype(int))
    sums = np.add.reduceat(np.asarray(values, np.float64), edges[:-1])
    return edges[1:], sums / np.diff(edges)


def head_figure(history: dict[str, np.ndarray]) -> Figure:
    """Return a figure with the losses of the mini-batches and, where there are any, of all RoIs of some images.

    Args:
        history: `steps` and `probes` as `RoIHeadTrainer` describes them.
    """
    steps, probes = history["steps"], history["probes"]
    plots = {"loss of the RoIs taken": lambda column: interval_means(steps[:, column])}
    if len(probes):
        plots["loss of all RoIs of the same images"] = lambda column: (probes[:, 0], probes[:, 1 + column])
    figure = new_figure(4.5 * len(plots), 3.4)
    for axis, (title, curve) in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots.items(), strict=True):
        for column, (name, color) in enumerate((("classification", BLUE), ("boxes", ORANGE))):
            axis.plot(*curve(column), color=color, linewidth=LINE_WIDTH, label=name)
        axis.set(title=title, xlabel="step", ylim=(0, None))
        tidy(axis, legend=9)
    return figure


def save_head_figure(history: dict[str, np.ndarray], path: str | os.PathLike) -> None:
    """Write the figure of `head_figure` as PNG."""
    save_figure(head_figure(history), path)
