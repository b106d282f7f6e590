"""The comparison of mining methods as a table and as loss curves."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from rcnn_svm.artefacts.files import atomic_path
from rcnn_svm.reports.heads import interval_means, tidy_axis
from rcnn_svm.reports.tables import markdown_table, text_table

# Mini-batches differ more from each other than the curve changes.
POINTS = 40
HEADER = ("method", "AP VOC07", "AP area", "+ boxes VOC07", "+ boxes area", "training, s", "negatives")
MEASURES = ("map11", "map_area", "corrected_map11", "corrected_map_area")


def comparison_rows(results: Sequence[dict[str, Any]], names: Mapping[str, str]) -> list[list[str]]:
    """Return the cells of the table, one row per method: means over the seeds and, of mAP in percent, the range.

    Args:
        results: as `MiningComparison.run` returns them.
        names: what to call each method, in the order of the table.
    """
    rows = []
    for method, name in names.items():
        runs = [result for result in results if result["method"] == method]
        cells = [_mean_and_range([result[measure] for result in runs]) for measure in MEASURES]
        seconds = f"{np.mean([result['seconds'] for result in runs]):.1f}"
        negatives = [result["negatives"] for result in runs]
        rows.append([name, *cells, seconds, "-" if None in negatives else f"{np.mean(negatives):.0f}"])
    return rows


def _mean_and_range(values: Sequence[float | None]) -> str:
    if None in values:
        return "-"
    percent = 100 * np.array(values)
    return f"{percent.mean():.1f} ({percent.min():.1f} to {percent.max():.1f})"


def comparison_notes(num_seeds: int, iterations: int) -> list[str]:
    """Return what the table's figures mean, one sentence each."""
    return [
        f"mAP in percent, mean and range of {num_seeds} seeds; time of the training alone, in one thread.",
        f"Softmax heads take {iterations} steps of two images each; SVMs pass over the images once.",
        "With + boxes, the head's own box regression has corrected the boxes; without, all rows have the same boxes.",
        "Random negatives are as many for every class as mining ended with; negatives: of a class, on average.",
    ]


def comparison_text(rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """Return the table as text."""
    return "\n".join([text_table(HEADER, rows), "", *notes])


def comparison_markdown(rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """Return the table in Markdown."""
    return "\n".join([markdown_table(HEADER, rows), "", *(f"- {note}" for note in notes), ""])


def comparison_csv(results: Sequence[dict[str, Any]]) -> str:
    """Return every result as a line of CSV, fractions in full; empty where there is none."""
    columns = ("method", "seed", *MEASURES, "seconds", "negatives")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for result in results:
        writer.writerow(["" if result[column] is None else result[column] for column in columns])
    return stream.getvalue()


def comparison_figure(histories: Mapping[str, Sequence[dict[str, np.ndarray]]]) -> Figure:
    """Return a figure of the classification loss: of what each sampler takes, and of all RoIs of the same images.

    Lines are means over the seeds, bands their range.

    Args:
        histories: name -> `steps` and `probes` of every seed as `RoIHeadTrainer` describes them.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for color, (name, runs) in zip(matplotlib.colormaps["tab10"].colors, histories.items(), strict=False):
        taken = [interval_means(history["steps"][:, 0], POINTS) for history in runs]
        probed = [history["probes"][:, :2].T for history in runs]
        for axis, curves in ((left, taken), (right, probed)):
            steps, loss = curves[0][0], np.array([values for _, values in curves])
            axis.plot(steps, loss.mean(axis=0), color=color, linewidth=1.1, label=name)
            axis.fill_between(steps, loss.min(axis=0), loss.max(axis=0), color=color, alpha=0.2, linewidth=0)
    tidy_axis(left, "classification loss of the RoIs taken")
    tidy_axis(right, "classification loss of all RoIs of the same images")
    # The untrained head's loss is thirty times that of the end, where the methods differ.
    right.set(yscale="log", ylim=(None, None))
    right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    right.yaxis.set_minor_formatter(NullFormatter())
    right.legend(frameon=False, fontsize=8)
    return figure


def save_comparison_figure(histories: Mapping[str, Sequence[dict[str, np.ndarray]]], path: str | os.PathLike) -> None:
    """Write the figure of `comparison_figure` as PNG."""
    with atomic_path(path) as temporary:
        comparison_figure(histories).savefig(temporary, format="png", dpi=110)
