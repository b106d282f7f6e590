"""Imbalance as tables and as a figure."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rcnn_svm.mining.imbalance import HARDEST, LOSSES, Imbalance, bin_centres, cross_entropy
from rcnn_svm.reports.style import (
    BLACK,
    BLUE,
    GREEN,
    LIGHT_BLUE,
    LIGHT_ORANGE,
    MARK,
    RED,
    log_ticks,
    new_figure,
    save_figure,
    tidy,
)
from rcnn_svm.reports.table import Table, json_text, percent, records_csv, wrapped

ALL = "all classes"
COLOURS = {"hinge": BLUE, "cross-entropy": RED, "focal": GREEN}
PLOT_BINS = 60
# Fewer of an example's kind than this do not widen the histogram of scores.
TAIL = 1e-4


def imbalance_records(measured: Imbalance, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the figures of every class, and of all together last; NaN where a share is of nothing."""
    records = []
    for part, names in ((measured, classes), (measured.overall(), [ALL])):
        hardest = part.hardest_share(HARDEST)
        for k, name in enumerate(names):
            record = {
                "class": name,
                "positives": int(part.num_positives[k]),
                "negatives": int(part.num_negatives[k]),
                "hard_negatives": int(part.num_hard_negatives[k]),
                "hinge_share_of_negatives": float(part.negatives_share[k]),
                "easy": int(part.num_easy[k]),
                "hard": int(part.num_hard[k]),
            }
            for number, loss in enumerate(LOSSES):
                key = loss.replace("-", "_")
                record[f"{key}_loss"] = float(part.loss[number, k])
                record[f"{key}_loss_of_easy"] = float(part.loss_of_easy[number, k])
                record[f"{key}_loss_of_hard"] = float(part.loss_of_hard[number, k])
                record[f"{key}_easy_to_hard"] = float(part.easy_to_hard[number, k])
                for fraction, share in zip(HARDEST, hardest[number, k], strict=True):
                    record[f"{key}_share_of_hardest_{fraction:g}"] = float(share)
            records.append(record)
    return records


def imbalance_text(records: Sequence[dict[str, Any]], settings: dict[str, Any]) -> str:
    """Return the figures of `imbalance_records` as tables, and what they mean."""
    svm = [
        [
            record["class"],
            f"{record['positives']:,}",
            f"{record['negatives']:,}",
            f"{record['hard_negatives']:,}",
            percent(record["hard_negatives"] / record["negatives"] if record["negatives"] else None, 2),
            f"{record['hinge_loss']:,.1f}",
            percent(record["hinge_share_of_negatives"], 2),
        ]
        for record in records
    ]
    logistic = [
        [
            record["class"],
            f"{record['easy']:,}",
            f"{record['hard']:,}",
            _times(record["easy"] / record["hard"] if record["hard"] else math.nan),
            *(_times(record[f"{loss}_easy_to_hard"]) for loss in ("cross_entropy", "focal")),
        ]
        for record in records
    ]
    hardest = [
        [loss, *(percent(records[-1][f"{loss.replace('-', '_')}_share_of_hardest_{f:g}"], 2) for f in HARDEST)]
        for loss in LOSSES
    ]
    header = ("class", "positives", "negatives", "hard negatives", "% hard", "hinge loss", "% of negatives")
    return "\n".join(
        [
            Table(header, svm[:-1], svm[-1]).text(),
            wrapped(
                f"An example is a region and a class; negatives have IoU < {settings['neg_overlap']:g}, hard ones "
                f"score > {settings['hard_thresh']:g}. Hinge loss without a weight of the positives."
            ),
            "",
            Table(
                ("class", "easy", "hard", "easy / hard", "their cross-entropy", f"focal, gamma {settings['gamma']:g}"),
                logistic[:-1],
                logistic[-1],
            ).text(),
            wrapped(
                f"With scores read as logits; easy: cross-entropy < {settings['easy_loss']:.3g}. The last three "
                "columns divide number and losses of the easy examples by those of the hard."
            ),
            "",
            Table(("share of the loss, %", *(f"hardest {100 * f:g} %" for f in HARDEST)), hardest).text(),
        ]
    )


def imbalance_csv(records: Sequence[dict[str, Any]]) -> str:
    """Return the figures as CSV, one line per class; empty where a share is of nothing."""
    return records_csv(records)


