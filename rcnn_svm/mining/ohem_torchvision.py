"""Online hard example mining in torchvision's Faster R-CNN, whose own sampler does not see the loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads

from rcnn_svm.errors import InputError
from rcnn_svm.mining.multi_task_loss import fast_rcnn_loss_per_roi
from rcnn_svm.mining.ohem import OnlineHardExampleMiner
from rcnn_svm.mining.sampling import BACKGROUND, RoIs, Selection, check_sampler, sampled_loss

TORCHVISION_BETA = 1 / 9  # of the smooth L1 loss in torchvision's `fastrcnn_loss`


def add_ohem(model: GeneralizedRCNN, miner: OnlineHardExampleMiner) -> GeneralizedRCNN:
    """Make a torchvision detector train on hard RoIs.

    Parameters stay the same objects under the same names: optimisers made before and checkpoints remain valid.
    `model.roi_heads.selection` is what the last training step took.

    Args:
        model: `fasterrcnn_resnet50_fpn` or another of its kind; changed in place.
        miner: chooses the RoIs of every training step.

    Returns:
        The model.

    Raises:
        InputError: the model has no RoI heads of torchvision, or heads for masks or keypoints; or there is no miner.
    """
    if not hasattr(model, "roi_heads"):
        raise InputError(
            f"{type(model).__name__} has no RoI heads, expected a Faster R-CNN of torchvision; use "
            "OnlineHardExampleMiner in the training loop of another detector"
        )
    model.roi_heads = OHEMRoIHeads(model.roi_heads, miner)
    return model


class OHEMRoIHeads(RoIHeads):
    """torchvision's RoI heads, trained on the RoIs of highest loss among all proposals.

    In training all proposals and the objects' own boxes go through the read-only pass. Which of them are foreground
    is as configured in torchvision, by default IoU 0.5 and more, all others background: no lower bound, no fraction
    of foreground. Inference is torchvision's.

    Args:
        roi_heads: the heads to take over; submodules are shared, not copied.
        miner: chooses the RoIs.

    Attributes:
        selection: what the last training step took, None before the first.

    Raises:
        InputError: no miner; heads of another class, or with a mask or keypoint branch. Those would train on the
            foreground among the hard RoIs, whose number varies and may be zero; the paper says nothing about them.

    Source: Shrivastava et al. 2016, section 4.2. Ours: proposals of a region proposal network, smooth L1 loss and
    target scales of torchvision.
    """

    def __init__(self, roi_heads: RoIHeads, miner: OnlineHardExampleMiner):
        check_sampler(miner)
        if type(roi_heads) is not RoIHeads:
            raise InputError(
                f"roi_heads is {type(roi_heads).__name__}, expected torchvision's RoIHeads, as in "
                "fasterrcnn_resnet50_fpn; use OnlineHardExampleMiner in the training loop of another detector"
            )
        if roi_heads.has_mask() or roi_heads.has_keypoint():
            raise InputError(
                "roi_heads has a mask or keypoint branch, for which OHEM is not defined; use a Faster R-CNN"
            )
        super().__init__(
            roi_heads.box_roi_pool,
            roi_heads.box_head,
            roi_heads.box_predictor,
            fg_iou_thresh=roi_heads.proposal_matcher.high_threshold,
            bg_iou_thresh=roi_heads.proposal_matcher.low_threshold,
            batch_size_per_image=roi_heads.fg_bg_sampler.batch_size_per_image,
            positive_fraction=roi_heads.fg_bg_sampler.positive_fraction,
            bbox_reg_weights=roi_heads.box_coder.weights,
            score_thresh=roi_heads.score_thresh,
            nms_thresh=roi_heads.nms_thresh,
            detections_per_img=roi_heads.detections_per_img,
        )
        self.miner = miner
        self.selection: Selection | None = None
        self.training = roi_heads.training

    def subsample(self, labels: list[Tensor]) -> list[Tensor]:
        """Return all RoIs that are foreground or background, in place of a random draw."""
        return [(label >= BACKGROUND).nonzero()[:, 0] for label in labels]

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections, or in training mode the losses of the hard RoIs.

        Args:
            features: maps of the backbone, (N, C, H, W) float.
            proposals: per image (R, 4) float, x1 y1 x2 y2, pixels of the network's input.
            image_shapes: (height, width) of every image, pixels.
            targets: per image `boxes` (M, 4) float and `labels` (M,) int64; in training mode.

        Returns:
            Per image `boxes`, `labels` and `scores`, none in training mode; `loss_classifier` and `loss_box_reg`,
            () float, only in training mode.
        """
        if not self.training:
            return super().forward(features, proposals, image_shapes, targets)
        rois, _, labels, regression_targets = self.select_training_samples(proposals, targets)

        def loss_per_roi(rows: list[Tensor]) -> Tensor:
            pooled = self.box_roi_pool(features, _take(rois, rows), image_shapes)  # (S, C, h, w)
            class_logits, box_regression = self.box_predictor(self.box_head(pooled))
            chosen = torch.cat(_take(labels, rows)), torch.cat(_take(regression_targets, rows))
            return fast_rcnn_loss_per_roi(class_logits, box_regression, *chosen, beta=TORCHVISION_BETA)

        images = [RoIs(labels=label, boxes=boxes) for label, boxes in zip(labels, rois, strict=True)]
        loss, self.selection = sampled_loss(self.miner, self, loss_per_roi, images)
        return [], {"loss_classifier": loss[0], "loss_box_reg": loss[1]}


def _take(values: list[Tensor], rows: list[Tensor]) -> list[Tensor]:
    """Return some rows of every image."""
    return [value[row] for value, row in zip(values, rows, strict=True)]
