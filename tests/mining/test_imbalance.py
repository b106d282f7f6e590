"""Imbalance against sums over all examples, one by one."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining import imbalance
from rcnn_svm.mining.examples import one_vs_rest_targets
from rcnn_svm.mining.imbalance import (
    HARDEST,
    NUM_BINS,
    Imbalance,
    bin_centres,
    bin_of,
    focal,
    measure_cache,
    measure_scores,
)
from tests.toys import arrays_of, stored, toy_cache


def literal(score: float, target: int, gamma: float) -> list[float]:
    """Hinge loss, cross-entropy and focal loss of one example, from probabilities."""
    p_other, p = sorted((1 / (1 + math.exp(-score)), 1 / (1 + math.exp(score))), reverse=bool(score * target < 0))
    return [max(0.0, 1 - target * score), -math.log(p), p_other**gamma * -math.log(p)]


def scores_and_targets(seed: int, count: int = 500, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.choice([-1, 0, 1], (count, classes), p=[0.8, 0.15, 0.05]).astype(np.int8)
    scores = rng.normal(-1.6, 1, (count, classes)) + 2 * (targets > 0)
    return scores.astype(np.float32), targets


def same(found: Imbalance, expected: Imbalance) -> None:
    for f in fields(Imbalance):
        np.testing.assert_allclose(getattr(found, f.name), getattr(expected, f.name), rtol=1e-12, err_msg=f.name)


def test_losses_by_hand():
    margins = np.array([2, 0.5, -1])
    assert imbalance.hinge(margins).tolist() == [0, 0.5, 2]
    assert imbalance.cross_entropy(np.zeros(1)) == pytest.approx(math.log(2))  # probability 1/2
    assert focal(np.zeros(1), 2.0) == pytest.approx(math.log(2) / 4)


@given(st.floats(-30, 30), st.sampled_from([-1, 1]), st.floats(0.5, 5))
@settings(max_examples=50, deadline=None)
def test_losses_are_those_of_their_definitions(score, target, gamma):
    found = [float(f(np.array(target * score))) for f in (imbalance.hinge, imbalance.cross_entropy)]
    found.append(float(focal(np.array(target * score), gamma)))
    np.testing.assert_allclose(found, literal(score, target, gamma), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_counts_and_losses_are_sums_over_the_examples(seed, gamma):
    scores, targets = scores_and_targets(seed)
    found = measure_scores(scores, targets, hard_thresh=-1.1, easy_loss=0.4, gamma=gamma)
    for k in range(3):
        examples = [
            (s, t, literal(s, t, gamma)) for s, t in zip(scores[:, k].tolist(), targets[:, k], strict=True) if t
        ]
        assert found.num_positives[k] == sum(t > 0 for _, t, _ in examples)
        assert found.num_negatives[k] == sum(t < 0 for _, t, _ in examples)
        assert found.num_hard_negatives[k] == sum(t < 0 and s > -1.1 for s, t, _ in examples)
        easy = [losses for *_, losses in examples if losses[1] < 0.4]
        hard = [losses for *_, losses in examples if losses[1] >= 0.4]
        assert (found.num_easy[k], found.num_hard[k]) == (len(easy), len(hard)) and easy and hard
        np.testing.assert_allclose(found.loss[:, k], np.sum(easy + hard, axis=0), rtol=1e-9)
        np.testing.assert_allclose(found.loss_of_easy[:, k], np.sum(easy, axis=0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.easy_to_hard[:, k], np.sum(easy, axis=0) / np.sum(hard, axis=0), atol=1e-9)
        of_negatives = sum(losses[0] for _, t, losses in examples if t < 0)
        assert found.negatives_share[k] == pytest.approx(of_negatives / found.loss[0, k])


def test_what_lies_on_a_threshold():
    """A negative at -1 is outside the margin; a score of 0 is on no side, so not easy."""
    scores = np.array([[-1], [np.nextafter(np.float32(-1), np.float32(0))], [0], [0], [1e-6]], np.float32)
    targets = np.array([[-1], [-1], [-1], [1], [1]], np.int8)
    found = measure_scores(scores, targets, hard_thresh=-1.0)
    assert found.num_hard_negatives[0] == 2
    assert (found.num_easy[0], found.num_hard[0]) == (3, 2)
    # Support vectors lie at -1 but for rounding, and are hard by default, as they are in mining.
    on_margin = np.array([[-1.00001], [-1], [-0.99999], [-1.0002]], np.float32)
    assert measure_scores(on_margin, np.full((4, 1), -1, np.int8)).num_hard_negatives[0] == 3


@pytest.mark.parametrize("spread", [0.3, 1, 20])
def test_the_share_of_the_hardest_is_that_of_sorted_losses(spread):
    rng = np.random.default_rng(0)
    scores = (spread * rng.standard_normal((20000, 1)) - 2).astype(np.float32)
    found = measure_scores(scores, np.full((20000, 1), -1, np.int8)).hardest_share(HARDEST)
    for number, loss in enumerate((imbalance.hinge, imbalance.cross_entropy, lambda m: focal(m, 2.0))):
        hardest = np.sort(loss(-scores[:, 0].astype(np.float64)))[::-1]
        expected = [hardest[: int(20000 * fraction)].sum() / hardest.sum() for fraction in HARDEST]
        np.testing.assert_allclose(found[number, 0], expected, rtol=5e-3)


def test_the_example_of_the_focal_loss_paper():
    """100,000 easy examples of loss 0.1 outweigh 100 hard ones of loss 2.3 about forty times."""
    margin = np.repeat(logit(np.exp([-0.1, -2.3])), [100_000, 100])
    found = measure_scores(-margin[:, None], np.full((len(margin), 1), -1, np.int8))
    assert (found.num_easy[0], found.num_hard[0]) == (100_000, 100)
    hinge, cross_entropy, focal_loss = found.easy_to_hard[:, 0]
    assert cross_entropy == pytest.approx(100_000 * 0.1 / (100 * 2.3))
    assert hinge == 0 and focal_loss < 1
    assert found.hardest_share([100 / 100_100])[1, 0] == pytest.approx(230 / 10_230)


def test_bins_are_fine_and_take_in_everything():
    margin = np.array([-1e30, -5.0, -0.001, 0.0, 0.5, 30.0, 1e30])
    number = bin_of(margin)
    assert number[0] == 0 and number[-1] == NUM_BINS - 1 and (np.diff(number) > 0).all()
    error = np.abs(bin_centres()[number] - margin)[1:-1]
    assert (error <= 0.005 * np.maximum(1, np.abs(margin[1:-1]))).all()
    np.testing.assert_array_equal(bin_of(bin_centres()), np.arange(NUM_BINS))


def test_parts_add_up_and_classes_too():
    scores, targets = scores_and_targets(1)
    whole = measure_scores(scores, targets)
    same(measure_scores(scores[:123], targets[:123]) + measure_scores(scores[123:], targets[123:]), whole)
    same(measure_scores(scores.reshape(-1, 1), targets.reshape(-1, 1)), whole.overall())


def test_without_examples_shares_are_nan():
    found = measure_scores(np.zeros((4, 1), np.float32), np.zeros((4, 1), np.int8))
    assert found.num_easy[0] == found.num_hard[0] == 0
    assert np.isnan(found.easy_to_hard).all() and np.isnan(found.hardest_share(HARDEST)).all()
    assert np.isnan(found.negatives_share).all()


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> tuple[FeatureCache, Detector]:
    """A cache in three shards and a detector of two of its three classes, in another order."""
    rng = np.random.default_rng(2)
    label = np.zeros(140, int)
    label[[0, 1, 30, 31, 71, 100, 101]] = [1, 2, 3, 1, 2, 3, 3]
    arrays = toy_cache([30, 0, 41, 29, 40], label=label, features=rng.standard_normal((140, 6)))
    cache = stored(arrays, tmp_path_factory.mktemp("imbalance") / "cache", shard_images=2)
    W = rng.standard_normal((6, 2)).astype(np.float32) / 20
    return cache, Detector(("dog", "cat"), W, np.array([-1.2, -0.8], np.float32), 2.5)


@pytest.mark.parametrize("block_bytes", [1, 24 * 35, 1 << 20])
def test_a_cache_is_measured_block_by_block(case, block_bytes):
    cache, detector = case
    found = measure_cache(cache, detector, neg_overlap=0.25, block_bytes=block_bytes)
    scores, targets = [], []
    for image in range(cache.num_images):
        regions = cache.regions(image)
        scores.append(detector.scores(regions.features))
        for row in range(len(regions)):
            marks = [1 if regions.label[row] == c + 1 else -1 if regions.overlap[row, c] < 0.25 else 0 for c in (2, 0)]
            targets.append(marks)
    expected = measure_scores(np.concatenate(scores), np.array(targets))
    np.testing.assert_array_equal(found.num_positives, [3, 2])
    np.testing.assert_array_equal(found.num_hard_negatives, expected.num_hard_negatives)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(found.hardest_share(HARDEST), expected.hardest_share(HARDEST), rtol=1e-4)


def test_more_examples_than_are_measured_at_once():
    cache = toy_cache([2 * imbalance.BLOCK_EXAMPLES, 10], dim=2)
    detector = Detector(cache.classes, np.array([[1, -1, 0.5], [0, 2, 0.5]]), np.full(3, -1), 2.5)
    arrays = arrays_of(cache)
    scores, targets = detector.scores(arrays["features"]), one_vs_rest_targets(arrays["label"], arrays["overlap"], 0.25)
    found, expected = measure_cache(cache, detector, neg_overlap=0.25), measure_scores(scores, targets)
    np.testing.assert_array_equal(found.num_positives, expected.num_positives)
    np.testing.assert_array_equal(found.num_hard_negatives, expected.num_hard_negatives)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(found.hardest_share(HARDEST), expected.hardest_share(HARDEST), rtol=1e-4)


def test_what_cannot_be_measured_is_told(case):
    cache, detector = case
    with pytest.raises(InputError, match=r"class .bird. is not in"):
        measure_cache(cache, Detector(("bird",), detector.W[:, :1], detector.B[:1], 2.5))
    with pytest.raises(InputError, match="not a finite number"):
        measure_cache(cache, Detector(("cat",), detector.W[:, :1] * np.nan, detector.B[:1], 2.5))
    empty = toy_cache([0], dim=6)
    with pytest.raises(InputError, match="has no regions"):
        measure_cache(empty, detector)
    without = toy_cache([3], objects=0, dim=6)
    with pytest.raises(InputError, match="has no example of the detector's classes"):
        measure_cache(without, detector, neg_overlap=0.0)
