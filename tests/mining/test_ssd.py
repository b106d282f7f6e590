"""SSD's hard negatives against a loop over images, and against torchvision's SSD."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.ssd import SSD

from rcnn_svm.errors import InputError
from rcnn_svm.mining.sampling import BACKGROUND, IGNORED, RoIs
from rcnn_svm.mining.ssd import HardNegativeRatio, HardNegativeRatioLoss, select_hard_negatives


def random_labels(rng, num_images, num_anchors, positives):
    """Return labels with some classes and ignored anchors, the first image without positives."""
    labels = np.zeros((num_images, num_anchors), np.int64)
    labels[rng.random(labels.shape) < 0.1] = IGNORED
    chosen = rng.random(labels.shape) < positives
    labels[chosen] = rng.integers(1, 4, chosen.sum())
    labels[0] = np.minimum(labels[0], BACKGROUND)
    return labels


def test_two_negatives_for_one_positive_by_hand():
    labels = torch.tensor([[4, BACKGROUND, BACKGROUND, BACKGROUND, IGNORED]])
    loss = torch.tensor([[9.0, 1.0, 3.0, 2.0, 9.0]])
    assert select_hard_negatives(loss, labels, ratio=2).tolist() == [[False, False, True, True, False]]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    ratio=st.sampled_from([0, 0.5, 1, 3]),
    positives=st.sampled_from([0.02, 0.2, 0.6]),
    min_negatives=st.integers(0, 3),
)
def test_equals_sorting_image_by_image(seed, ratio, positives, min_negatives):
    rng = np.random.default_rng(seed)
    labels = random_labels(rng, 4, 30, positives)
    loss = rng.integers(0, 12, labels.shape).astype(np.float32)  # many ties
    expected = np.zeros(labels.shape, bool)
    for image in range(4):
        quota = max(int(ratio * (labels[image] > 0).sum()), min_negatives)
        negatives = [a for a in range(30) if labels[image, a] == BACKGROUND]
        expected[image, sorted(negatives, key=lambda a: (-loss[image, a], a))[:quota]] = True
    mask = select_hard_negatives(
        torch.tensor(loss), torch.tensor(labels), ratio=ratio, min_negatives=min_negatives
    ).numpy()
    np.testing.assert_array_equal(mask, expected)


def test_the_sampler_takes_positives_and_the_hard_negatives_of_an_image():
    labels = torch.tensor([0, 2, 0, IGNORED, 0, 0, 0])
    loss = torch.tensor([0.3, 0.0, 0.9, 9.0, 0.1, 0.5, 0.4])
    assert HardNegativeRatio().select(RoIs(labels), loss).tolist() == [1, 2, 5, 6]
    assert HardNegativeRatio(ratio=1).select(RoIs(labels), loss).tolist() == [1, 2]
    # Of a loss of parts the first one decides.
    parts = torch.stack([loss, torch.arange(7.0)], dim=1)
    assert HardNegativeRatio().select(RoIs(labels), parts).tolist() == [1, 2, 5, 6]
    background = RoIs(torch.zeros(7, dtype=torch.int64))
    assert HardNegativeRatio().select(background, loss).tolist() == []
    assert HardNegativeRatio(min_negatives=2).select(background, loss).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("positives", "ratio", "negatives"),
    [
        (30, 2.1, 63),  # 62 in single precision
        (100, 0.29, 29),  # 28 in double precision
        (3, 1 / 3, 1),
        (30, np.float32(2.1), 63),
        (30, 2.09, 62),
        (1, 1e30, 120),  # all there are, not none
        (1, 1e308, 120),
        (0, 1e30, 0),
        (5, 1e-300, 0),
    ],
)
def test_the_quota_is_the_ratio_as_it_is_written(positives, ratio, negatives):
    labels = torch.tensor([[1] * positives + [BACKGROUND] * 120])
    loss = torch.rand(labels.shape)
    assert select_hard_negatives(loss, labels, ratio=ratio).sum() == negatives
    assert select_hard_negatives(loss, labels, ratio=0, min_negatives=10**30).sum() == 120


def test_images_without_positives_have_no_negatives():
    labels = torch.zeros(2, 10, dtype=torch.int64)
    labels[1, 0] = 1
    loss = torch.rand(2, 10)
    assert select_hard_negatives(loss, labels).sum(1).tolist() == [0, 3]
    assert select_hard_negatives(loss, labels, min_negatives=5).sum(1).tolist() == [5, 5]


def test_nan_and_infinite_losses_are_the_highest():
    labels = torch.tensor([[1, 0, 0, 0, 0, IGNORED]])
    loss = torch.tensor([[9.0, 1.0, torch.nan, torch.inf, 2.0, 9.0]])
    assert select_hard_negatives(loss, labels, ratio=2)[0].tolist() == [False, False, True, True, False, False]


def torchvision_loss(logits, labels):
    """Return the classification loss of torchvision's SSD."""
    num_images, num_anchors = labels.shape
    targets = [{"boxes": torch.rand(num_anchors, 4).cumsum(1), "labels": image} for image in labels]
    # Anchor a is matched to object a, whose label it takes.
    matched = torch.where(labels > 0, torch.arange(num_anchors), -1)
    anchors = torch.rand(num_images, num_anchors, 4).cumsum(2)
    outputs = {"cls_logits": logits, "bbox_regression": torch.rand(num_images, num_anchors, 4)}
    model = SimpleNamespace(box_coder=BoxCoder((10.0, 10.0, 5.0, 5.0)), neg_to_pos_ratio=3)
    return SSD.compute_loss(model, targets, outputs, list(anchors), matched)["classification"]


