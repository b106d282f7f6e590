"""OHEM against brute force and against two networks with the weights copied from one to the other."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.detection.roi_heads import fastrcnn_loss

from rcnn_svm.errors import InputError
from rcnn_svm.mining.multi_task_loss import fast_rcnn_loss_per_roi
from rcnn_svm.mining.ohem import OnlineHardExampleMiner, select_hard_rois
from rcnn_svm.mining.read_only import READ_ONLY_MODES
from rcnn_svm.mining.sampling import RoIs, sampled_loss

NUM_CLASSES = 3


def random_boxes(rng, count):
    """Return boxes of whole pixels, few enough distinct ones that many overlap or coincide."""
    corner = rng.integers(0, 12, (count, 2))
    return np.hstack([corner, corner + rng.integers(4, 16, (count, 2))]).astype(np.float32)


def literal_selection(loss, boxes, batch_size, threshold, labels):
    """Take the hardest RoI left, the first among equals; drop what it overlaps too much; repeat."""

    def iou(a, b):
        width = min(boxes[a][2], boxes[b][2]) - max(boxes[a][0], boxes[b][0])
        height = min(boxes[a][3], boxes[b][3]) - max(boxes[a][1], boxes[b][1])
        inter = max(width, 0) * max(height, 0)
        area = [(boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1]) for i in (a, b)]
        return inter / (sum(area) - inter)

    left = sorted(range(len(loss)), key=lambda row: (-loss[row], row))
    taken = []
    while left and len(taken) < batch_size:
        best = left.pop(0)
        taken.append(best)
        left = [row for row in left if labels[row] != labels[best] or iou(row, best) <= threshold]
    return taken


def test_three_rois_by_hand():
    """The second repeats the first, whose loss is higher: IoU 9/10."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]])
    assert select_hard_rois(torch.tensor([3.0, 2.0, 1.0]), boxes, 2).tolist() == [0, 2]
    assert select_hard_rois(torch.tensor([3.0, 2.0, 1.0]), boxes, 2, 1.0).tolist() == [0, 1]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 40),
    batch_size=st.integers(1, 30),
    threshold=st.sampled_from([0.299, 0.701, 1.0]),  # no IoU of such boxes, whatever the rounding
    by_label=st.booleans(),
)
def test_selection_equals_brute_force(seed, count, batch_size, threshold, by_label):
    rng = np.random.default_rng(seed)
    boxes, loss = random_boxes(rng, count), rng.integers(0, 9, count).astype(np.float32)
    labels = rng.integers(0, 3, count)
    rows = select_hard_rois(
        torch.tensor(loss),
        torch.tensor(boxes),
        batch_size,
        threshold,
        torch.tensor(labels) if by_label else None,
    )
    expected = literal_selection(loss, boxes, batch_size, threshold, labels if by_label else np.zeros(count))
    assert rows.tolist() == expected


def test_nan_loss_is_the_hardest():
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9], [60, 0, 69, 9]])
    loss = torch.tensor([1.0, torch.nan, 3.0, torch.inf])
    assert select_hard_rois(loss, boxes, 3).tolist() == [1, 3, 2]
    assert select_hard_rois(loss, boxes, 3, labels=torch.tensor([0, 1, 0, 1])).tolist() == [1, 3, 2]


def test_labels_decide_what_suppresses_what():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8]])
    loss = torch.tensor([3.0, 2.0, 1.0])
    assert select_hard_rois(loss, boxes).tolist() == [0]
    assert select_hard_rois(loss, boxes, labels=torch.tensor([1, 0, 1])).tolist() == [0, 1]


def test_loss_per_roi_averages_to_torchvisions():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, NUM_CLASSES + 1, generator=generator)
    regression = torch.randn(50, 4 * (NUM_CLASSES + 1), generator=generator)
    labels = torch.randint(0, NUM_CLASSES + 1, (50,), generator=generator)
    targets = torch.randn(50, 4, generator=generator)
    parts = fast_rcnn_loss_per_roi(logits, regression, labels, targets, beta=1 / 9)
    expected = fastrcnn_loss(logits, regression, [labels], [targets])
    torch.testing.assert_close(parts.mean(0), torch.stack(expected))
    targets[labels == 0] = torch.nan  # not used
    regression.requires_grad_()
    again = fast_rcnn_loss_per_roi(logits, regression, labels, targets, beta=1 / 9)
    assert torch.equal(again, parts)
    again.sum().backward()
    assert regression.grad.isfinite().all()


