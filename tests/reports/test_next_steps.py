"""What holds a detector back, told from figures by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rcnn_svm.evaluation.tide import MENDED, ErrorCosts
from rcnn_svm.proposals.recall import Coverage, RecallReport
from rcnn_svm.reports.next_steps import error_summary, obstacle_lines, obstacles
from tests.evaluation.test_operating_points import points_of

CLASSES = ("cat", "dog", "bird")


def report(ap, *, cost=None, confused=()):
    classes = [{"class": name, "ap_area": value} for name, value in zip(CLASSES, ap, strict=True)]
    return {"classes": classes, "errors": {"ap_cost": cost or {}, "confused": list(confused)}}


def covering(*recall, objects=20):
    covers = {name: Coverage(objects, (share, 0.0), share) for name, share in zip(CLASSES, recall, strict=True)}
    return RecallReport((0.5, 0.7), covers, covers["cat"], covers["cat"], np.full(5, 100))


MANY = dict.fromkeys(CLASSES, 200)


def test_a_detector_without_a_flaw_has_no_obstacle():
    assert obstacles(report([1, 1, 1]), MANY, covering(1, 1, 1), ["bbox", "vote"]) == []
    assert obstacles(report([None] * 3), MANY, covering(1, 1, 1), []) == []


def test_few_objects_lack_what_the_others_have():
    (found,) = obstacles(report([0.6, 0.8, 0.1]), {**MANY, "bird": 7}, covering(1, 1, 1), [])
    assert found.what == "few objects to learn from: bird 7" and found.cost == pytest.approx((0.7 - 0.1) / 3)
    (found,) = obstacles(report([0.5] * 3), dict.fromkeys(CLASSES, 9), covering(1, 1, 1), [])
    assert found.cost == pytest.approx(0.25) and "cat 9, dog 9, bird 9" in found.what
    # Of few objects, and good for all that.
    assert obstacles(report([0.6, 0.6, 0.9]), {**MANY, "bird": 7}, covering(1, 1, 1), []) == []


def test_proposals_that_miss_a_class_are_told_and_those_of_few_objects_are_not():
    (found,) = obstacles(report([0.4, 0.4, 0.4]), MANY, covering(0.9, 0.5, 1), [])
    assert found.what == "proposals find only 50 % of dog" and found.cost == pytest.approx(0.4 * 0.9 / 3)
    assert obstacles(report([0.4] * 3), MANY, covering(0.9, 0.5, 1, objects=3), []) == []


def test_kinds_of_errors_come_by_what_they_cost_with_a_remedy_that_is_left():
    confused = [{"object": "cat", "detected": "dog", "count": 9}, {"object": "bird", "detected": "cat", "count": 2}]
    cost = {"Loc": 0.1, "Cls": 0.2, "Bkg": 0.005, "Missed": None}
    for used, remedy in (([], "--bbox"), (["bbox"], "--vote"), (["bbox", "vote"], "--preset best")):
        cls, loc = obstacles(report([0.5] * 3, cost=cost, confused=confused), MANY, covering(1, 1, 1), used)
        assert cls.what == "classes confused: cat taken for dog (9), bird taken for cat (2)"
        assert remedy in loc.remedy
    lines = obstacle_lines([cls, loc, dataclasses.replace(cls, what="a long story " * 20)])
    assert lines[0].startswith("  20  classes confused") and max(map(len, lines)) <= 80
    assert all(line.startswith(" " * 6) or line[:4].strip().isdigit() for line in lines)


def test_the_summary_names_the_pairs_that_are_confused_most():
    points, _, _ = points_of(12)
    confusion = np.array([[5, 2, 0], [7, 1, 0], [3, 0, 0]])  # two classes, and the rest
    at = dataclasses.replace(points.best_f1, classes=("cat", "dog"), confusion=confusion)
    gain = np.tile(np.arange(8.0), (2, 1))
    summary = error_summary(ErrorCosts(("cat", "dog"), np.array([0.5, np.nan]), gain), at)
    assert summary["ap_cost"] == dict(zip(MENDED, range(8), strict=True))
    assert summary["confused"] == [
        {"object": "dog", "detected": "cat", "count": 7},
        {"object": "cat", "detected": "dog", "count": 2},
    ]
