"""False positives on background at equal recall, against a count with pencil and paper."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.on_background import compare_on_background
from rcnn_svm.evaluation.voc import evaluate_in_cache
from rcnn_svm.reports.on_background import background_table

BOXES = np.float32([[0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49], [60, 60, 69, 69]])


def cache_of(features, objects, name):
    """Images of four boxes that do not overlap; of every image the objects are found by the first proposals."""
    parts = [(np.repeat([True, False], [n, 4]), np.concatenate([BOXES[:n], BOXES]), n) for n in objects]
    gt, boxes, _ = (np.concatenate([np.atleast_1d(part[k]) for part in parts]) for k in range(3))
    counts = [n + 4 for n in objects]
    rows = [np.concatenate([np.zeros((n, 2)), f]) for n, f in zip(objects, features, strict=True)]
    overlap = np.concatenate([np.isin(np.arange(n + 4) % (n + 4), [*range(n), *range(n, 2 * n)]) for n in objects])
    return FeatureCache.from_arrays(
        features=np.concatenate(rows),
        image_start=np.cumsum([0, *counts]),
        boxes=boxes,
        gt=gt,
        label=gt.astype(int),
        overlap=overlap[:, None].astype(float),
        classes=["cat"],
        name=name,
    )


def detector(column, bias=0.0):
    """A detector whose score is a feature and a bias."""
    weights = np.zeros((2, 1), np.float32)
    weights[column] = 1
    return Detector(
        classes=("cat",), W=weights, B=np.float32([bias]), feat_norm_mean=20.0, feature_settings={"source": "arrays"}
    )


@pytest.fixture
def photos():
    """Two images, of two objects and one. The first detector finds all three first, the second one last."""
    one = [[3, 3], [2, 2], [-1, -1], [-1, -1]]
    other = [[1, -0.5], [-1, -0.2], [-1, -1], [-1, -1]]
    return cache_of(np.float32([one, other]), [2, 1], "test")


@pytest.fixture
def background():
    return cache_of(
        np.float32([[[2, -1], [0.5, -0.4], [-2, -2], [-2, -2]], [[1.5, 0.1], [-2] * 2, [-2] * 2, [-2] * 2]]),
        [0, 0],
        "bg",
    )


def test_with_pencil_and_paper(photos, background):
    first, second = compare_on_background([detector(0), detector(1)], background, photos)
    # The best F1 of the first is at recall 1, from score 1 on; the second reaches it at -0.5.
    assert first.recall == second.recall == pytest.approx(1)
    assert (first.images, first.at_recall[0], second.at_recall[0]) == (2, 1.0, 1.0)
    assert (first.reported[0], second.reported[0]) == (1.5, 0.5)
    for result, column in ((first, 0), (second, 1)):
        expected = evaluate_in_cache(photos, detector(column)).classes[0].ap_area
        assert result.average_precision[0] == pytest.approx(expected)


def test_a_bias_changes_what_is_reported_and_nothing_at_equal_recall(photos, background):
    first, second = compare_on_background([detector(0), detector(0, 5.0)], background, photos)
    assert first.at_recall == second.at_recall
    assert second.reported[0] == 4.0


def test_without_a_test_or_without_background(photos, background):
    [of_background] = compare_on_background([detector(0)], background)
    assert of_background.reported[0] == 1.5
    assert np.isnan(of_background.at_recall).all() and np.isnan(of_background.average_precision).all()
    [of_test] = compare_on_background([detector(0)], test=photos)
    assert of_test.images == 0 and of_test.average_precision[0] == pytest.approx(1)
    assert "mAP" in background_table({"after": of_test}).text()
    assert "equal recall" not in background_table({"after": of_background}).text()


def test_a_table_says_how_much_is_left(photos, background):
    results = compare_on_background([detector(0), detector(1)], background, photos)
    text = background_table(dict(zip(("before", "after"), results, strict=True))).text()
    assert "1.00" in text and "2 images of background" in text
    assert max(map(len, text.splitlines())) <= 80


def photos_with_objects_are_no_background(photos):
    with pytest.raises(InputError, match="is not background"):
        compare_on_background([detector(0)], photos)
