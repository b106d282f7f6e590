"""The comparison of mining methods as a table and as loss curves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from rcnn_svm.reports.heads import interval_means
from rcnn_svm.reports.style import LINE_WIDTH, log_ticks, new_figure, save_figure, tidy
from rcnn_svm.reports.table import Table, csv_text
from rcnn_svm.words import counted

# Mini-batches differ more from each other than the curve changes.
POINTS = 40
HEADER = ("method", "AP VOC07", "AP area", "+ boxes VOC07", "+ boxes area", "training, s", "negatives")
MEASURES = ("map11", "map_area", "corrected_map11", "corrected_map_area")


def comparison_table(
    results: Sequence[dict[str, Any]], names: Mapping[str, str], num_seeds: int, iterations: int
) -> Table:
    """Return a table, one row per method: means over the seeds and, of mAP in percent, the range.

    Args:
        results: as `MiningComparison.run` returns them.
        names: what to call each method, in the order of the table.
        num_seeds: trainings of each method.
        iterations: steps of the softmax heads.
    """
    rows = []
    for method, name in names.items():
        runs = [result for result in results if result["method"] == method]
        cells = [_mean_and_range([result[measure] for result in runs]) for measure in MEASURES]
        seconds = f"{np.mean([result['seconds'] for result in runs]):.1f}"
        negatives = [result["negatives"] for result in runs]
        rows.append([name, *cells, seconds, "-" if None in negatives else f"{np.mean(negatives):.0f}"])
    notes = (
        f"mAP in percent, mean and range of {num_seeds} seeds; time of the training alone, in one thread.",
        f"Softmax heads take {counted(iterations, 'step')} of two images each; SVMs pass over the images once.",
        "With + boxes, the head's own box regression has corrected the boxes; without, all rows have the same boxes.",
        "Random negatives are as many for every class as mining ended with; negatives: of a class, on average.",
    )
    return Table(HEADER, rows, notes=notes)


def _mean_and_range(values: Sequence[float | None]) -> str:
    if None in values:
        return "-"
    percent = 100 * np.array(values)
    return f"{percent.mean():.1f} ({percent.min():.1f} to {percent.max():.1f})"


def comparison_csv(results: Sequence[dict[str, Any]]) -> str:
    """Return every result as a line of CSV, fractions in full; empty where there is none."""
    columns = ("method", "seed", *MEASURES, "seconds", "negatives")
    return csv_text([columns, *([result[column] for column in columns] for result in results)])


def comparison_figure(histories: Mapping[str, Sequence[dict[str, np.ndarray]]]) -> Figure:
    """Return a figure of the classification loss: of what each sampler takes, and of all RoIs of the same images.

    Lines are means over the seeds, bands their range.

    Args:
        histories: name -> `steps` and `probes` of every seed as `RoIHeadTrainer` describes them.
    """
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    for color, (name, runs) in zip(matplotlib.color_sequences["tab10"], histories.items(), strict=False):
        taken = [interval_means(history["steps"][:, 0], POINTS) for history in runs]
        probed = [history["probes"][:, :2].T for history in runs]
        for axis, curves in ((left, taken), (right, probed)):
            steps, loss = curves[0][0], np.array([values for _, values in curves])
            axis.plot(steps, loss.mean(axis=0), color=color, linewidth=LINE_WIDTH, label=name)
            axis.fill_between(steps, loss.min(axis=0), loss.max(axis=0), color=color, alpha=0.2, linewidth=0)
    left.set(title="classification loss of the RoIs taken", xlabel="step", ylim=(0, None))
    # The untrained head's loss is thirty times that of the end, where the methods differ.
    right.set(title="classification loss of all RoIs of the same images", xlabel="step", yscale="log")
    log_ticks(right.yaxis, (1, 2, 5))
    tidy(left)
    tidy(right, legend=8)
    return figure


def save_comparison_figure(histories: Mapping[str, Sequence[dict[str, np.ndarray]]], path: str | os.PathLike) -> None:
    """Write the figure of `comparison_figure` as PNG."""
    save_figure(comparison_figure(histories), path)
