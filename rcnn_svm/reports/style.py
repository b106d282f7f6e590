"""The looks of all plots: colours, axes, resolution."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter

from rcnn_svm.artefacts.files import atomic_stream
from rcnn_svm.reports.lettering import lettering

BLUE, LIGHT_BLUE, PALE_BLUE = "#08519c", "#6baed6", "#c6dbef"
RED, ORANGE, LIGHT_ORANGE = "#a63603", "#d94801", "#e6550d"
GREEN = "#31a354"
BLACK = "0.2"
# Of a line that marks a value.
MARK: dict[str, Any] = {"color": "0.4", "linewidth": 0.8, "linestyle": "--"}
LINE_WIDTH = 1.1
DPI = 110


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, whose plots keep clear of each other."""
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axis: Axes, legend: int | None = None) -> None:
    """Give a plot a pale grid behind its curves, no frame at the top and right, and a legend of a font size."""
    axis.grid(color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if legend:
        axis.legend(frameon=False, fontsize=legend)


def log_ticks(axis: Axis, steps: Sequence[int]) -> None:
    """Mark a logarithmic axis in plain numbers, at `steps` times every power of ten."""
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def write_figure(figure: Figure, stream: IO, **options: Any) -> None:
    """Write a figure to a stream; `options` are those of matplotlib's `savefig`.

    LaTeX, a program that a `matplotlibrc` of the working folder may ask for, sets no text of it.
    """
    with matplotlib.rc_context({"text.usetex": False}):
        for text in figure.findobj(Text):
            text.set_usetex(False)
        figure.savefig(stream, **options)


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure, every text in a font that has its letters: as JPEG where the name ends so, else as PNG.

    Raises:
        InputError: the file cannot be written.
    """
    texts = [part for part in figure.findobj(Text) if isinstance(part, Text)]
    for text in texts:
        if text.get_text().isascii():
            continue
        drawn = lettering(text.get_text())
        font = text.get_fontproperties().copy()
        font.set_file(drawn.font)
        text.set(text=drawn.shown, fontproperties=font)
    with atomic_stream(path) as stream:
        write_figure(figure, stream, format="jpg" if Path(path).suffix.lower() in (".jpg", ".jpeg") else "png", dpi=DPI)