class Head(nn.Module):
    """A RoI network: two layers, and predictions of class and box."""

    def __init__(self, *, norm=False, dropout=0.0):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(12, 16), nn.BatchNorm1d(16) if norm else nn.Identity(), nn.ReLU(), nn.Dropout(dropout)
        )
        self.cls_score = nn.Linear(16, NUM_CLASSES + 1)
        self.bbox_pred = nn.Linear(16, 4 * (NUM_CLASSES + 1))

    def forward(self, x):
        x = self.body(x)
        return self.cls_score(x), self.bbox_pred(x)


class Minibatch:
    """RoIs of two images with features and targets."""

    def __init__(self, seed=0, sizes=(90, 60)):
        rng = np.random.default_rng(seed)
        self.boxes = [torch.tensor(5 * random_boxes(rng, n)) for n in sizes]
        self.labels = [torch.tensor(rng.integers(0, NUM_CLASSES + 1, n)) for n in sizes]
        self.targets = [torch.tensor(rng.normal(size=(n, 4)), dtype=torch.float32) for n in sizes]
        self.features = [torch.tensor(rng.normal(size=(n, 12)), dtype=torch.float32) for n in sizes]

    def loss(self, head, rows):
        """Return both parts of the loss of some RoIs."""
        features, labels, targets = (
            torch.cat([value[row] for value, row in zip(values, rows, strict=True)])
            for values in (self.features, self.labels, self.targets)
        )
        return fast_rcnn_loss_per_roi(*head(features), labels, targets)


def images_of(labels, boxes):
    return [RoIs(one, other) for one, other in zip(labels, boxes, strict=True)]


def mine(miner, head, rois):
    return sampled_loss(miner, head, lambda rows: rois.loss(head, rows), images_of(rois.labels, rois.boxes))


@pytest.mark.parametrize("mode", READ_ONLY_MODES)
def test_selected_rois_and_no_others_get_gradient(mode):
    torch.manual_seed(0)
    rois, head = Minibatch(), Head(dropout=0.2).train()
    for features in rois.features:
        features.requires_grad_()
    loss, hard = mine(OnlineHardExampleMiner(batch_size=20, read_only_mode=mode), head, rois)
    loss.sum().backward()
    for features, rows in zip(rois.features, hard.rows, strict=True):
        assert len(rows) == 10
        assert set(features.grad.abs().sum(1).nonzero()[:, 0].tolist()) == set(rows.tolist())


@pytest.mark.parametrize("within", ["image", "label"])
def test_selection_is_that_of_the_read_only_losses(within):
    rois, head = Minibatch(), Head()
    loss, hard = mine(OnlineHardExampleMiner(batch_size=40, nms_within=within), head, rois)
    with torch.no_grad():
        everything = [torch.arange(len(boxes)) for boxes in rois.boxes]
        expected = rois.loss(head, everything).sum(1).split([90, 60])
    for image, rows in enumerate(hard.rows):
        torch.testing.assert_close(hard.loss[image], expected[image])
        labels = rois.labels[image] if within == "label" else torch.zeros(len(expected[image]))
        given_boxes = rois.boxes[image].numpy()
        assert rows.tolist() == literal_selection(hard.loss[image].numpy(), given_boxes, 20, 0.7, labels.numpy())
        assert torch.equal(hard.labels[image], rois.labels[image][rows])
    torch.testing.assert_close(loss, rois.loss(head, hard.rows).mean(0))


@pytest.mark.parametrize("within", ["image", "label"])
@pytest.mark.parametrize("norm", [False, True])
def test_training_equals_that_with_two_networks(norm, within):
    torch.manual_seed(0)
    head = Head(norm=norm, dropout=0.4).train()
    other = copy.deepcopy(head)
    miner = OnlineHardExampleMiner(batch_size=32, nms_within=within)
    ours = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    theirs = torch.optim.SGD(other.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for step in range(5):
        rois = Minibatch(step)
        torch.manual_seed(step)
        loss, hard = mine(miner, head, rois)
        ours.zero_grad()
        loss.sum().backward()
        ours.step()

        torch.manual_seed(step)
        with torch.no_grad():
            losses = rois.loss(copy.deepcopy(other), [torch.arange(90), torch.arange(60)]).sum(1)
        rows = []
        for image, of_image in enumerate(losses.split([90, 60])):
            labels = rois.labels[image].numpy() if within == "label" else np.zeros(len(of_image))
            boxes = rois.boxes[image].numpy()
            rows.append(torch.tensor(literal_selection(of_image.numpy(), boxes, 16, 0.7, labels)))
        theirs.zero_grad()
        rois.loss(other, rows).mean(0).sum().backward()
        theirs.step()
        assert [row.tolist() for row in hard.rows] == [row.tolist() for row in rows]
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in head.state_dict().items())


def apart(count):
    """Return boxes that do not overlap."""
    corner = 20.0 * torch.arange(count)[:, None].expand(count, 2)
    return torch.cat([corner, corner + 10], dim=1)


