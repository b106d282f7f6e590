"""Box regression: a correction by hand, the original's numbers, and its own laws."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.boxes import box_deltas
from rcnn_svm.detection import bbox_regression
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError


def golden_regressor(cache, expected):
    arrays = {name: expected[name] for name in ("mu", "T", "T_inv", "Beta")}
    return BoxRegressor(cache.classes, **arrays, feat_norm_mean=float(expected["feat_norm_mean"]))


def random_regressor(seed=0, dim=6, classes=("cat", "dog")):
    random = np.random.default_rng(seed)
    regressor = BoxRegressor.identity(classes, dim, 2.0, feature_settings={"backbone": {"name": "lite0"}})
    regressor.mu[:] = random.normal(size=regressor.mu.shape) / 10
    regressor.Beta[:] = random.normal(size=regressor.Beta.shape) / 10
    return regressor


def random_regions(seed=0, count=20, dim=6):
    random = np.random.default_rng(seed)
    corner = random.integers(0, 50, (count, 2))
    boxes = np.hstack([corner, corner + random.integers(5, 50, (count, 2))]).astype(np.float32)
    return random.normal(size=(count, dim)).astype(np.float32), boxes


def test_a_correction_by_hand():
    """A box from 5 to 15 moves right by a tenth of its width for every unit of its feature, and by another 0.2."""
    regressor = BoxRegressor.identity(("cat",), 1, feat_norm_mean=20.0)  # features are scaled by 1
    regressor.Beta[0, 0, 0], regressor.mu[0, 0] = 0.1, 0.2
    features, boxes, cls = np.float32([[3]]), np.float32([[5, 5, 15, 15]]), np.zeros(1, int)
    np.testing.assert_allclose(regressor.predict(features, boxes, cls), [[10, 5, 20, 15]], atol=1e-5)
    np.testing.assert_allclose(regressor.correct(features, boxes, cls, (30, 18)), [[10, 5, 17, 15]], atol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("layer", [5, 7])
def test_corrections_equal_the_original(golden_case, layer):
    cache, expected = golden_case(layer)
    regressor = golden_regressor(cache, expected)
    regions = cache.regions(int(expected["pred_image"]))
    for index in range(len(cache.classes)):
        found = regressor.predict(regions.features, regions.boxes, np.full(len(regions), index))
        np.testing.assert_allclose(found + 1, expected["pred"][index], atol=1e-3)


def test_the_identity_leaves_boxes_as_they_are():
    features, boxes = random_regions()
    regressor = BoxRegressor.identity(("cat", "dog"), 6, 2.0)
    np.testing.assert_array_equal(regressor.predict(features, boxes, np.arange(20) % 2), boxes)


def test_every_box_is_corrected_for_its_class():
    features, boxes = random_regions()
    regressor = random_regressor()
    cls = np.arange(20) % 2
    found = regressor.predict(features, boxes, cls)
    for row in range(20):
        deltas = np.append(features[row] * 10, 1) @ regressor.Beta[cls[row]] + regressor.mu[cls[row]]
        np.testing.assert_allclose(box_deltas(boxes[[row]], found[[row]]), deltas[None], atol=1e-4)
    assert (found != boxes).any(axis=1).all()
    assert found.dtype == np.float32


def test_corrected_boxes_end_at_the_image():
    features, boxes = random_regions()
    regressor = random_regressor()
    found = regressor.correct(features, boxes, np.zeros(20, int), (60, 70))
    assert found.min() >= 0 and found[:, [0, 2]].max() <= 69 and found[:, [1, 3]].max() <= 59
    inside = regressor.predict(features, boxes, np.zeros(20, int))
    np.testing.assert_array_equal(found, np.clip(inside, 0, [69, 59, 69, 59]))


def test_file_gives_back_everything(tmp_path):
    regressor = random_regressor(classes=("cat", "Küche"))
    regressor.training = {"image_set": "toy"}
    regressor.save(tmp_path / "boxes.h5")
    loaded = BoxRegressor.load(tmp_path / "boxes.h5")
    assert (loaded.classes, loaded.feat_norm_mean) == (regressor.classes, regressor.feat_norm_mean)
    assert (loaded.feature_settings, loaded.training) == (regressor.feature_settings, regressor.training)
    for name in bbox_regression.PER_CLASS:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(regressor, name))
    assert loaded.digest == regressor.digest


@pytest.mark.parametrize("change", ["mu", "T", "T_inv", "Beta", "classes", "feat_norm_mean"])
def test_the_digest_changes_with_everything(change):
    before, after = random_regressor(), random_regressor()
    if change == "classes":
        after.classes = ("cat", "cow")
    elif change == "feat_norm_mean":
        after.feat_norm_mean = 2.5
    else:
        getattr(after, change)[0, 0] += 1e-3
    assert before.digest != after.digest


def test_bad_input_is_one_sentence(tmp_path):
    features, boxes = random_regions()
    regressor = random_regressor()
    cls = np.zeros(20, int)
    with pytest.raises(InputError, match="expects 6-d features, these have 5 dimensions"):
        regressor.predict(features[:, :5], boxes, cls)
    features[3, 2] = np.nan
    with pytest.raises(InputError, match="not finite"):
        regressor.predict(features, boxes, cls)
    with pytest.raises(InputError, match="no class 'cow', it has cat, dog"):
        regressor.columns(("cat", "cow"))
    with pytest.raises(InputError, match=r"mu has shape \(3, 4\), expected \(2, 4\)"):
        BoxRegressor(("cat", "dog"), np.zeros((3, 4)), regressor.T, regressor.T_inv, regressor.Beta, 2.0)
    Detector(("cat",), np.zeros((6, 1), np.float32), np.zeros(1, np.float32), 2.0).save(tmp_path / "model.h5")
    with pytest.raises(InputError, match="holds detector, expected box regressor"):
        BoxRegressor.load(tmp_path / "model.h5")