@pytest.mark.parametrize("seed", range(4))
def test_equals_torchvision_with_gradient(seed):
    rng = np.random.default_rng(seed)
    labels = torch.tensor(random_labels(rng, 3, 200, 0.05)).clamp(min=BACKGROUND)
    ours = torch.tensor(rng.normal(size=(3, 200, 4)), dtype=torch.float32, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    loss, _ = HardNegativeRatioLoss()(ours, labels)
    expected = torchvision_loss(theirs, labels)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_gradient_reaches_positives_and_hard_negatives_only():
    rng = np.random.default_rng(0)
    labels = torch.tensor(random_labels(rng, 3, 100, 0.05))
    logits = torch.tensor(rng.normal(size=(3, 100, 4)), requires_grad=True)
    loss, hard = HardNegativeRatioLoss(ratio=2)(logits, labels)
    loss.backward()
    assert torch.equal(logits.grad.abs().sum(2) > 0, hard | (labels > 0))
    assert int(hard.sum()) == 2 * int((labels > 0).sum())


def test_where_negatives_are_short_no_positive_counts_twice():
    labels = torch.tensor([[1, 2, 3, 0]])
    logits = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))
    loss, hard = HardNegativeRatioLoss()(logits, labels)
    expected = torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="sum") / 3
    torch.testing.assert_close(loss, expected)
    assert hard[0].tolist() == [False, False, False, True]
    assert torchvision_loss(logits, labels) > 1.1 * expected  # the difference that the docstring tells


def test_nothing_to_learn_is_a_zero_with_gradient():
    logits = torch.randn(2, 5, 3, requires_grad=True)
    loss, hard = HardNegativeRatioLoss()(logits, torch.zeros(2, 5, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    assert not hard.any()
    assert not logits.grad.any()


def test_bad_input():
    with pytest.raises(InputError, match=r"\(2, 3\) and labels \(2, 4\)"):
        select_hard_negatives(torch.zeros(2, 3), torch.zeros(2, 4))
    for wrong in ({"ratio": -1}, {"ratio": float("inf")}, {"ratio": float("nan")}, {"min_negatives": -1}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} = .* must be a (whole )?number of at least 0"):
            HardNegativeRatioLoss(**wrong)
        with pytest.raises(InputError, match=next(iter(wrong))):
            HardNegativeRatio(**wrong)
    with pytest.raises(InputError, match="anchors, classes"):
        HardNegativeRatioLoss()(torch.zeros(2, 3), torch.zeros(2, 3))
