"""Box regression against the original's numbers, scikit-learn and its own laws."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from rcnn_svm.boxes import box_deltas
from rcnn_svm.detection import bbox_regression
from rcnn_svm.detection.bbox_regression import BoxRegressor, NormalEquations, box_examples
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.parity import case_cache


def golden_case(golden_dir, layer):
    """The cache of the golden case in a layer, and what the original made of it."""
    inputs = {**np.load(golden_dir / "fc7" / "inputs.npz"), "layer": np.int32(layer)}
    return case_cache(inputs, "fc7"), np.load(golden_dir / "fc7" / f"bbox_reg_layer{layer}.npz")


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


def test_examples_are_strictly_above_and_of_the_first_of_the_best_objects():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [20, 0, 29, 9], [0, 0, 9, 5], [0, 0, 9, 6], [40, 40, 50, 50]])
    gt, label = np.arange(6) < 3, np.array([2, 1, 1, 0, 0, 0])
    examples = box_examples(boxes.astype(np.float32), gt, label, 0.6)
    assert examples.rows.tolist() == [0, 1, 2, 4], "an IoU of exactly 0.6 does not do"
    assert examples.objects.tolist() == [0, 0, 2, 0]
    assert examples.cls.tolist() == [1, 1, 0, 1]
    np.testing.assert_array_equal(examples.targets, box_deltas(boxes[examples.rows], boxes[examples.objects]))


@pytest.mark.golden
def test_examples_and_targets_equal_the_original(golden_dir):
    cache, expected = golden_case(golden_dir, 5)
    wanted = expected["O"] > np.float32(0.6)
    keys, parts = [], []
    for number in range(cache.num_images):
        regions = cache.regions(number)
        examples = box_examples(regions.boxes, regions.gt, regions.label, 0.6)
        keys += [(number, row) for row in examples.rows.tolist()]
        parts.append(examples)
    np.testing.assert_array_equal(keys, expected["example_keys"][wanted])
    np.testing.assert_array_equal(np.concatenate([part.cls for part in parts]), expected["C"][wanted])
    np.testing.assert_array_equal(np.concatenate([part.overlap for part in parts]), expected["O"][wanted])
    np.testing.assert_allclose(np.concatenate([part.targets for part in parts]), expected["Y"][wanted], atol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("layer", [5, 7])
def test_corrections_equal_the_original(golden_dir, layer):
    cache, expected = golden_case(golden_dir, layer)
    regressor = golden_regressor(cache, expected)
    regions = cache.regions(int(expected["pred_image"]))
    for index in range(len(cache.classes)):
        found = regressor.predict(regions.features, regions.boxes, np.full(len(regions), index))
        np.testing.assert_allclose(found + 1, expected["pred"][index], atol=1e-3)


def test_an_image_without_objects_has_no_examples():
    _, boxes = random_regions()
    examples = box_examples(boxes, np.zeros(20, bool), np.zeros(20, int), 0.6)
    assert len(examples.rows) == len(examples.objects) == len(examples.targets) == 0


@pytest.mark.parametrize("count", [40, 2 * bbox_regression.ROWS_PER_PRODUCT + 35])
def test_normal_equations_give_scikit_learns_ridge(count):
    random = np.random.default_rng(5)
    features = random.normal(size=(count, 9)).astype(np.float32)
    targets = random.normal(size=(count, 4)) @ random.normal(size=(4, 4)) / 10 + [0.1, 0, -0.2, 0.3]
    equations = NormalEquations(9)
    for first in range(0, count, 5):
        equations.add(features[first : first + 5], targets[first : first + 5])
    solution = equations.solve(30.0)

    np.testing.assert_allclose(solution["mu"], targets.mean(axis=0), atol=1e-12)
    whitened = (targets - solution["mu"]) @ solution["T"]
    values = np.linalg.eigvalsh(np.cov(targets.T, bias=True))
    np.testing.assert_allclose(
        np.linalg.eigvalsh(np.cov(whitened.T, bias=True)), np.sort(values / (values + 0.001)), atol=1e-9
    )
    np.testing.assert_allclose(solution["T"] @ solution["T_inv"], np.eye(4), atol=1e-9)
    with_bias = np.hstack([features, np.ones((count, 1))])
    expected = Ridge(alpha=30.0, fit_intercept=False, solver="svd").fit(with_bias, whitened).coef_.T
    np.testing.assert_allclose(solution["Beta"], expected, atol=1e-9)


def test_more_examples_can_follow_a_solution():
    features, _ = random_regions()
    targets = np.random.default_rng(1).normal(size=(20, 4))
    once, twice = NormalEquations(6), NormalEquations(6)
    once.add(features, targets)
    twice.add(features[:8], targets[:8])
    twice.solve(10.0)
    twice.add(features[8:], targets[8:])
    for name, array in once.solve(10.0).items():
        np.testing.assert_allclose(twice.solve(10.0)[name], array, atol=1e-12)


def test_no_examples_have_no_solution():
    assert NormalEquations(6).solve(1.0) == {}


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
