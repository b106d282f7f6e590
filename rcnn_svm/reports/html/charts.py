"""Charts of the page: matplotlib's SVG, in colours that follow the page's scheme."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rcnn_svm.evaluation.voc import RECALL_LEVELS, PrecisionRecall, precision_at_levels
from rcnn_svm.reports.curves import plot_curve
from rcnn_svm.reports.style import BLACK, BLUE, LINE_WIDTH, ORANGE, PALE_BLUE, tidy, write_figure

# A chart is as wide as a small telephone, in inches at 72 points: it is never scaled down, and its text stays readable.
WIDTH, HEIGHT = 4.5, 1.9
# Where the axes are in a chart, as parts of it, so that the script can put a mark at a training.
LEFT, RIGHT = 0.13, 0.97
# What a colour is called in the page's style.
VARIABLES = {
    BLUE: "--positive",
    ORANGE: "--negative",
    PALE_BLUE: "--pale",
    to_hex(BLACK): "--ink",
    "#000000": "--ink",
    to_hex("0.9"): "--line",
    to_hex("0.4"): "--quiet",
}
FONT_SIZE = 9


def svg(figure: Figure, title: str) -> Markup:
    """Return a figure as an SVG element that a screen reader announces by its title.

    Texts are texts, in the font of the page.
    """
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rcnn-svm", "font.family": "sans-serif"}):
        write_figure(figure, stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.S)
    for colour, name in VARIABLES.items():
        text = text.replace(colour, f"var({name})")
    # Names of parts would be there once for every chart; those of what is used several times are digests.
    text = re.sub(r'(<g) id="[^"]*"| font-family: [^;]*;', r"\1", text)
    _, body = text.split(">", 1)
    width, height = 72 * figure.get_size_inches()
    start = f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{Markup.escape(title)}">'
    return Markup(start + re.sub(r"\s*\n\s*", "\n", body))


def objective_chart(loss: np.ndarray, name: str) -> Markup:
    """Return the chart of a class's objective over its trainings, by part.

    Args:
        loss: (U, 4) float64, loss of the positives, of the negatives, regulariser, total.
        name: name of the class.
    """
    figure, axis = _trainings(len(loss))
    number = np.arange(1, len(loss) + 1)
    axis.plot(number, loss[:, 3], color=BLACK, linewidth=LINE_WIDTH, marker="o", markersize=2.5)
    axis.plot(number, loss[:, 0], color=BLUE, linewidth=LINE_WIDTH)
    axis.plot(number, loss[:, 1], color=ORANGE, linewidth=LINE_WIDTH)
    axis.plot(number, loss[:, 2], color="0.4", linewidth=LINE_WIDTH, linestyle="--")
    return _finished(figure, axis, f"objective of {name} over its {len(loss)} trainings")


def size_chart(updates: np.ndarray, name: str) -> Markup:
    """Return the chart of the size of a class's set over its trainings.

    Args:
        updates: (U, 8) int, the class's rows of the table `updates`.
        name: name of the class.
    """
    figure, axis = _trainings(len(updates))
    number = np.arange(1, len(updates) + 1)
    axis.plot(number, updates[:, 4], color=ORANGE, linewidth=LINE_WIDTH, marker="o", markersize=2.5)
    axis.plot(number, updates[:, 5], color="0.4", linewidth=LINE_WIDTH, linestyle="--")
    axis.plot(number, updates[:, 3], color=BLUE, linewidth=LINE_WIDTH)
    return _finished(figure, axis, f"size of the set of {name} over its {len(updates)} trainings")


def cost_chart(gain: np.ndarray, names: Sequence[str]) -> Markup:
    """Return the chart of what kinds of errors cost in mean average precision.

    Args:
        gain: (n,) float64, fractions; NaN where no class has objects.
        names: n of them.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axis = figure.add_axes((LEFT, 0.2, RIGHT - LEFT, 0.76))
    points = 100 * np.nan_to_num(gain)
    axis.barh(range(len(names)), points, color=ORANGE, height=0.6)
    for row, value in enumerate(points.tolist()):
        axis.text(value, row, f" {value:.1f}", va="center", fontsize=FONT_SIZE)
    axis.set(xlim=(0, 1.15 * max(points.max(initial=0), 1)), yticks=range(len(names)), yticklabels=names)
    axis.invert_yaxis()
    axis.tick_params(labelsize=FONT_SIZE)
    tidy(axis)
    axis.grid(visible=False, axis="y")
    told = ", ".join(f"{name} {value:.1f}" for name, value in zip(names, points.tolist(), strict=True))
    return svg(figure, f"mean AP that each kind of error costs, in points: {told}")


def precision_chart(entry: PrecisionRecall) -> Markup:
    """Return the chart of a class's precision over recall.

    The area is that of AP area, the dots are the 11 points of AP VOC07, and the mark is at the best F1.
    """
    figure = Figure(figsize=(2.2, 1.7))
    axis = figure.add_axes((0.14, 0.14, 0.83, 0.82))
    plot_curve(axis, _corners(entry))
    if entry.num_objects:
        axis.plot(RECALL_LEVELS, precision_at_levels(entry.recall, entry.precision), ".", color=ORANGE, markersize=4)
        accepted = int((entry.scores > entry.best_f1_thresh).sum())
        if accepted and entry.max_recall:
            at = entry.recall[accepted - 1], np.nan_to_num(entry.precision)[accepted - 1]
            axis.plot(*at, "o", color=BLACK, markersize=5, fillstyle="none")
    return svg(figure, f"precision over recall of {entry.name}")


def _corners(entry: PrecisionRecall) -> PrecisionRecall:
    """Return a curve without most of its false positives, thousands of points: those before and at hits, and the last.

    What is left out lies on the line between these, to the eye, and on the same interpolated curve.
    """
    hits = np.flatnonzero(np.diff(entry.recall, prepend=0) > 0)
    kept = np.unique(np.concatenate([hits, np.maximum(hits - 1, 0), np.arange(len(entry.recall))[-1:]]))
    return replace(entry, scores=entry.scores[kept], recall=entry.recall[kept], precision=entry.precision[kept])


def _trainings(count: int) -> tuple[Figure, Axes]:
    """Return a figure whose axis across is a class's trainings, from 1."""
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axis = figure.add_axes((LEFT, 0.24, RIGHT - LEFT, 0.72))
    axis.set_xlim(1, max(count, 2))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("training", fontsize=FONT_SIZE)
    return figure, axis


def _finished(figure: Figure, axis: Axes, title: str) -> Markup:
    axis.set_ylim(bottom=0)
    axis.margins(y=0.1)
    axis.tick_params(labelsize=FONT_SIZE)
    tidy(axis)
    return svg(figure, title)
