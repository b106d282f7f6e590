"""The film of mining: for every training of a class what came in, what left, and how the scores stood."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from rcnn_svm.mining.replay import ClassReplay, Scored
from rcnn_svm.reports.html.album import Album, Picks

# Trainings of a class that have a frame of their own; of more, evenly spread ones have, each with what came since.
MOST_FRAMES = 120
# Regions of a frame that are shown, if the album has room: of those that came, that left, and of the highest scores.
PER_FRAME = 8
DIGITS = 3


def frame_updates(num_updates: int, most: int) -> np.ndarray:
    """Return the trainings of a class, at most so many, numbers (F,) int64 from the first to the last, for frames."""
    return np.unique(np.linspace(0, num_updates - 1, min(num_updates, most)).round().astype(np.int64))


def film_events(replay: ClassReplay) -> dict[str, tuple[Scored, np.ndarray]]:
    """Return what came, left and had the highest scores, each with the score (n,) by which it ranks.

    A negative ranks by the score that it came with or left from. What came before the first training was scored by
    none, and ranks by that of the training.
    """
    came, left, top = replay.entered, replay.left, replay.hardest
    return {
        "came": (came, np.where(came.update == 0, came.after, came.before)),
        "left": (left, np.where(left.update == 0, left.after, left.before)),
        "top": (top, top.after),
    }


def highest_by_frame(scored: Scored, height: np.ndarray, frames: np.ndarray) -> list[np.ndarray]:
    """Return the rows of `scored` that belong to every frame, those of the greatest height (n,) first.

    A frame shows what happened at its training, and at those since the frame before.
    """
    frame = np.searchsorted(frames, scored.update)
    order = np.lexsort((-height, frame))
    bounds = np.searchsorted(frame[order], np.arange(len(frames) + 1))
    return [order[first:last] for first, last in pairwise(bounds.tolist())]


def film_picks(replay: ClassReplay) -> Picks:
    """Return what a film of a class would show of every frame, ranks 0 to `PER_FRAME` - 1."""
    frames = frame_updates(len(replay.updates), MOST_FRAMES)
    picks = []
    for scored, height in film_events(replay).values():
        for rows in highest_by_frame(scored, height, frames):
            picks.append(Picks(np.arange(len(rows[:PER_FRAME])), scored.keys[rows[:PER_FRAME]]))
    return Picks.joined(picks)


def class_film(
    index: int, replay: ClassReplay, record: Mapping[str, np.ndarray], album: Album, picked: np.ndarray
) -> dict[str, Any]:
    """Return the film of a class as the page's script reads it, JSON-able.

    Args:
        index: number of the class.
        replay: its mining.
        record: the record of the training.
        album: the regions of the page.
        picked: (n, 2) int64, regions of the class to show: all that happened to those of the album is in the film.

    Returns:
        `updates`, the number of its trainings; `frames`, with `came`, `left` and `top` as rows of region number, score
        before and score after; and `ends`: for every region that is shown how often it came, and its last score, true
        where it stayed beyond the margin and null where it left.
    """
    frames = frame_updates(len(replay.updates), MOST_FRAMES)
    shown = album.numbers(picked)
    shown = np.unique(shown[shown >= 0])
    rows, counts = {}, {}
    for name, (scored, height) in film_events(replay).items():
        rows[name] = _rows_by_frame(scored, height, frames, album, shown)
        counts[name] = np.bincount(np.searchsorted(frames, scored.update), minlength=len(frames)).tolist()
    return {
        "updates": len(replay.updates),
        "frames": [
            {
                "update": update,
                **training_state(record, replay.updates[update]),
                "numCame": counts["came"][frame],
                "numLeft": counts["left"][frame],
                "positives": replay.positives[update].tolist(),
                "negatives": replay.negatives[update].tolist(),
                **{name: of_frames[frame] for name, of_frames in rows.items()},
            }
            for frame, update in enumerate(frames.tolist())
        ],
        "ends": _ends(index, replay, record, album, shown),
    }


def training_state(record: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
    """Return what the record says of a training."""
    _, epoch, image, _, trained_on, stayed, _, _ = record["updates"][row].tolist()
    return {
        "epoch": epoch,
        "image": image,
        "id": str(record["image_ids"][image]),
        "trainedOn": trained_on,
        "stayed": stayed,
        "objective": [float(f"{part:.5g}") for part in record["update_loss"][row].tolist()],
    }


def _rows_by_frame(
    scored: Scored, height: np.ndarray, frames: np.ndarray, album: Album, shown: np.ndarray
) -> list[list[list[float | None]]]:
    """Return for every frame the rows of what is shown: region number, score before and after, the highest first."""
    number = album.numbers(scored.keys)
    kept = np.isin(number, shown)
    table = []
    for rows in highest_by_frame(scored, height, frames):
        of_frame: list[list[float | None]] = []
        for event in rows[kept[rows]].tolist():
            before = round(float(scored.before[event]), DIGITS) if scored.update[event] else None
            of_frame.append([int(number[event]), before, round(float(scored.after[event]), DIGITS)])
        table.append(of_frame)
    return table


def _ends(
    index: int, replay: ClassReplay, record: Mapping[str, np.ndarray], album: Album, shown: np.ndarray
) -> dict[str, list[Any]]:
    """Return for every shown region of a class, by number, how often it came and how it ended."""
    came = album.numbers(replay.entered.keys)
    times = np.bincount(came[came >= 0], minlength=len(album))

    def of_class(name: str) -> tuple[np.ndarray, list[int]]:
        rows = np.flatnonzero(record[name][:, 0] == index)
        return rows, album.numbers(record[name][rows, 1:]).tolist()

    supporting, numbers = of_class("support")
    final = dict(zip(numbers, record["support_scores"][supporting].tolist(), strict=True))
    stayed = set(of_class("negatives")[1])
    return {
        str(number): [int(times[number]), round(final[number], DIGITS) if number in final else number in stayed or None]
        for number in shown.tolist()
    }
