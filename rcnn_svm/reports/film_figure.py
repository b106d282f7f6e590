"""The film of a class's mining on one sheet: a row a training, with crops of what came in and what left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.errors import InputError
from rcnn_svm.mining.kinds_of_negatives import negative_kinds
from rcnn_svm.mining.replay import Replay, Scored
from rcnn_svm.parameters import plain
from rcnn_svm.reports.html.film import film_events, frame_updates, highest_by_frame, training_state
from rcnn_svm.reports.sheets import (
    class_index,
    kinds_in_lines,
    name_row,
    region_crops,
    show_picture,
    without_frame,
)
from rcnn_svm.reports.style import BLACK, LIGHT_ORANGE, PALE_BLUE, new_figure
from rcnn_svm.words import shortened

# Trainings that have a row.
ROWS = 8
# Crops of a row: of what came in, and of what left.
CAME, LEFT = 6, 3
# Widths of the columns in inches: a crop, what parts the two kinds, the bars; and the height of a row.
_CROP, _GAP, _BARS, _ROW = 1.3, 0.25, 2.0, 1.9


def film_sheet(
    database: ImageDatabase,
    cache: FeatureCache,
    record: Mapping[str, np.ndarray],
    replay: Replay,
    classes: Sequence[str],
    name: str,
    *,
    count: int = ROWS,
) -> Figure:
    """Return the mining of a class as crops, a row a training: what came in, what left, the set and the objective.

    Args:
        database: the images that the model was trained on.
        cache: their features, whose regions the negatives are.
        record: the record in the model's file, as `Detector.load_history` returns it.
        replay: the same with scores, as `replay_mining` returns it.
        classes: those of the model.
        name: the class.
        count: trainings to show, at most; where the class has more, evenly spread ones, each with what came and left
            since the one before.

    Raises:
        InputError: no such class, it was never trained, or an image cannot be read.
    """
    index = class_index(name, classes)
    mined = replay.classes[index]
    if not len(mined.updates):
        raise InputError(f"class {plain(name)!r} never had a negative and was not trained: there is no film of it")
    frames, events = frame_updates(len(mined.updates), count), film_events(mined)
    came, left = (highest_by_frame(*events[kind], frames) for kind in ("came", "left"))
    states = [training_state(record, mined.updates[update]) for update in frames.tolist()]

    widths = [*[_CROP] * CAME, _GAP, *[_CROP] * LEFT, _GAP, _BARS]
    figure = new_figure(sum(widths) + 1.5, _ROW * len(frames) + 0.6)
    axes = figure.subplots(len(frames), len(widths), squeeze=False, width_ratios=widths)
    for axis in axes.flat:
        without_frame(axis)
    places, keys, texts = [], [], []
    for scored, by_row, first, most in (
        (events["came"][0], came, 0, CAME),
        (events["left"][0], left, CAME + 1, LEFT),
    ):
        for row, found in enumerate(by_row):
            for column, event in enumerate(found[:most].tolist(), first):
                places.append(axes[row, column])
                keys.append(scored.keys[event])
                texts.append(_scores(scored, event))
    shown = np.array(keys).reshape(-1, 2)
    says = kinds_in_lines(negative_kinds(cache, tuple(classes), np.insert(shown, 0, index, axis=1)))
    for axis, crop, text, lines in zip(places, region_crops(database, cache, shown), texts, says, strict=True):
        show_picture(axis, crop, f"{text}\n{lines}")
    for row, state in enumerate(states):
        name_row(axes[row, 0], _training(int(frames[row]) + 1, state, len(came[row]), len(left[row])))
        _draw_bars(axes[row, -1], state, states)
    for column, title in (
        (0, "came in, the hardest first"),
        (CAME + 1, "left, the hardest first"),
        (-1, "set and objective"),
    ):
        axes[0, column].set_title(title, loc="left", fontsize=10)
    since = ", each with what came and left since the one above" if len(frames) < len(mined.updates) else ""
    head = f"{name}: {len(frames)} of {len(mined.updates)} trainings{since}"
    figure.suptitle(head, fontsize=11, parse_math=False)
    figure.supxlabel(
        "below a crop: score in the scan, or by the training before, → by this training; why it is hard", fontsize=9
    )
    return figure


def _training(number: int, state: Mapping[str, Any], came: int, left: int) -> str:
    """Return what is at the left of a row."""
    lines = [f"training {number}", f"pass {state['epoch'] + 1}", f"image {shortened(state['id'], 14)}"]
    return "\n".join([*lines, f"{came:,} came", f"{left:,} left"])


def _scores(scored: Scored, event: int) -> str:
    """Return the scores of a negative; what came with the first training had none before."""
    after = f"{scored.after[event]:+.2f}"
    return f"{scored.before[event]:+.2f} → {after}" if scored.update[event] else after


def _draw_bars(axis: Axes, state: Mapping[str, Any], states: Sequence[Mapping[str, Any]]) -> None:
    """Draw the size of the set and the objective of a training, each as a part of the largest of all that are shown."""

    def part(value: float, of_all: list[float]) -> float:
        return value / (max(of_all) or 1)

    objective, trained_on = state["objective"][3], [entry["trainedOn"] for entry in states]
    bars = [
        (part(state["trainedOn"], trained_on), LIGHT_ORANGE, f"{state['trainedOn']:,} negatives"),
        (part(state["stayed"], trained_on), PALE_BLUE, f"{state['stayed']:,} stayed"),
        (part(objective, [entry["objective"][3] for entry in states]), BLACK, f"objective {objective:.4g}"),
    ]
    for place, (length, colour, text) in enumerate(bars):
        axis.barh(place, length, height=0.35, color=colour)
        axis.text(0, place - 0.25, text, fontsize=8, va="bottom")
    axis.set(xlim=(0, 1), ylim=(2.6, -0.9))
