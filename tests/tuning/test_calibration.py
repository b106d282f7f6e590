"""Probabilities from held-out scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from rcnn_svm.boxes import nms
from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import evaluate_class
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.reports.mining import mining_table
from rcnn_svm.tuning.calibration import MIN_SLOPE, calibrate_model, fit_calibration, fit_sigmoid
from tests.toys import WatchedCache


@pytest.fixture(scope="module")
def miner(few) -> HardNegativeMiner:
    return HardNegativeMiner(retrain_limit=300, n_jobs=1, pos_loss_weight="auto", k_folds=5).fit(few)


@pytest.fixture
def model(miner, tmp_path):
    miner.save(tmp_path / "model.h5")
    return tmp_path / "model.h5"


def test_few_or_separable_examples_give_no_certainty_and_the_order_stays():
    one = np.array([1, 0]), np.array([0, 1])
    slope, offset = fit_sigmoid(np.array([1.0, -1.0]), *one)
    assert expit(slope + offset) == pytest.approx(2 / 3, abs=1e-3)
    slope, _ = fit_sigmoid(np.array([-1.0, 1.0]), 50 * one[0], 50 * one[1])
    assert slope == MIN_SLOPE, "a class that is ranked upside down keeps its order"
    slope, offset = fit_sigmoid(np.array([0.0, 1.0]), np.zeros(2, int), np.array([50, 3]))
    assert slope > 0 and expit(slope + offset) < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_the_sigmoid_is_that_of_a_logistic_regression_on_platts_targets(seed):
    rng = np.random.default_rng(seed)
    scores = np.linspace(-3, 2, 60)
    count = rng.integers(1, 200, 60)
    right = rng.binomial(count, expit(rng.uniform(0.5, 6) * scores - rng.uniform(-2, 3)))
    targets = (right.sum() + 1) / (right.sum() + 2), 1 / ((count - right).sum() + 2)
    weight = right * targets[0] + (count - right) * targets[1]
    regression = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10000).fit(
        np.tile(scores, 2)[:, None], np.repeat([1, 0], 60), sample_weight=np.concatenate([weight, count - weight])
    )
    slope, offset = fit_sigmoid(scores, right, count - right)
    assert slope == pytest.approx(regression.coef_[0, 0], rel=1e-3)
    assert offset == pytest.approx(regression.intercept_[0], rel=1e-3, abs=1e-3)


def survivors(cache: FeatureCache, detector: Detector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return class, score and rightness of every box that survives non-maximum suppression."""
    found = []
    for i in range(cache.num_images):
        regions = cache.regions(i)
        rows = np.flatnonzero(~regions.gt)
        scores = detector.scores(regions.features[rows])
        for k in range(len(detector.classes)):
            kept = nms(regions.boxes[rows], scores[:, k], 0.3)
            found.append((np.full(len(kept), k), scores[kept, k], regions.overlap[rows[kept], k] >= 0.5))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def test_probabilities_hold_on_unseen_images(few, unseen, model):
    calibrate_model(model, few)
    detector = Detector.load(model)
    cls, scores, right = survivors(unseen, detector)
    probability = detector.probabilities(np.repeat(scores[:, None], 3, axis=1))[np.arange(len(cls)), cls]
    for judge in (brier_score_loss, log_loss):
        # Better than the bare logistic function of the score, and than the share of right boxes.
        assert judge(right, probability) < 0.9 * judge(right, expit(scores))
        assert judge(right, probability) < 0.9 * judge(right, np.full(len(right), right.mean()))
    for k in range(3):
        mine = cls == k
        assert probability[mine].sum() == pytest.approx(right[mine].sum(), rel=0.35)
    # Reliability: what is told and what holds, in groups of boxes that are alike.
    parts = np.array_split(np.argsort(probability)[-1000:], 5)
    for part in parts:
        assert probability[part].mean() == pytest.approx(right[part].mean(), abs=0.15)
    bare = [abs(expit(scores[part]).mean() - right[part].mean()) for part in parts]
    ours = [abs(probability[part].mean() - right[part].mean()) for part in parts]
    assert np.mean(ours) < np.mean(bare) / 2
    assert right[parts[-1]].mean() > 0.4, "the case has boxes that are probable"


