"""A ranker's boxes: what each stage tells, how boxes move, and the order they come in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rcnn_svm.artefacts.model_file import load_model
from rcnn_svm.boxes import apply_box_deltas, clip_boxes, iou_matrix, nms
from rcnn_svm.errors import InputError
from rcnn_svm.proposals.box_features import box_features
from rcnn_svm.proposals.ranker import KEPT, WINDOWS, ProposalRanker, move_inside
from rcnn_svm.proposals.ranking import spread_order

SIZE = (60, 90)
RNG = np.random.default_rng(0)
MAPS = [RNG.random((3, 8, 12), np.float32), RNG.random((2, 4, 6), np.float32)]
DIM = 2 * 5 + 16


@pytest.fixture
def ranker() -> ProposalRanker:
    """Three stages of weights drawn at random, small ones for the moves."""
    rng = np.random.default_rng(1)
    W = rng.normal(0, 0.3, (3, 4, 5)) * [1, 0.1, 0.1, 0.1, 0.1]
    hidden_W, hidden_B, B = rng.normal(0, 1, (3, DIM, 4)), rng.normal(0, 1, (3, 4)), rng.normal(0, 0.1, (3, 5))
    return ProposalRanker(*(a.astype(np.float32) for a in (hidden_W, hidden_B, W, B)), {"name": "net"}, {"by": "hand"})


def test_a_stage_is_two_layers_on_the_features_of_boxes(ranker):
    boxes = WINDOWS.windows(SIZE)[::200]
    fits, deltas = ranker.judge(1, MAPS, boxes, SIZE)
    for box, fit, delta in zip(box_features(MAPS, boxes, SIZE), fits, deltas, strict=True):
        hidden = [max(0.0, box @ ranker.hidden_W[1][:, unit] + ranker.hidden_B[1][unit]) for unit in range(4)]
        told = [np.dot(hidden, ranker.W[1][:, output]) + ranker.B[1][output] for output in range(5)]
        np.testing.assert_allclose([fit, *delta], told, rtol=1e-4, atol=1e-5)


def test_proposals_are_the_windows_moved_twice_and_ordered_by_the_last_stage(ranker):
    boxes = WINDOWS.windows(SIZE)
    for stage, kept in enumerate(KEPT):
        fits, deltas = ranker.judge(stage, MAPS, boxes, SIZE)
        best = np.argsort(-fits, kind="stable")[:2000]
        best = best[nms(boxes[best], fits[best], 0.6)[:kept]]
        boxes = clip_boxes(apply_box_deltas(boxes[best], deltas[best]), SIZE)
    found = ranker.propose(MAPS, SIZE)
    assert sorted(map(tuple, found)) == sorted(map(tuple, boxes))
    fits = ranker.judge(2, MAPS, found, SIZE)[0]
    first = len(nms(found, fits, 0.7))
    assert (np.diff(fits[:first]) <= 0).all() and (np.diff(fits[first:]) <= 0).all()


def test_boxes_that_repeat_a_better_one_come_last():
    boxes = np.float32([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])
    assert spread_order(boxes, np.array([0.9, 0.8, 0.1]), 0.7).tolist() == [0, 2, 1]
    assert spread_order(boxes, np.array([0.1, 0.8, 0.9]), 0.7).tolist() == [2, 1, 0]


def test_a_box_that_would_vanish_stays():
    boxes = np.float32([[10, 10, 19, 19]] * 3)
    deltas = np.float32([[0, 0, 0, 0], [9, 0, 0, 0], [0, np.nan, 0, 0]])
    moved = move_inside(boxes, deltas, SIZE)
    np.testing.assert_allclose(moved[0], boxes[0], atol=1e-4)
    assert moved[1].tolist() == [89, 10, 89, 19]  # cut to the image, at its border
    assert moved[2].tolist() == boxes[2].tolist()


def test_windows_are_dense_enough_for_every_object():
    rng = np.random.default_rng(2)
    size = (375, 500)
    sides = rng.uniform(40, 300, (200, 2))
    corners = rng.uniform(0, 1, (200, 2)) * (np.array(size[::-1]) - sides)
    objects = np.hstack([corners, corners + sides - 1])
    best = iou_matrix(WINDOWS.windows(size), objects).max(axis=0)
    assert (best >= 0.5).mean() > 0.9 and best.min() > 0.3


def test_a_file_holds_it_all(ranker, tmp_path):
    ranker.save(tmp_path / "ranker.h5")
    again = load_model(tmp_path / "ranker.h5")
    assert isinstance(again, ProposalRanker) and again.digest == ranker.digest and again.maps == {"name": "net"}
    np.testing.assert_array_equal(again.propose(MAPS, SIZE), ranker.propose(MAPS, SIZE))
    assert replace(ranker, maps={"name": "other"}).digest != ranker.digest


def test_maps_of_another_network_are_refused(ranker):
    with pytest.raises(InputError, match="expects 26 numbers of a box, these maps give 20"):
        ranker.propose(MAPS[1:], SIZE)


def test_a_file_whose_arrays_do_not_fit_is_refused(ranker, tmp_path):
    replace(ranker, B=ranker.B[:2]).save(tmp_path / "bad.h5")
    with pytest.raises(InputError, match="its B have shape"):
        ProposalRanker.load(tmp_path / "bad.h5")
