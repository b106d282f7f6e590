"""The sheet of a class's mining against the record that it shows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rcnn_svm.errors import InputError
from rcnn_svm.mining.replay import replay_mining
from rcnn_svm.reports import film_sheet
from rcnn_svm.reports.film_figure import CAME, LEFT
from tests.reports.html.made import CLASSES, images_of, make_report


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The first arguments of a sheet: images, features, record and scores of a mining."""
    folder = tmp_path_factory.mktemp("images")
    report = make_report(folder, detections=None, test_images=None)
    replay = replay_mining(report.detector, report.record, report.cache, n_jobs=1)
    return images_of(report.cache, folder / "train"), report.cache, report.record, replay


def rows_of(figure) -> list[list]:
    """Return the axes of every row."""
    columns = CAME + LEFT + 3
    return [figure.axes[first : first + columns] for first in range(0, len(figure.axes), columns)]


def numbers(text: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"[\d,]+", text)]


@pytest.fixture(scope="module")
def rows(told) -> list[list]:
    """The places of the whole film of the last class, by row."""
    return rows_of(film_sheet(*told, CLASSES, CLASSES[2]))


def check_rows(rows: list[list], record, updates: np.ndarray, shown: list[int], index: int) -> None:
    """Check what rows say of the trainings `shown` of a class, whose rows in the record are `updates`."""
    assert [int(re.match(r"training (\d+)\n", row[0].get_ylabel())[1]) - 1 for row in rows] == shown
    for row, update in zip(rows, updates[shown], strict=True):
        trained_on, stayed = record["updates"][update, 4:6]
        objective = float(f"{record['update_loss'][update, 3]:.5g}")
        said = [f"{trained_on:,} negatives", f"{stayed:,} stayed", f"objective {objective:.4g}"]
        assert [text.get_text() for text in row[-1].texts] == said
        bars = [bar.get_width() for bar in row[-1].patches]
        assert bars[1] / bars[0] == pytest.approx(stayed / trained_on) and max(bars) <= 1
    # Each has all that happened since the one above.
    came, left = np.transpose([numbers(row[0].get_ylabel())[-2:] for row in rows])
    assert came.sum() == (record["added"][:, 0] == index).sum()
    assert left.sum() == np.isin(record["evicted"][:, 0], updates).sum()
    for row, *counts in zip(rows, came, left, strict=True):
        crops = [sum(bool(axis.get_images()) for axis in part) for part in (row[:CAME], row[CAME:])]
        assert crops == [min(CAME, counts[0]), min(LEFT, counts[1])]


def test_rows_are_trainings_of_the_record(told, rows):
    *_, record, replay = told
    updates = replay.classes[2].updates
    check_rows(rows, record, updates, [*range(len(updates))], 2)


def test_of_many_trainings_some_are_shown_with_what_happened_since(told):
    *_, record, replay = told
    updates = replay.classes[0].updates
    check_rows(rows_of(film_sheet(*told, CLASSES, CLASSES[0], count=2)), record, updates, [0, len(updates) - 1], 0)


def test_captions_are_the_scores_of_the_replay_the_highest_first(told, rows):
    mined = told[3].classes[2]
    for number, row in enumerate(rows):
        for axes, scored in ((row[:CAME], mined.entered), (row[CAME:], mined.left)):
            here = scored.update == number
            before, after = scored.before[here], scored.after[here]
            order = np.argsort(-(before if number else after), kind="stable")[: len(axes)]
            pairs = zip(before[order], after[order], strict=True)
            wanted = [f"{first:+.2f} → {last:+.2f}" if number else f"{last:+.2f}" for first, last in pairs]
            captions = [axis.get_xlabel().split("\n")[0] for axis in axes if axis.get_images()]
            assert captions == wanted[: len(captions)] and captions


def test_a_class_without_trainings_or_of_another_model_has_no_film(told):
    *others, replay = told
    nothing = replay.classes[0].__class__(np.empty(0, np.int64), *[None] * 5)
    with pytest.raises(InputError, match="never had a negative"):
        film_sheet(*others, replay.__class__(replay.rules, replay.edges, (nothing,)), CLASSES[:1], CLASSES[0])
    with pytest.raises(InputError, match="class 'cat' is not in the model"):
        film_sheet(*told, CLASSES, "cat")