def test_average_precision_of_a_class_stays(few, unseen, model):
    calibrate_model(model, few)
    detector = Detector.load(model)
    detections = detect_in_cache(unseen, detector).after_nms(0.3)
    images = [unseen.regions(i) for i in range(unseen.num_images)]
    for k in range(3):
        mine = detections.cls == k
        gt_image = np.repeat(np.arange(len(images)), [(im.label == k + 1).sum() for im in images])
        gt_box = np.concatenate([im.boxes[im.label == k + 1] for im in images])
        probability = detector.probabilities(np.repeat(detections.score[mine, None], 3, axis=1))[:, k]
        raw, calibrated = (
            evaluate_class(
                detections.image[mine], detections.box[mine], order, gt_image, gt_box, np.zeros(len(gt_box), bool)
            )
            for order in (detections.score[mine], probability)
        )
        assert (raw.ap11, raw.ap_area) == (calibrated.ap11, calibrated.ap_area) and raw.ap_area > 0.1
        assert (np.diff(np.sort(probability)) > 0).sum() == (np.diff(np.sort(detections.score[mine])) > 0).sum()


def test_counting_by_score_changes_little(few, miner):
    fold_of_image = np.empty(few.num_images, int)
    for number, fold in enumerate(miner.folds_):
        fold_of_image[fold] = number
    found = fit_calibration(few, miner.fold_detectors_, fold_of_image)
    exact = [[], [], []]
    for number, detector in enumerate(miner.fold_detectors_):
        images = np.flatnonzero(fold_of_image == number)
        for i in images:
            regions = few.regions(i)
            rows = np.flatnonzero(~regions.gt)
            scores = detector.scores(regions.features[rows])
            for k in range(3):
                kept = nms(regions.boxes[rows], scores[:, k], 0.3)
                exact[k] += zip(scores[kept, k], regions.overlap[rows[kept], k] >= 0.5, strict=True)
    for k in range(3):
        scores, right = np.array(exact[k], float).T
        np.testing.assert_allclose(found[k], fit_sigmoid(scores, right, 1 - right), rtol=0.01)


def test_the_model_file_keeps_it_and_everything_else(few, miner, model):
    before, history = Detector.load(model), Detector.load_history(model)
    assert before.calibration is None
    with pytest.raises(InputError, match="not calibrated, so it has scores but no probabilities"):
        before.probabilities(np.zeros((1, 3)))
    assert "probability" not in mining_table(model)
    calibrate_model(model, few)
    after = Detector.load(model)
    assert after.calibration.shape == (3, 2) and (after.calibration[:, 0] > 0).all()
    np.testing.assert_array_equal(after.W, before.W)
    assert after.training == before.training
    for name, table in Detector.load_history(model).items():
        np.testing.assert_array_equal(table, history[name], err_msg=name)
    assert Detector.load_history(model).keys() == history.keys()
    np.testing.assert_allclose(after.probabilities(after.scores_at(0.3)[None]), 0.3)
    assert f"{after.scores_at(0.5)[0]:.2f}" in mining_table(model)
    written = model.stat().st_mtime_ns
    calibrate_model(model, few)
    assert model.stat().st_mtime_ns == written


def test_a_model_is_not_called_damaged_for_what_happens_to_the_features(few, model):
    with pytest.raises(MemoryError):
        calibrate_model(model, WatchedCache(few, "regions", error=MemoryError))


def test_what_cannot_be_calibrated_is_told(few, unseen, miner, model, tmp_path):
    with pytest.raises(InputError, match="was not trained on the cache of few; calibrate it with the one it was"):
        calibrate_model(model, unseen)
    fold_of_image = np.array([int((few.regions(i).label == 1).any()) for i in range(few.num_images)])
    with pytest.raises(
        InputError, match="class 'rare' cannot be calibrated: its objects are all in one of the 5 folds"
    ):
        fit_calibration(few, miner.fold_detectors_, fold_of_image)
    HardNegativeMiner(n_jobs=1).fit(few).save(tmp_path / "plain.h5")
    with pytest.raises(InputError, match="was trained without folds; train it with --k-folds 5"):
        calibrate_model(tmp_path / "plain.h5", few)
