"""OHEM in torchvision's Faster R-CNN: what it trains on, what it leaves as it was, and that it learns."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torchvision.models.detection import (
    FasterRCNN,
    fasterrcnn_mobilenet_v3_large_320_fpn,
    ssdlite320_mobilenet_v3_large,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign, box_iou

from rcnn_svm.errors import InputError
from rcnn_svm.mining.ohem import OnlineHardExampleMiner, select_hard_rois
from rcnn_svm.mining.ohem_torchvision import add_ohem
from tests.small_networks import one_thread


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def small_detector(**options):
    """Return a Faster R-CNN of three classes with one convolution as backbone."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 7, stride=8, padding=3), nn.ReLU())
    backbone.out_channels = 8
    return FasterRCNN(
        backbone,
        num_classes=4,
        min_size=64,
        max_size=64,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
        **options,
    )


def examples():
    """Return two images, the second without objects, and their targets."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, 64, 64, generator=generator) for _ in range(2)]
    boxes = torch.tensor([[4.0, 6, 30, 38], [25, 20, 60, 50]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([1, 3])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    return images, targets


class Inputs:
    """What the network gives its RoI heads, from a training step without them."""

    def __init__(self, model):
        images, self.targets = examples()
        batch, self.targets = model.transform(images, self.targets)
        self.features = {"0": model.backbone(batch.tensors).detach().requires_grad_()}
        with torch.no_grad():
            self.proposals = model.rpn(batch, self.features, self.targets)[0]
        self.image_sizes = batch.image_sizes

    def __call__(self, roi_heads):
        return roi_heads(self.features, [p.clone() for p in self.proposals], self.image_sizes, self.targets)


def test_the_two_hardest_of_three_rois_by_hand():
    """Background has the score log 3, the three classes have 0: probabilities of 1/2 and 1/6."""
    model = small_detector().train()
    predictor = model.roi_heads.box_predictor
    for layer in (predictor.cls_score, predictor.bbox_pred):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        predictor.cls_score.bias[0] = math.log(3)
    add_ohem(model, OnlineHardExampleMiner(batch_size=2, num_images=1))
    objects = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]])
    targets = [{"boxes": objects, "labels": torch.tensor([1, 3])}]
    proposals = [torch.tensor([[50.0, 50, 60, 60]])]
    _, losses = model.roi_heads({"0": torch.zeros(1, 8, 8, 8)}, proposals, [(64, 64)], targets)
    assert model.roi_heads.selection.labels[0].tolist() == [1, 3]
    assert losses["loss_classifier"].item() == pytest.approx(math.log(6))
    assert losses["loss_box_reg"].item() == 0, "the objects' own boxes need no correction"


@pytest.mark.parametrize("within", ["image", "label"])
def test_losses_are_torchvisions_over_the_hard_rois(within):
    model = small_detector().train()
    inputs = Inputs(model)
    heads = copy.deepcopy(model.roi_heads)
    add_ohem(model, OnlineHardExampleMiner(batch_size=24, nms_within=within))
    detections, losses = inputs(model.roi_heads)
    assert detections == []

    # All RoIs, by torchvision's own labelling: a sampler that has room for all of them.
    heads.fg_bg_sampler.batch_size_per_image, heads.fg_bg_sampler.positive_fraction = 10**6, 0.5
    rois, _, labels, targets = heads.select_training_samples([p.clone() for p in inputs.proposals], inputs.targets)
    sizes = [len(proposals) + len(t["boxes"]) for proposals, t in zip(inputs.proposals, inputs.targets, strict=True)]
    assert [len(r) for r in rois] == sizes

    def outputs(boxes):
        return heads.box_predictor(heads.box_head(heads.box_roi_pool(inputs.features, boxes, inputs.image_sizes)))

    logits, regression = outputs(rois)
    one_by_one = [
        sum(fastrcnn_loss(logits[i : i + 1], regression[i : i + 1], [label[None]], [target[None]]))
        for i, (label, target) in enumerate(zip(torch.cat(labels), torch.cat(targets), strict=True))
    ]
    rows = [
        select_hard_rois(loss, boxes, 12, labels=label if within == "label" else None)
        for loss, boxes, label in zip(torch.stack(one_by_one).split(sizes), rois, labels, strict=True)
    ]
    assert [r.tolist() for r in model.roi_heads.selection.rows] == [r.tolist() for r in rows]
    hard = [[value[row] for value, row in zip(values, rows, strict=True)] for values in (rois, labels, targets)]
    expected = fastrcnn_loss(*outputs(hard[0]), hard[1], hard[2])
    torch.testing.assert_close((losses["loss_classifier"], losses["loss_box_reg"]), expected)
    ours = torch.autograd.grad(sum(losses.values()), inputs.features["0"])
    torch.testing.assert_close(ours, torch.autograd.grad(sum(expected), inputs.features["0"]))


def test_rois_between_the_thresholds_take_no_part():
    model = small_detector(box_bg_iou_thresh=0.2).train()
    inputs = Inputs(model)
    add_ohem(model, OnlineHardExampleMiner(batch_size=2000, nms_threshold=1))
    inputs(model.roi_heads)
    overlaps = box_iou(inputs.proposals[0], inputs.targets[0]["boxes"]).max(1).values
    between = int(((overlaps >= 0.2) & (overlaps < 0.5)).sum())
    assert between > 0
    taken = [len(rows) for rows in model.roi_heads.selection.rows]
    assert taken == [len(inputs.proposals[0]) + 2 - between, len(inputs.proposals[1])]
    assert model.roi_heads.selection.labels[1].tolist() == [0] * taken[1]


def test_inference_parameters_and_mode_are_unchanged():
    model = small_detector(box_score_thresh=0.0, box_nms_thresh=0.4, box_detections_per_img=7).eval()
    images, _ = examples()
    expected, state, parameters = model(images), model.state_dict(), list(model.parameters())
    assert add_ohem(model, OnlineHardExampleMiner()) is model
    assert not model.roi_heads.training
    for found, before in zip(model(images), expected, strict=True):
        assert len(before["boxes"]) == 7
        torch.testing.assert_close(found, before, rtol=0, atol=0)
    assert list(model.state_dict()) == list(state)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))


def train(model, steps, lr):
    """Return the loss of the RoI heads in every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        parts = model(*examples())
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        losses.append((parts["loss_classifier"] + parts["loss_box_reg"]).item())
    return losses


