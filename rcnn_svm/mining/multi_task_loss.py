"""The multi-task loss of Fast R-CNN, by which OHEM ranks RoIs: of the class and of the box, RoI by RoI."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rcnn_svm import paper
from rcnn_svm.mining.sampling import BACKGROUND


def fast_rcnn_loss_per_roi(
    class_logits: Tensor,
    box_regression: Tensor,
    labels: Tensor,
    regression_targets: Tensor,
    *,
    beta: float = paper.SMOOTH_L1_BETA,
) -> Tensor:
    """Return the two parts of Fast R-CNN's loss for every RoI.

    Args:
        class_logits: (R, K + 1) float, scores of background and K classes before the softmax.
        box_regression: (R, 4 (K + 1)) float, the predicted targets of every class.
        labels: (R,) int64, a class from 1 or `BACKGROUND`.
        regression_targets: (R, 4) float; those of background are not used.
        beta: where the smooth L1 loss turns from a square into a line; torchvision's detectors take 1 / 9.

    Returns:
        (R, 2) float: cross entropy; smooth L1 loss, summed over the four targets, 0 for background. Its mean over
        the RoIs is the loss of a mini-batch.

    Source: Fast R-CNN section 2.3, equation 1, lambda = 1.
    """
    classification = nn.functional.cross_entropy(class_logits, labels, reduction="none")
    # By index, not by a product or `where`: the unused targets may be anything, and a NaN would enter the gradient.
    foreground = (labels > BACKGROUND).nonzero()[:, 0]
    own = box_regression.unflatten(1, (-1, 4))[foreground, labels[foreground]]  # (F, 4)
    smooth_l1 = nn.functional.smooth_l1_loss(own, regression_targets[foreground], beta=beta, reduction="none").sum(1)
    box = smooth_l1.new_zeros(len(labels)).index_put((foreground,), smooth_l1)
    return torch.stack([classification, box], dim=1)
