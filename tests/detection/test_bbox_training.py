"""Training of box regression: the original's weights, however the work is cut; what it measures and refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from rcnn_svm.boxes import box_deltas, iou_matrix
from rcnn_svm.detection import bbox_training
from rcnn_svm.detection.bbox_regression import PER_CLASS, BoxRegressor
from rcnn_svm.detection.bbox_training import BoxRegressorTrainer, NormalEquations, box_examples
from rcnn_svm.errors import InputError
from rcnn_svm.reports.bbox import bbox_table
from tests.toys import WatchedCache, arrays_of, off_target, stored, toy_cache

CLASSES = ("cat", "cow", "dog")
IMAGE_SIZE = (90, 120)


@pytest.fixture
def cache(tmp_path):
    return stored(off_target(), tmp_path / "toy", shard_images=3)


def fitted(cache, checkpoint=None, **options):
    return BoxRegressorTrainer(**{"ridge_lambda": 1.0, **options}).fit(cache, checkpoint=checkpoint).regressor_


def assert_equal(found, expected):
    for name in PER_CLASS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-6)
    assert found.training == expected.training


def test_boxes_that_are_all_two_pixels_too_far_right():
    """The only feature tells proposals from the object, so that the correction is exact."""
    boxes = np.array([[10, 10, 30, 30], *[[12, 10, 32, 30]] * 9], np.float32)
    label = np.arange(10) < 1
    features = np.where(label, 1, 20)[:, None]
    overlap = iou_matrix(boxes, boxes[:1])
    cache = toy_cache([10], classes=("cat",), features=features, boxes=boxes, label=label.astype(int), overlap=overlap)
    regressor = fitted(cache, ridge_lambda=1e-9)
    corrected = regressor.predict(cache.regions(0).features, boxes, np.zeros(10, int))
    np.testing.assert_allclose(corrected, np.tile(boxes[0], (10, 1)), atol=1e-3)


def test_examples_are_strictly_above_and_of_the_first_of_the_best_objects():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [20, 0, 29, 9], [0, 0, 9, 5], [0, 0, 9, 6], [40, 40, 50, 50]])
    gt, label = np.arange(6) < 3, np.array([2, 1, 1, 0, 0, 0])
    examples = box_examples(boxes.astype(np.float32), gt, label, 0.6)
    assert examples.rows.tolist() == [0, 1, 2, 4], "an IoU of exactly 0.6 does not do"
    assert examples.objects.tolist() == [0, 0, 2, 0]
    assert examples.cls.tolist() == [1, 1, 0, 1]
    np.testing.assert_array_equal(examples.targets, box_deltas(boxes[examples.rows], boxes[examples.objects]))


@pytest.mark.golden
def test_examples_and_targets_equal_the_original(golden_case):
    cache, expected = golden_case(5)
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


def test_an_image_without_objects_has_no_examples():
    examples = box_examples(np.float32([[0, 0, 9, 9]] * 20), np.zeros(20, bool), np.zeros(20, int), 0.6)
    assert len(examples.rows) == len(examples.objects) == len(examples.targets) == 0


@pytest.mark.parametrize("count", [40, 2 * bbox_training.ROWS_PER_PRODUCT + 35])
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
    random = np.random.default_rng(1)
    features, targets = random.normal(size=(20, 6)).astype(np.float32), random.normal(size=(20, 4))
    once, twice = NormalEquations(6), NormalEquations(6)
    once.add(features, targets)
    twice.add(features[:8], targets[:8])
    twice.solve(10.0)
    twice.add(features[8:], targets[8:])
    for name, array in once.solve(10.0).items():
        np.testing.assert_allclose(twice.solve(10.0)[name], array, atol=1e-12)


def test_no_examples_have_no_solution():
    assert NormalEquations(6).solve(1.0) == {}


@pytest.mark.golden
@pytest.mark.parametrize("max_bytes", [0, 2 << 30])
@pytest.mark.parametrize("layer", [5, 7])
def test_weights_equal_the_originals(golden_case, layer, max_bytes):
    golden, expected = golden_case(layer)
    trainer = BoxRegressorTrainer(
        ridge_lambda=float(expected["lam"]),
        min_overlap=float(expected["min_overlap"]),
        feat_norm_mean=float(expected["feat_norm_mean"]),
        max_bytes=max_bytes,
    )
    found = trainer.fit(golden).regressor_
    for name in PER_CLASS:
        for ours, theirs in zip(getattr(found, name), expected[name], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_shards_and_passes_do_not_matter(tmp_path):
    expected = fitted(stored(off_target(), tmp_path / "whole"), max_bytes=2 << 30)
    cut = stored(off_target(), tmp_path / "cut", shard_images=1)
    # Sums of two classes and a solution, then of one: two passes. A class at a time: three.
    for max_bytes, passes in ((3 * 8 * 9**2, 2), (0, 3)):
        watched = WatchedCache(cut)
        found = fitted(watched, max_bytes=max_bytes)
        assert len(watched.read["block"]) == passes * 2 * cut.num_images  # to train, and to measure
        found.training["identity"] = expected.training["identity"]
        assert_equal(found, expected)


def test_derived_features_are_computed_for_examples_alone(cache):
    computed = set()

    def transform(rows):
        computed.update(map(tuple, rows.tolist()))
        return rows

    options = {"min_overlap": 0.8, "feat_norm_mean": 3.0}
    expected = fitted(cache, **options)
    found = fitted(cache.derived(transform, cache.dim, cache.settings), **options)
    found.training["identity"] = expected.training["identity"]
    assert_equal(found, expected)
    examples = set()
    for number in range(cache.num_images):
        regions = cache.regions(number)
        rows = box_examples(regions.boxes, regions.gt, regions.label, 0.8).rows
        examples.update(map(tuple, regions.features[rows].tolist()))
    assert computed == examples
    assert len(examples) < cache.num_rows


def test_half_precision_trains_nearly_the_same(tmp_path, cache):
    half = fitted(stored(off_target(), tmp_path / "half", shard_images=3, dtype="float16"))
    expected = fitted(cache)
    np.testing.assert_allclose(half.Beta, expected.Beta, atol=0.01 * np.abs(expected.Beta).max())


def test_corrections_bring_boxes_nearer_also_where_they_were_not_fitted(cache):
    training = fitted(cache).training
    for part in ("proposals", "held_out"):
        for before, after in zip(training[part]["iou"], training[part]["corrected_iou"], strict=True):
            assert before + 0.05 < after < 1


def test_the_record_equals_a_literal_count(cache):
    """All examples at once in memory, and those held out never seen by the regressor that corrects them."""
    trainer = BoxRegressorTrainer(ridge_lambda=5.0, feat_norm_mean=20.0).fit(cache)
    training = trainer.regressor_.training

    for index in range(len(CLASSES)):
        rows = []
        for number in range(cache.num_images):
            regions = cache.regions(number)
            objects = regions.boxes[regions.gt]
            iou = iou_matrix(regions.boxes, objects)
            for row in np.flatnonzero((iou.max(axis=1) > 0.6) & (iou.argmax(axis=1) == index)):
                rows.append((regions.features[row], regions.boxes[row], objects[index], regions.gt[row], number))
        features, boxes, objects, gt, image = (np.array(column) for column in zip(*rows, strict=True))
        assert training["examples"][index] == len(rows)
        # Images in their order until a fifth of the examples is together.
        fold, together, number = np.zeros(len(rows), int), 0, 0
        for of_image in range(cache.num_images):
            fold[image == of_image] = number
            together += np.count_nonzero(image == of_image)
            if together >= np.ceil(len(rows) / 5):
                number, together = number + 1, 0
        assert 3 <= len(np.unique(fold)) <= 5
        everything = np.ones(len(rows), bool)
        for part, folds in (
            ("proposals", [(everything, everything)]),
            ("held_out", [(fold != held, fold == held) for held in np.unique(fold)]),
        ):
            before, after = [], []
            for learnt, asked in folds:
                equations = NormalEquations(cache.dim)
                equations.add(features[learnt], literal_targets(boxes[learnt], objects[learnt]))
                solution = equations.solve(5.0)
                asked = asked & ~gt.astype(bool)
                z = np.hstack([features, np.ones((len(rows), 1))])[asked]
                corrected = literal_correction(boxes[asked], z @ solution["Beta"] @ solution["T_inv"] + solution["mu"])
                before += np.diag(iou_matrix(boxes[asked], objects[asked])).tolist()
                after += np.diag(iou_matrix(corrected, objects[asked])).tolist()
            assert training[part]["number"][index] == len(before) == np.count_nonzero(gt == 0)
            assert training[part]["iou"][index] == pytest.approx(np.mean(before), abs=1e-6)
            assert training[part]["corrected_iou"][index] == pytest.approx(np.mean(after), abs=1e-6)


def test_corrections_that_move_held_out_boxes_away_are_not_used(tmp_path):
    """Of the third class features say nothing about how a box is off, and chance is learnt."""
    cache = off_target(num_images=3)
    features = np.array([cache.regions(number).features for number in range(3)])
    features[:, -12:] = np.random.default_rng(0).normal(size=features[:, -12:].shape)  # its proposals come last
    cache = stored(off_target(num_images=3, features=features.reshape(-1, cache.dim)), tmp_path / "toy")
    regressor = fitted(cache)
    held_out = regressor.training["held_out"]
    assert np.greater(held_out["corrected_iou"], held_out["iou"]).tolist() == regressor.used.tolist()
    assert regressor.used.tolist() == [True, True, False]
    regions = cache.regions(0)
    for c, used in enumerate(regressor.used):
        corrected = regressor.predict(regions.features, regions.boxes, np.full(len(regions), c))
        assert (corrected != regions.boxes).any() == used
    regressor.save(tmp_path / "bbox.h5")
    loaded = BoxRegressor.load(tmp_path / "bbox.h5")
    assert loaded.used.tolist() == regressor.used.tolist() and loaded.digest == regressor.digest
    everywhere = replace(loaded, used=None)
    assert everywhere.digest != loaded.digest and everywhere.used.all()
    assert "Not used, since held-out boxes are no nearer to their objects: dog." in bbox_table(tmp_path / "bbox.h5")


@pytest.mark.parametrize("held", [1, 7, 39])
def test_predictions_without_some_examples_are_those_of_a_training_without_them(held):
    random = np.random.default_rng(3)
    features = random.normal(size=(40, 6)).astype(np.float32)
    targets = features[:, :4] * [0.1, 0.2, 0, -0.1] + random.normal(size=(40, 4)) / 10 + [0, 1, 2, 3]
    everything, others = NormalEquations(6), NormalEquations(6)
    everything.add(features, targets)
    others.add(features[held:], targets[held:])
    everything.solve(3.0)
    found = everything.without_some().predict(features[:held], targets[:held])
    solution = others.solve(3.0)
    whitened = np.hstack([features[:held], np.ones((held, 1))]) @ solution["Beta"]
    np.testing.assert_allclose(found, whitened @ solution["T_inv"] + solution["mu"], atol=1e-7)


def literal_targets(boxes, objects):
    size, object_size = boxes[:, 2:] - boxes[:, :2], objects[:, 2:] - objects[:, :2]
    offset = (objects[:, :2] + objects[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    return np.hstack([offset / size, np.log(object_size / size)]).astype(np.float64)


def literal_correction(boxes, deltas):
    size = boxes[:, 2:] - boxes[:, :2]
    center = (boxes[:, 2:] + boxes[:, :2]) / 2 + deltas[:, :2] * size
    half = np.exp(deltas[:, 2:]) * size / 2
    height, width = IMAGE_SIZE
    return np.clip(np.hstack([center - half, center + half]), 0, [width - 1, height - 1, width - 1, height - 1])


def test_an_interrupted_training_goes_on_with_the_classes_left(cache, tmp_path):
    expected = fitted(cache, max_bytes=0)
    checkpoint = tmp_path / "boxes.h5.checkpoint"
    of_class = 2 * cache.num_images  # images that are read for a class
    with pytest.raises(KeyboardInterrupt):
        fitted(WatchedCache(cache, "block", 2 * of_class + 3), checkpoint, max_bytes=0)
    for left in (of_class, 0):
        watched = WatchedCache(cache)
        assert_equal(fitted(watched, checkpoint, max_bytes=0), expected)
        assert len(watched.read["block"]) == left
    with pytest.raises(InputError, match=r"checkpoint of another training.*ridge_lambda: 1\.0 there, 2\.0 wanted"):
        fitted(cache, checkpoint, ridge_lambda=2.0)


def test_a_class_without_examples_leaves_boxes_uncorrected(tmp_path):
    cache = stored(off_target(classes=(0, 2)), tmp_path / "toy")
    with pytest.warns(UserWarning, match="class 'cow' has no examples: its boxes stay uncorrected"):
        regressor = fitted(cache)
    regions = cache.regions(0)
    corrected = [regressor.predict(regions.features, regions.boxes, np.full(len(regions), c)) for c in range(3)]
    np.testing.assert_array_equal(corrected[1], regions.boxes)
    assert all((corrected[c] != regions.boxes).any() for c in (0, 2))
    assert regressor.training["examples"][1] == 0
    assert regressor.training["held_out"]["iou"][1] is None


def test_one_image_is_trained_on_and_nothing_held_out(tmp_path):
    regressor = fitted(stored(off_target(num_images=1), tmp_path / "toy"))
    assert regressor.training["held_out"]["number"] == [0, 0, 0] and regressor.used.all()
    assert min(regressor.training["examples"]) > 0


def test_bad_input_is_one_sentence(tmp_path, cache):
    with pytest.raises(InputError, match="ridge_lambda = 0 must be a number above 0"):
        fitted(cache, ridge_lambda=0)
    with pytest.raises(InputError, match="min_overlap = 1 must be a number of at least 0 and below 1"):
        fitted(cache, min_overlap=1)
    with pytest.raises(InputError, match="seed = -1"):
        fitted(cache, seed=-1)
    without = off_target(gt=np.zeros(cache.num_rows, bool), label=np.zeros(cache.num_rows, int))
    with pytest.raises(InputError, match=r"no region of toy overlaps an object by more than 0\.6.*ground truth"):
        fitted(without)
    features = arrays_of(cache)["features"]
    features[cache.image_start[4], 2] = np.nan
    with pytest.raises(InputError, match="image 004 has features that are not finite"):
        fitted(off_target(features=features), feat_norm_mean=20.0)
