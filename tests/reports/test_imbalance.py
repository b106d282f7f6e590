"""Tables and figure of the imbalance."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from rcnn_svm.mining.imbalance import measure_scores
from rcnn_svm.reports.imbalance import (
    ALL,
    imbalance_csv,
    imbalance_figure,
    imbalance_json,
    imbalance_records,
    imbalance_text,
    save_imbalance,
)

SETTINGS = {"neg_overlap": 0.3, "hard_thresh": -1.0, "easy_loss": float(np.log(2)), "gamma": 2.0}


@pytest.fixture
def measured():
    """Class a has every kind of example, class b only easy negatives."""
    scores = np.array([[2.0, -3.0], [0.5, -4.0], [-0.5, -3.0], [-1.5, -3.0], [-2.5, -3.0]], np.float32)
    targets = np.array([[1, -1], [-1, -1], [-1, 0], [-1, -1], [1, -1]], np.int8)
    return measure_scores(scores, targets)


def test_records_by_hand(measured):
    a, b, both = imbalance_records(measured, ["a", "b"])
    assert (a["positives"], a["negatives"], a["hard_negatives"], a["easy"], a["hard"]) == (2, 3, 2, 3, 2)
    assert a["hinge_loss"] == pytest.approx(0 + 1.5 + 0.5 + 0 + 3.5)
    assert a["hinge_share_of_negatives"] == pytest.approx(2 / 5.5)
    assert a["hinge_easy_to_hard"] == pytest.approx(0.5 / 5)
    assert (b["positives"], b["negatives"], b["hard_negatives"], b["easy"], b["hard"]) == (0, 4, 0, 4, 0)
    assert b["hinge_loss"] == 0 and np.isnan(b["hinge_share_of_negatives"]) and np.isnan(b["focal_easy_to_hard"])
    assert both["class"] == ALL and both["negatives"] == 7 and both["hinge_loss"] == pytest.approx(5.5)
    assert both["cross_entropy_loss"] == pytest.approx(a["cross_entropy_loss"] + b["cross_entropy_loss"])


def test_csv_and_json_hold_the_records(measured):
    records = imbalance_records(measured, ["a", "b"])
    rows = list(csv.DictReader(io.StringIO(imbalance_csv(records))))
    content = json.loads(imbalance_json(records, SETTINGS, {"fingerprint": "f"}))
    assert content["settings"] == SETTINGS and content["fingerprint"] == "f"
    for record, row, entry in zip(records, rows, [*content["classes"], content["overall"]], strict=True):
        for key, value in record.items():
            if isinstance(value, float) and np.isnan(value):
                assert row[key] == "" and entry[key] is None
            else:
                assert row[key] == str(value) and entry[key] == value


def test_text_names_every_class_and_threshold(measured):
    text = imbalance_text(imbalance_records(measured, ["a", "b"]), SETTINGS)
    lines = [line.split() for line in text.splitlines()]
    assert ["a", "2", "3", "2", "66.67", "5.5", "36.36"] in lines
    assert ["b", "0", "4", "0", "0.00", "0.0", "-"] in lines
    assert ["b", "4", "0", "-", "-", "-"] in lines
    words = " ".join(text.split())
    assert "IoU < 0.3" in words and "score > -1" in words and "cross-entropy < 0.693" in words


def test_the_figure_shows_every_example(measured, tmp_path):
    figure = imbalance_figure(measured, 0.7, "toy")
    scores, losses, cumulative = figure.axes
    negatives, positives = (patch.get_data().values.sum() for patch in scores.patches)
    assert (negatives, positives) == (7, 2)
    for patch in losses.patches:
        assert patch.get_data().values.sum() == pytest.approx(100)
    for line in cumulative.lines:
        x, y = line.get_data()
        assert (x[-1], y[-1]) == pytest.approx((100, 100))
        assert (np.diff(y) >= 0).all() and (y >= x - 1e-9).all()
    save_imbalance(measured, 0.7, "toy", tmp_path / "imbalance.png")
    assert (tmp_path / "imbalance.png").read_bytes().startswith(b"\x89PNG")


def test_a_class_without_any_loss_is_drawn():
    easy = measure_scores(np.full((5, 1), -3, np.float32), np.full((5, 1), -1, np.int8))
    assert len(imbalance_figure(easy, 0.7, "easy").axes[2].lines) == 2