def test_defaults_are_those_of_the_paper():
    loss = torch.arange(100.0)
    assert select_hard_rois(loss, apart(100)).tolist() == list(range(99, 35, -1))
    # IoU 0.71, 0.69 and 0.21 with the first.
    boxes = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 71], [0, 0, 100, 69], [0, 65, 100, 165]])
    everything = [boxes, apart(100)]
    labels = [torch.arange(len(one)) for one in everything]  # all different, which would suppress nothing
    losses = torch.cat([torch.tensor([9.0, 8, 7, 6]), loss])
    starts = [0, 4]

    def loss_per_roi(rows):
        return losses[torch.cat([row + start for row, start in zip(rows, starts, strict=True)])]

    mean, hard = sampled_loss(OnlineHardExampleMiner(), nn.Identity(), loss_per_roi, images_of(labels, everything))
    assert [row.tolist() for row in hard.rows] == [[0, 2, 3], list(range(99, 35, -1))]
    # Few RoIs are not made up for by other images, and the mean is over those that there are.
    assert float(mean) == pytest.approx((9 + 7 + 6 + sum(range(36, 100))) / 67)


def read_only_and_trained_loss(mode):
    """Return the loss of the RoIs taken, in the first pass and in the second."""
    torch.manual_seed(0)
    rois, head = Minibatch(), Head(dropout=0.5).train()
    loss, hard = mine(OnlineHardExampleMiner(batch_size=24, read_only_mode=mode), head, rois)
    return torch.cat([of_image[rows] for of_image, rows in zip(hard.loss, hard.rows, strict=True)]).mean(), loss.sum()


def test_same_dropout_trains_with_the_loss_that_chose():
    torch.testing.assert_close(*read_only_and_trained_loss("same_dropout"))
    for mode in ("train", "eval"):
        first, second = read_only_and_trained_loss(mode)
        assert abs(first - second) > 0.05


def test_eval_mode_ranks_without_dropout():
    torch.manual_seed(0)
    rois, head = Minibatch(), Head(norm=True, dropout=0.5).train()
    for _ in range(3):  # statistics other than the initial ones
        head(torch.cat(rois.features) + 1)
    before = copy.deepcopy(head).eval()
    _, hard = mine(OnlineHardExampleMiner(read_only_mode="eval"), head, rois)
    assert head.training
    expected = rois.loss(before, [torch.arange(90), torch.arange(60)]).sum(1)
    torch.testing.assert_close(torch.cat(hard.loss), expected.detach())


def test_loss_of_one_part_is_a_number():
    rois, head = Minibatch(), Head()
    miner, images = OnlineHardExampleMiner(), images_of(rois.labels, rois.boxes)
    loss, hard = sampled_loss(miner, head, lambda rows: rois.loss(head, rows).sum(1), images)
    parts, same = mine(miner, head, rois)
    torch.testing.assert_close(loss, parts.sum())
    assert [rows.tolist() for rows in hard.rows] == [rows.tolist() for rows in same.rows]


def test_images_without_rois_give_a_zero_with_gradient():
    rois, head = Minibatch(sizes=(0, 0)), Head()
    loss, hard = mine(OnlineHardExampleMiner(), head, rois)
    loss.sum().backward()
    assert loss.tolist() == [0, 0]
    assert [len(rows) for rows in hard.rows] == [0, 0]
    assert not head.cls_score.weight.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 127}, "multiple of num_images"),
        ({"batch_size": 0}, "at least 1"),
        ({"num_images": 0}, "num_images = 0 must be a whole number of at least 1"),
        ({"nms_threshold": 70}, "between 0 and 1, an IoU"),
        ({"nms_within": "class"}, "image, label"),
        ({"read_only_mode": "off"}, "train, same_dropout, eval"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(InputError, match=message):
        OnlineHardExampleMiner(**options)


def test_bad_input():
    rois, head = Minibatch(), Head()
    miner, images = OnlineHardExampleMiner(), images_of(rois.labels, rois.boxes)
    with pytest.raises(InputError, match="no mean over the RoIs"):
        sampled_loss(miner, head, lambda rows: rois.loss(head, rows).mean(), images)
    with pytest.raises(InputError, match=r"\(3,\), boxes \(4, 4\)"):
        miner.select(RoIs(boxes=torch.zeros(4, 4)), torch.zeros(3))
    with pytest.raises(InputError, match="at least one image"):
        sampled_loss(miner, head, lambda rows: rois.loss(head, rows), [])
    with pytest.raises(InputError, match=r"boxes \(4, 4\)"):
        select_hard_rois(torch.zeros(3), torch.zeros(4, 4))