def imbalance_json(records: Sequence[dict[str, Any]], settings: dict[str, Any], made_by: dict[str, Any]) -> str:
    """Return the figures as JSON with what they were measured on; null where a share is of nothing.

    Args:
        records: the records that `imbalance_records` returned.
        settings: what decides the figures, JSON-able.
        made_by: fingerprint and provenance.
    """
    return json_text({"classes": records[:-1], "overall": records[-1], "settings": settings, **made_by})


def imbalance_figure(measured: Imbalance, easy_loss: float, title: str) -> Figure:
    """Return a figure of all classes together: histograms of scores and of losses, and the loss of the hardest.

    Args:
        measured: the measurement, of any number of classes.
        easy_loss: cross-entropy below which an example is easy; marked.
        title: title of the figure.
    """
    whole = measured.overall()
    counts, losses = whole.counts[:, 0], whole.losses[:, 0]
    figure = new_figure(13, 4)
    axes = figure.subplots(1, 3)
    _plot_scores(axes[0], counts)
    _plot_losses(axes[1], counts.sum(axis=0), losses, easy_loss)
    _plot_cumulative(axes[2], counts.sum(axis=0), losses)
    for axis in axes:
        tidy(axis, legend=8)
    figure.suptitle(title, fontsize=12, parse_math=False)
    return figure


def _plot_scores(axis: Axes, counts: np.ndarray) -> None:
    centres = bin_centres()
    sides = [("negatives", -centres[::-1], counts[0][::-1]), ("positives", centres, counts[1])]
    ranges = [_range(scores, number) for _, scores, number in sides if number.any()]
    edges = np.linspace(min(low for low, _ in ranges), max(high for _, high in ranges), PLOT_BINS + 1)
    for (name, scores, number), colour in zip(sides, (LIGHT_BLUE, LIGHT_ORANGE), strict=True):
        height, _ = np.histogram(scores.clip(edges[0], edges[-1]), bins=edges, weights=number)
        axis.stairs(height, edges, fill=True, alpha=0.6, color=colour, label=name)
    axis.axvline(-1, **MARK, label="margin of the negatives")
    axis.set(xlabel="score", ylabel="examples", yscale="symlog", ylim=(0, None))


def _range(values: np.ndarray, number: np.ndarray) -> tuple[float, float]:
    """Return what spans all but the tails of a histogram with rising values, and a little more."""
    share = np.cumsum(number) / number.sum()
    low, high = values[np.searchsorted(share, TAIL)], values[np.searchsorted(share, 1 - TAIL)]
    return float(low) - 0.1, float(high) + 0.1


def _plot_losses(axis: Axes, counts: np.ndarray, losses: np.ndarray, easy_loss: float) -> None:
    value = np.maximum(cross_entropy(bin_centres()), 1e-6)
    used = value[counts > 0]
    edges = np.geomspace(used.min() * 0.9, used.max() * 1.1, PLOT_BINS + 1)
    weights = {"examples": counts, **dict(zip(LOSSES, losses, strict=True))}
    for name, weight in weights.items():
        height, _ = np.histogram(value, bins=edges, weights=weight)
        if height.any():
            axis.stairs(100 * height / height.sum(), edges, color=COLOURS.get(name, BLACK), label=name)
    axis.axvline(easy_loss, **MARK, label="easy | hard")
    axis.set(xlabel="cross-entropy of the example", ylabel="share, %", xscale="log")
    log_ticks(axis.xaxis, (1, 3))


def _plot_cumulative(axis: Axes, counts: np.ndarray, losses: np.ndarray) -> None:
    passed = np.cumsum(counts)
    for name, loss in zip(LOSSES, losses, strict=True):
        if loss.any():
            share = np.cumsum(loss) / loss.sum()
            used = passed > 0
            axis.plot(100 * passed[used] / passed[-1], 100 * share[used], color=COLOURS[name], label=name)
    axis.set(xlabel="hardest examples, %", ylabel="share of the loss, %", xscale="log", ylim=(0, 102))


def save_imbalance(measured: Imbalance, easy_loss: float, title: str, path: str | os.PathLike) -> None:
    """Write the figure of `imbalance_figure` as PNG."""
    save_figure(imbalance_figure(measured, easy_loss, title), path)


def _times(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{ratio:,.1f}" if ratio >= 1 else f"{ratio:.2g}"
