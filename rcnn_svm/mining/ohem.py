"""Online hard example mining: train on the RoIs of highest loss instead of drawing them at random."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import nms

from rcnn_svm import paper
from rcnn_svm.errors import InputError
from rcnn_svm.mining.read_only import READ_ONLY_MODES, ReadOnlyMode
from rcnn_svm.mining.sampling import RoIs, total_loss
from rcnn_svm.parameters import check_parameters, check_values, checks, one_of, real, whole

NMS_WITHIN = ("image", "label")

SELECTION = checks(
    batch_size=whole(at_least=1),
    nms_threshold=real(at_least=0, at_most=1, hint=", an IoU; 1 suppresses nothing"),
)


def select_hard_rois(
    loss: Tensor,
    boxes: Tensor,
    batch_size: int = paper.OHEM_BATCH_SIZE // paper.OHEM_NUM_IMAGES,
    nms_threshold: float = paper.OHEM_NMS_THRESHOLD,
    labels: Tensor | None = None,
) -> Tensor:
    """Return the RoIs of an image that have the highest loss, leaving out those that nearly repeat a harder one.

    Neighbouring RoIs have nearly the same loss, so non-maximum suppression with the loss as score comes first. Of
    equal losses the first row goes first. A loss that is NaN counts as the highest, so that a training that has
    diverged shows rather than go on with what is left.

    Args:
        loss: (R,) float.
        boxes: (R, 4) float, x1 y1 x2 y2, pixels. Widths are x2 - x1, as torchvision counts them, not the + 1 of
            inclusive pixels: at an IoU of 0.7 the two rarely differ, and these boxes often come from a network.
        batch_size: B / N, how many to return at most.
        nms_threshold: a RoI is left out when its IoU with a kept one is greater; 1 keeps all.
        labels: (R,) int; where given, a RoI is only left out for one of its own label.

    Returns:
        (S,) int64, the rows, hardest first; S <= batch_size, fewer where suppression leaves fewer.

    Raises:
        InputError: arrays of different lengths, a threshold that is no IoU, a batch size below 1.

    Source: Shrivastava et al. 2016, sections 4.1 and 4.2: suppression within the image, `labels` None. The released
    code suppresses within image and label: pass the labels.
    """
    check_values({"batch_size": batch_size, "nms_threshold": nms_threshold}, SELECTION)
    if loss.ndim != 1 or boxes.shape != (len(loss), 4) or (labels is not None and labels.shape != loss.shape):
        shapes = f"loss {tuple(loss.shape)}, boxes {tuple(boxes.shape)}"
        shapes += "" if labels is None else f", labels {tuple(labels.shape)}"
        raise InputError(f"the RoIs do not fit together: {shapes}; expected (R,), (R, 4) and (R,)")
    loss = loss.detach().float().nan_to_num(nan=torch.inf, posinf=torch.inf)
    boxes = boxes.detach().float()
    if labels is None:
        return nms(boxes, loss, nms_threshold)[:batch_size]
    # Label by label: moving the labels apart, as batched_nms does, rounds the boxes and does not keep ties in order.
    groups = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    kept = [rows[nms(boxes[rows], loss[rows], nms_threshold)] for rows in groups]
    rows = torch.cat(kept).sort().values if kept else torch.empty(0, dtype=torch.int64, device=loss.device)
    return rows[loss[rows].argsort(descending=True, stable=True)][:batch_size]


class OnlineHardExampleMiner:
    """Takes the RoIs of highest loss of every image, without near repetitions: online hard example mining; a `Sampler`.

    `sampled_loss` makes a training step of it, in anyone's training loop. All RoIs take part: no lower bound on the
    IoU of background (`assign_labels(…, bg_thresh_lo=0)`), no fraction of foreground.

    Args:
        batch_size: B, RoIs with gradient in a mini-batch.
        num_images: N; every image of a mini-batch gives up to B / N RoIs, however many images it has. The released
            code runs one image with B = 64 and adds up the gradients of two.
        nms_threshold: IoU of the suppression among the RoIs of an image; 1 for none.
        nms_within: `image`, as in the paper, or `label`: among RoIs of an image and label, as in the released code.
        read_only_mode: how the first pass treats dropout. `train`: masks of its own, so that RoIs are chosen under
            other masks than they are trained with; the read-only network of the released code does that.
            `same_dropout`: each RoI has the same masks in both passes; a head with other draws, such as attention with
            dropout, is refused in its first step. `eval`: the head in evaluation mode, without dropout, batch norm by
            its running statistics. In the other two, batch norm in training mode normalises
            the first pass by the statistics of all RoIs.

    Raises:
        InputError: a parameter that means nothing.

    Examples:
        The second RoI nearly repeats the first, which has the larger loss.

        >>> import torch
        >>> from rcnn_svm.mining import OnlineHardExampleMiner, RoIs
        >>> boxes = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30], [40, 40, 50, 50]])
        >>> miner = OnlineHardExampleMiner(batch_size=4, num_images=2)
        >>> miner.select(RoIs(boxes=boxes), loss=torch.tensor([0.9, 0.8, 0.1, 0.5]))
        tensor([0, 3])

    Source: Shrivastava et al. 2016, section 4.
    """

    PARAMETER_CHECKS = checks(
        **SELECTION,
        num_images=whole(at_least=1),
        nms_within=one_of(NMS_WITHIN),
        read_only_mode=one_of(READ_ONLY_MODES),
    )

    def __init__(
        self,
        *,
        batch_size: int = paper.OHEM_BATCH_SIZE,
        num_images: int = paper.OHEM_NUM_IMAGES,
        nms_threshold: float = paper.OHEM_NMS_THRESHOLD,
        nms_within: Literal["image", "label"] = "image",
        read_only_mode: ReadOnlyMode = "train",
    ):
        self.batch_size = batch_size
        self.num_images = num_images
        self.nms_threshold = nms_threshold
        self.nms_within = nms_within
        self.read_only_mode = read_only_mode
        check_parameters(self)
        if batch_size % num_images:
            raise InputError(f"batch_size = {batch_size} must be a multiple of num_images = {num_images}")

    def select(self, rois: RoIs, loss: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Return the rows of the hardest RoIs, (S,) int64, hardest first, S <= B / N.

        Args:
            rois: the RoIs of one image; `boxes` are read, and `labels` where suppression is within the label.
            loss: (R,) float, or (R, P) for a loss of P parts, whose sum ranks the RoIs.
            generator: not read.

        Raises:
            InputError: no loss, or arrays that do not fit together.
        """
        within = rois.read("labels") if self.nms_within == "label" else None
        count = self.batch_size // self.num_images
        return select_hard_rois(total_loss(loss), rois.read("boxes"), count, self.nms_threshold, within)
