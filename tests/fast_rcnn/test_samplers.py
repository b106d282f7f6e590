"""Samplers in a training step: which RoIs get gradient, and how much."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.network import MinibatchLoss, RoIPredictor
from rcnn_svm.fast_rcnn.samplers import SAMPLERS, make_sampler
from rcnn_svm.fast_rcnn.targets import region_targets
from rcnn_svm.mining.ohem import select_hard_rois
from rcnn_svm.mining.sampling import RoIs

K = 3


@pytest.fixture
def network():
    network = RoIPredictor(8, K, hidden=6)
    with torch.no_grad():
        network.classes.weight.mul_(50)
        network.boxes.weight.mul_(300)
    return network


@pytest.fixture
def batch(telling):
    """Features that require gradients, and targets, of two images."""
    regions = [telling.regions(i) for i in (0, 3)]
    features = [torch.tensor(region.features, requires_grad=True) for region in regions]
    return features, [region_targets(region) for region in regions]


def losses_of_rois(network, features, image):
    """Return the loss of every RoI of an image, (R,), written out."""
    with torch.no_grad():
        logits, boxes = network(features)
        found = []
        for row, (overlap, cls) in enumerate(zip(image.max_overlaps, image.max_classes, strict=True)):
            label = int(cls) if overlap >= 0.5 else 0
            loss = torch.logsumexp(logits[row], 0) - logits[row, label]
            if label:
                error = (boxes[row, 4 * label : 4 * label + 4] - image.regression_targets[row]).abs()
                loss = loss + torch.where(error < 1, 0.5 * error**2, error - 0.5).sum()
            found.append(loss)
    return torch.stack(found)


def rows_with_gradient(features):
    return [np.flatnonzero(one.grad.abs().sum(1).numpy()).tolist() for one in features]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("heuristic", [0, 1, 2, 3]),  # one of four foreground, and all background of an IoU of 0.1 or more
        ("ohem", [2, 3, 4, 5]),  # the four highest losses, foreground or not
        ("ratio", [0, 3, 4, 5]),  # the foreground, and the three hardest negatives
        ("all", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_four_of_six_rois_by_hand(name, rows):
    boxes = 100.0 * torch.arange(6)[:, None] + torch.tensor([0, 0, 9, 9])
    overlaps = torch.tensor([1, 0.4, 0.3, 0.2, 0.05, 0])
    rois = RoIs(torch.tensor([1, 0, 0, 0, 0, 0]), boxes, overlaps, torch.ones(6, dtype=torch.int64))
    assert make_sampler(name, 4).select(rois, torch.arange(6.0)).sort().values.tolist() == rows


def test_without_sampling_the_gradient_is_that_of_the_whole_batch(network, batch):
    features, images = batch
    losses = MinibatchLoss(network, make_sampler("all"))(features, images, seed=0)
    (losses[0] + losses[1]).backward()
    twin = copy.deepcopy(network)
    twin.zero_grad()
    count = sum(map(len, features))
    for one, image in zip(features, images, strict=True):
        logits, boxes = twin(one.detach())
        labels = torch.where(image.max_overlaps >= 0.5, image.max_classes, 0)
        (functional.cross_entropy(logits, labels, reduction="sum") / count).backward(retain_graph=True)
        own = boxes.view(-1, K + 1, 4)[torch.arange(len(labels)), labels][labels > 0]
        target = image.regression_targets[labels > 0]
        (functional.smooth_l1_loss(own, target, reduction="sum") / count).backward()
    for mine, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert other.grad.abs().max() > 0
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)
    mean = torch.cat([losses_of_rois(network, f.detach(), i) for f, i in zip(features, images, strict=True)]).mean()
    assert float((losses[0] + losses[1]).detach()) == pytest.approx(float(mean), rel=1e-5)
    assert losses[2] == count


def test_ohem_trains_on_the_hardest_of_each_image(network, batch):
    features, images = batch
    losses = MinibatchLoss(network, make_sampler("ohem", rois_per_image=7))(features, images, seed=0)
    (losses[0] + losses[1]).backward()
    expected, taken = [], []
    for one, image in zip(features, images, strict=True):
        loss = losses_of_rois(network, one.detach(), image)
        rows = select_hard_rois(loss, image.boxes, 7)
        expected.append(sorted(rows.tolist()))
        taken.append(loss[rows])
    assert rows_with_gradient(features) == expected
    assert float((losses[0] + losses[1]).detach()) == pytest.approx(float(torch.cat(taken).mean()), rel=1e-5)


def test_ratio_trains_on_objects_and_three_times_as_many_others(network, batch):
    features, images = batch
    # Few objects, so that there are more others than three times as many.
    few = [torch.where(torch.arange(len(image.boxes)) < 6, image.max_overlaps, 0.2) for image in images]
    images = [dataclasses.replace(image, max_overlaps=overlaps) for image, overlaps in zip(images, few, strict=True)]
    losses = MinibatchLoss(network, make_sampler("ratio"))(features, images, seed=0)
    (losses[0] + losses[1]).backward()
    expected = []
    for one, image in zip(features, images, strict=True):
        foreground = (image.max_overlaps >= 0.5).numpy()
        loss = losses_of_rois(network, one.detach(), image).numpy()
        background = np.flatnonzero(~foreground)
        assert 0 < 3 * foreground.sum() < len(background)
        hardest = background[np.argsort(-loss[background], kind="stable")[: 3 * foreground.sum()]]
        expected.append(sorted([*np.flatnonzero(foreground), *hardest]))
    assert rows_with_gradient(features) == expected


@pytest.mark.parametrize(("name", "lowest"), [("random", 0.0), ("heuristic", 0.1)])
def test_drawn_rois_depend_on_the_seed_alone(network, batch, name, lowest):
    features, images = batch
    loss = MinibatchLoss(network, make_sampler(name, rois_per_image=8))
    drawn = []
    for seed in (0, 0, 1):
        for one in features:
            one.grad = None
        losses = loss(features, images, seed=seed)
        (losses[0] + losses[1]).backward()
        drawn.append(rows_with_gradient(features))
        assert losses[2] <= 16 and losses[3] == 4
        for rows, image in zip(drawn[-1], images, strict=True):
            overlaps = image.max_overlaps[rows]
            assert ((overlaps >= 0.5).sum() == 2) and (overlaps >= lowest).all()
    assert drawn[0] == drawn[1] != drawn[2]
    overlaps = torch.cat([image.max_overlaps[rows] for rows, image in zip(drawn[0], images, strict=True)])
    assert ((overlaps < 0.1).sum() > 0) == (lowest == 0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_image_without_objects_gives_a_finite_loss(network, telling, name):
    regions = telling.regions(telling.num_images - 1)
    losses = MinibatchLoss(network, make_sampler(name))(
        [torch.from_numpy(regions.features)], [region_targets(regions)], seed=0
    )
    (losses[0] + losses[1]).backward()
    assert torch.isfinite(losses).all() and losses[1] == 0 and losses[3] == 0


def test_names_and_numbers_out_of_range():
    with pytest.raises(InputError, match="sampler 'best' is unknown; choose one of random, heuristic"):
        make_sampler("best")
    for name in ("random", "heuristic", "ohem"):
        with pytest.raises(InputError, match="0 must be"):
            make_sampler(name, 0)
