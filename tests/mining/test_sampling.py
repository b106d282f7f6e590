"""The one call form of samplers, and a training step with any of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.mining.fast_rcnn import RoISampler
from rcnn_svm.mining.ohem import OnlineHardExampleMiner
from rcnn_svm.mining.sampling import AllRoIs, RoIs, sampled_loss
from rcnn_svm.mining.ssd import HardNegativeRatio

SAMPLERS = (
    RoISampler(rois_per_image=2, fg_fraction=0.5),
    OnlineHardExampleMiner(batch_size=2, num_images=1),
    HardNegativeRatio(ratio=1),
    AllRoIs(),
)
# Four RoIs apart from each other, one of them of class 2.
LABELS = torch.tensor([0, 2, 0, 0])
BOXES = 20.0 * torch.arange(4)[:, None] + torch.tensor([0.0, 0, 9, 9])
ROIS = RoIs(LABELS, BOXES, torch.tensor([0.2, 0.9, 0.3, 0.0]), torch.tensor([2, 2, 2, 2]))
LOSS = torch.tensor([3.0, 1.0, 4.0, 2.0])


def named(sampler):
    return type(sampler).__name__


def test_a_choice_of_four():
    expected = ([[1, 0], [1, 2]], [[2, 0]], [[1, 2]], [[0, 1, 2, 3]])
    for sampler, rows in zip(SAMPLERS, expected, strict=True):
        assert sampler.select(ROIS, LOSS, torch.Generator().manual_seed(0)).tolist() in rows, named(sampler)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=named)
def test_a_step_is_the_mean_over_what_is_taken(sampler):
    weight = torch.ones((), requires_grad=True)
    passes = []

    def loss_per_roi(rows):
        passes.append([taken.tolist() for taken in rows])
        losses = weight * torch.cat([LOSS[row] for row in rows])
        return torch.stack([losses, 10 * losses], dim=1)

    images = [ROIS, ROIS]
    loss, taken = sampled_loss(sampler, nn.Identity(), loss_per_roi, images, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    assert [row.tolist() for row in taken.rows] == [sampler.select(ROIS, LOSS, generator).tolist() for _ in images]
    expected = torch.cat([LOSS[row] for row in taken.rows]).mean()
    torch.testing.assert_close(loss.detach(), expected * torch.tensor([1.0, 10]))
    for row, labels, of_image in zip(taken.rows, taken.labels, taken.loss, strict=True):
        assert torch.equal(labels, LABELS[row])
        assert of_image is None if sampler.read_only_mode is None else torch.equal(of_image, 11 * LOSS)
    # All RoIs are looked at only for those who read the loss, and without gradient.
    everything = [[0, 1, 2, 3]] * 2
    assert passes == ([everything] if sampler.read_only_mode else []) + [[row.tolist() for row in taken.rows]]
    loss.sum().backward()
    torch.testing.assert_close(weight.grad, 11 * expected)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=named)
def test_an_image_without_rois_gives_nothing(sampler):
    none = torch.zeros(0, dtype=torch.int64)
    rois = RoIs(none, torch.zeros(0, 4), torch.zeros(0), none)
    loss, taken = sampled_loss(sampler, nn.Identity(), lambda rows: torch.zeros(sum(map(len, rows))), [rois])
    assert loss == 0 and len(taken.rows[0]) == 0


@pytest.mark.parametrize(
    ("sampler", "rois", "message"),
    [
        (RoISampler(), RoIs(LABELS), r"the max_overlaps of the RoIs; give RoIs\(max_overlaps=...\)"),
        (OnlineHardExampleMiner(), RoIs(LABELS), "the boxes of the RoIs"),
        (OnlineHardExampleMiner(nms_within="label"), RoIs(boxes=BOXES), "the labels of the RoIs"),
        (HardNegativeRatio(), RoIs(boxes=BOXES), "the labels of the RoIs"),
    ],
)
def test_what_a_sampler_reads_must_be_there(sampler, rois, message):
    with pytest.raises(InputError, match=message):
        sampler.select(rois, LOSS)


@pytest.mark.parametrize("sampler", [OnlineHardExampleMiner(), HardNegativeRatio()], ids=named)
def test_a_loss_that_is_read_must_be_there(sampler):
    with pytest.raises(InputError, match="reads the loss of every RoI; give it to `select`, or call `sampled_loss`"):
        sampler.select(ROIS)


def test_rois_have_one_of_each():
    assert len(RoIs(boxes=BOXES)) == 4 and RoIs(boxes=BOXES).all_rows().tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="the RoIs of an image have 4 labels, 3 boxes, expected one of each per RoI"):
        RoIs(LABELS, BOXES[:3])
    with pytest.raises(InputError, match="have no array"):
        RoIs()