def test_a_detector_learns():
    model = add_ohem(small_detector(rpn_post_nms_top_n_train=100), OnlineHardExampleMiner(batch_size=32)).train()
    losses = train(model, steps=30, lr=0.05)
    assert max(losses[-5:]) < 0.7 * losses[0], losses
    assert model.roi_heads.selection.labels[0].max() > 0


def test_a_detector_of_torchvision_trains():
    torch.manual_seed(0)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=96, max_size=96, rpn_post_nms_top_n_train=40
    )
    add_ohem(model, OnlineHardExampleMiner(batch_size=16)).train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    first, second = train(model, steps=2, lr=0.02)
    assert second < first
    assert [len(rows) for rows in model.roi_heads.selection.rows] == [8, 8]
    assert [len(loss) for loss in model.roi_heads.selection.loss] == [42, 40]
    still = [torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True)]
    assert not any(still)


def test_detectors_without_box_heads_of_their_own_kind_are_refused():
    miner = OnlineHardExampleMiner()
    with_masks = small_detector()
    with_masks.roi_heads.mask_roi_pool = MultiScaleRoIAlign(["0"], 6, 2)
    with_masks.roi_heads.mask_head, with_masks.roi_heads.mask_predictor = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1)
    with pytest.raises(InputError, match="mask or keypoint"):
        add_ohem(with_masks, miner)
    with pytest.raises(InputError, match="SSD has no RoI heads"):
        add_ohem(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2), miner)
    for no_miner, said in (
        (None, "is NoneType"),
        (OnlineHardExampleMiner, r"expected an object of it"),
        ({}, "is dict"),
    ):
        with pytest.raises(InputError, match=said):
            add_ohem(small_detector(), no_miner)
    with pytest.raises(InputError, match="OHEMRoIHeads"):
        add_ohem(add_ohem(small_detector(), miner), miner)
