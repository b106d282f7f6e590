"""Two files of boxes that differ in one thing: it is the first difference, and the setting that decides it is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rcnn_svm.detection.detections import Detections
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.difference import Comparison, compare_artefacts

BOXES = [np.float32([[0, 0, 9, 9], [5, 5, 19, 19]]), np.float32([[1, 1, 8, 8]])]
MADE = {"method": "fast", "max_boxes": 10, "database": "toy", "images": "00" * 8}


@pytest.fixture
def proposals(tmp_path):
    """The comparison of proposals with some of which a few values are others."""

    def run(**changed: Any) -> Comparison:
        given = {"image_ids": ("a", "b"), "boxes": BOXES, "settings": MADE, "image_digests": ("1", "2")}
        ProposalSet(**given).save(tmp_path / "a.h5")
        ProposalSet(**{**given, **changed}).save(tmp_path / "b.h5")
        return compare_artefacts(tmp_path / "a.h5", tmp_path / "b.h5")

    return run


def test_the_same_proposals(proposals):
    assert proposals().equal


@pytest.mark.parametrize(
    ("changed", "step", "says"),
    [
        ({"image_ids": ("a", "c")}, "images", "1 only in A (the first is b)"),
        ({"image_ids": ("b", "a"), "boxes": BOXES[::-1], "image_digests": ("2", "1")}, "images", "in another order"),
        ({"image_digests": ("1", "3")}, "images", "1 image with another file, the first is b"),
        (
            {"boxes": [BOXES[0][::-1], BOXES[1]]},
            "boxes",
            "1 of them in order only, 3 boxes in both; a: box 0 is [0 0 9 9]",
        ),
        ({"boxes": [BOXES[0][:1], BOXES[1]]}, "boxes", "a: 2 boxes in A, 1 in B, the first 1 the same"),
        ({"boxes": [BOXES[0], BOXES[1] + 1]}, "boxes", "b: box 0 is [1 1 8 8] in A, [2 2 9 9] in B"),
        ({"settings": {**MADE, "images": "ab" * 8}}, "settings", "images"),
    ],
)
def test_one_thing_in_proposals(proposals, changed, step, says):
    found = proposals(**changed)
    assert found.first.name == step and says in found.first.says and found.explains == ()


def test_a_limit_explains_boxes(proposals):
    found = proposals(boxes=[BOXES[0][:1], BOXES[1]], settings={**MADE, "max_boxes": 1, "images": "ab" * 8})
    assert [setting.path for setting in found.explains] == ["max_boxes"] and found.first.name == "boxes"


MODELS = {"detector": {"digest": "d1", "training": {"identity": {"parameters": {"svm_C": 1.0}}}}}
SETTINGS = {"features": "f1" * 8, **MODELS, "max_per_image": 100, "max_per_set": 400}


@pytest.fixture
def detections(tmp_path):
    """The comparison of detections with some of which a few values are others."""

    def run(known_rows: bool = True, **changed: Any) -> Comparison:
        given = {
            "image_ids": ("a", "b"),
            "classes": ("cat", "dog"),
            "image": [0, 0, 1, 1],
            "cls": [0, 0, 0, 1],
            "box": np.float32([[0, 0, 9, 9], [5, 5, 19, 19], [0, 0, 9, 9], [7, 7, 8, 8]]),
            "score": np.float32([3, 2, 1, 0.5]),
            "row": [4, 2, 4, 5] if known_rows else [-1] * 4,
            "settings": SETTINGS,
        }
        Detections(**given).save(tmp_path / "a.h5")
        Detections(**{**given, **changed}).save(tmp_path / "b.h5")
        return compare_artefacts(tmp_path / "a.h5", tmp_path / "b.h5")

    return run


@pytest.mark.parametrize("known_rows", [True, False])
def test_the_same_detections(detections, known_rows):
    assert detections(known_rows).equal


def changed_settings(**changed: Any) -> dict[str, Any]:
    return {"settings": {**SETTINGS, **changed}}


MOVED = np.float32([[0, 0, 9, 9], [5, 5, 19, 21], [0, 0, 9, 9], [7, 7, 8, 8]])


@pytest.mark.parametrize("known_rows", [True, False])
@pytest.mark.parametrize(
    ("changed", "step", "says"),
    [
        ({"image_ids": ("a", "c")}, "images", "1 only in A"),
        ({"classes": ("cat", "cow")}, "classes", "1 only in A (the first is dog)"),
        (changed_settings(features="f2" * 8), "features", f"digest {'f1' * 8} in A, {'f2' * 8} in B"),
        (changed_settings(detector={"digest": "d2"}), "weights", "digest d1 in A, d2 in B"),
        (changed_settings(bbox={"digest": "b1"}), "box regression", "digest none in A, b1 in B"),
        (changed_settings(also={"features": "f3"}), "merged with", "digest none in A, f3 in B"),
        ({"score": np.float32([3, 2, 1.5, 0.5])}, "scores", "is of cat in image b: 1 in A, 1.5 in B"),
        ({"box": MOVED}, "boxes", "is of cat in image a: 19 in A, 21 in B"),
        (changed_settings(remark=1), "settings", "remark none in A, 1 in B"),
    ],
)
def test_one_thing_in_detections(detections, known_rows, changed, step, says):
    found = detections(known_rows, **changed)
    assert found.first.name == step and says in found.first.says


@pytest.mark.parametrize("known_rows", [True, False])
def test_a_box_that_is_not_kept(detections, known_rows):
    rows = {"row": [4, 2, 4]} if known_rows else {"row": [-1] * 3}
    box = np.float32([[0, 0, 9, 9], [5, 5, 19, 19], [0, 0, 9, 9]])
    found = detections(known_rows, image=[0, 0, 1], cls=[0, 0, 0], box=box, score=np.float32([3, 2, 1]), **rows)
    assert found.first.name == "kept"
    assert "4 boxes in A, 3 in B, 3 in both; the first only in A is dog in image b, score 0.5" in found.first.says


def test_settings_explain_detections(detections):
    found = detections(score=np.float32([3, 2, 1, 0]), **changed_settings(max_per_image=50))
    assert found.first.name == "scores" and found.explains == ()
    other = {"detector": {"digest": "d2", "training": {"identity": {"parameters": {"svm_C": 10.0}}}}}
    found = detections(**changed_settings(**other))
    assert [str(setting) for setting in found.explains] == [
        "C (detector.training.identity.parameters.svm_C): 1 in A, 10 in B"
    ]


def test_detections_that_are_none(detections):
    nothing = {"image": [], "cls": [], "box": np.empty((0, 4)), "score": [], "row": []}
    found = detections(**nothing)
    assert found.first.name == "kept" and [step.equal for step in found.steps[6:8]] == [None, None]
