"""Testing an image set: the original's rule for keeping boxes, and what may be scored with what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import BestBoxes, check_features, detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.experiments.parity import case_cache
from tests.toys import toy_cache


def test_two_boxes_of_a_class_by_hand():
    """Two are to be kept of the set: after the second image nothing of 2 or below comes in any more."""
    best = BestBoxes(1, 2, 5)
    kept = [best.select(np.array(scores, np.float32)[:, None])[1].tolist() for scores in ([3, 1], [2, 0.5], [2, 5])]
    assert [sorted(rows) for rows in kept] == [[0, 1], [0, 1], [1]]
    assert (best.thresh.tolist(), best.box_counts.tolist()) == ([3], [5])


@pytest.mark.golden
@pytest.mark.parametrize("case", ["medium", "fc7"])
def test_keeps_what_the_original_keeps(golden_dir, case):
    inputs = dict(np.load(golden_dir / case / "inputs.npz"))
    expected = np.load(golden_dir / case / "detections.npz")
    cache = case_cache(inputs, case)
    detector = Detector(cache.classes, expected["W"], expected["B"], float(expected["feat_norm_mean"]), cache.settings)
    found = detect_in_cache(cache, detector)

    assert found.settings["max_per_image"] == expected["max_per_image"]
    assert found.settings["max_per_set"] == expected["max_per_set"]
    np.testing.assert_array_equal(found.box_counts, expected["box_counts"])
    np.testing.assert_allclose(found.thresh, expected["thresh"], atol=1e-5)
    by_key = {
        tuple(key): (box + 1, score)
        for *key, box, score in zip(found.cls, found.image, found.row, found.box, found.score, strict=True)
    }
    assert by_key.keys() == {tuple(key) for key in expected["keys"]}
    boxes = np.array([by_key[tuple(key)][0] for key in expected["keys"]])
    scores = np.array([by_key[tuple(key)][1] for key in expected["keys"]])
    np.testing.assert_array_equal(boxes, expected["boxes"][:, :4])
    np.testing.assert_allclose(scores, expected["boxes"][:, 4], atol=1e-5)


def literal_rule(images, max_per_set, max_per_image):
    """The rule of the original for one class, a list sorted anew for every image."""
    thresh, count, top, kept = -np.inf, 0, [], []
    for number, scores in enumerate(images):
        rows = [row for row in range(len(scores)) if scores[row] > thresh]
        rows = sorted(rows, key=lambda row: -scores[row])[:max_per_image]
        kept += [(number, row) for row in rows]
        count += len(rows)
        top = sorted(top + [scores[row] for row in rows], reverse=True)
        if count > max_per_set:
            top = top[:max_per_set]
            thresh = top[-1]
    return kept, thresh, count


@given(
    st.lists(
        st.integers(0, 12).flatmap(
            lambda rows: hnp.arrays(np.float32, (rows, 2), elements=st.integers(-4, 4).map(lambda x: x / 2))
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 20),
    st.integers(1, 6),
)
@settings(max_examples=150, deadline=None)
def test_best_boxes_equal_the_literal_rule(images, max_per_set, max_per_image):
    best = BestBoxes(2, max_per_set, max_per_image)
    kept = {0: [], 1: []}
    for number, scores in enumerate(images):
        for index, row in zip(*best.select(scores), strict=True):
            kept[int(index)].append((number, int(row)))
    for index in (0, 1):
        expected, thresh, count = literal_rule(
            [scores[:, index].tolist() for scores in images], max_per_set, max_per_image
        )
        assert kept[index] == expected
        assert best.thresh[index] == np.float32(thresh)
        assert best.box_counts[index] == count


def make_cache(num_images=6, rows=20):
    """Images whose first three regions are objects."""
    settings_ = {"backbone": {"name": "lite0", "layer": "penultimate"}, "crop_size": 128, "proposals": {"max": 9}}
    features = np.random.default_rng(1).normal(size=(num_images * rows, 5))
    return toy_cache([rows] * num_images, objects=3, features=features, settings=settings_)


def toy_detector(cache, classes=("dog", "cat"), **options):
    W = np.random.default_rng(2).normal(size=(cache.dim, len(classes))).astype(np.float32)
    options = {"feature_settings": cache.settings, **options}
    return Detector(classes, W, np.zeros(len(classes), np.float32), 2.0, **options)


def test_nothing_is_dropped_without_limits_and_ground_truth_never_appears():
    cache = make_cache()
    found = detect_in_cache(cache, toy_detector(cache), max_per_set=10**6)
    assert len(found) == 2 * 6 * (20 - 3)
    assert found.row.min() == 3
    assert (found.thresh == -np.inf).all()
    assert found.classes == ("dog", "cat")
    regions = cache.regions(4)
    scores = toy_detector(cache).scores(regions.features)
    of_image = (found.image == 4) & (found.cls == 1)
    np.testing.assert_allclose(found.score[of_image], scores[found.row[of_image], 1], rtol=1e-5)


def test_no_more_than_the_set_limit_remains_once_it_binds():
    cache = make_cache()
    found = detect_in_cache(cache, toy_detector(cache), max_per_set=30)
    assert np.bincount(found.cls).tolist() == [30, 30]
    assert (found.box_counts > 30).all()
    assert (found.score >= found.thresh[found.cls]).all()


def test_an_image_without_proposals_is_no_problem():
    cache = make_cache(num_images=1, rows=3)
    assert len(detect_in_cache(cache, toy_detector(cache))) == 0


def test_proposals_may_differ():
    cache = make_cache()
    trained_on = {**cache.settings, "proposals": {"max": 1000}, "proposals_fingerprint": "77"}
    assert len(detect_in_cache(cache, toy_detector(cache, feature_settings=trained_on))) > 0


def test_another_dimension_is_refused_and_both_are_named():
    cache = make_cache()
    other = {"backbone": {"name": "alexnet", "layer": "fc7"}}
    detector = Detector(("cat",), np.zeros((4096, 1), np.float32), np.zeros(1, np.float32), 1.0, other)
    message = r"model m\.h5 expects 4096-d alexnet fc7 features, cache d holds 5-d lite0 penultimate"
    with pytest.raises(InputError, match=message):
        check_features(detector, cache, "model m.h5", "cache d")
    with pytest.raises(InputError, match="4096-d"):
        detect_in_cache(cache, detector)


def test_other_feature_settings_are_refused_and_named():
    cache = make_cache()
    trained_on = {**cache.settings, "crop_size": 227}
    with pytest.raises(InputError, match="crop_size: 128 there, 227 wanted"):
        detect_in_cache(cache, toy_detector(cache, feature_settings=trained_on))


def test_a_class_without_ground_truth_in_the_cache_is_detected():
    cache = make_cache()
    detections = detect_in_cache(cache, toy_detector(cache, classes=("cat", "zebra")))
    assert detections.classes == ("cat", "zebra") and len(detections)


def test_scores_that_are_not_numbers_are_refused():
    cache = make_cache()
    detector = toy_detector(cache)
    detector.W[0, 0] = np.nan
    with pytest.raises(InputError, match="image 0 has scores that are not finite"):
        detect_in_cache(cache, detector)
