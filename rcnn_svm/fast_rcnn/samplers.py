"""Which RoIs of a mini-batch's images a training step uses: five ways behind one interface.

Every sampler sees all RoIs of the images. The loss of a step is the mean over those it takes, whichever way they
were found, so that trainings differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rcnn_svm import paper
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.targets import RoITargets
from rcnn_svm.mining.fast_rcnn import BACKGROUND, RoISampler
from rcnn_svm.mining.ohem import OnlineHardExampleMiner
from rcnn_svm.mining.read_only import read_only
from rcnn_svm.mining.ssd import select_hard_negatives

# Rows of every image, (S,) int64 each -> (S, P), the parts of their losses, image by image.
LossPerRoI = Callable[[list[Tensor]], Tensor]


class Sampler(Protocol):
    """What a sampler is."""

    def __call__(
        self,
        head: nn.Module,
        loss_per_roi: LossPerRoI,
        images: Sequence[RoITargets],
        labels: Sequence[Tensor],
        seed: int,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the loss of a step, (P,) with gradient, and the rows of every image that it is the mean over.

        Args:
            head: the network that `loss_per_roi` runs.
            loss_per_roi: runs it.
            images: the RoIs of every image.
            labels: per image (R,) int64, a class from 1 or `BACKGROUND`.
            seed: of the step's draws, if it makes any.
        """


class DrawnRoIs:
    """RoIs drawn at random, a part of them foreground.

    Args:
        rois_per_image: at most so many.
        bg_thresh_lo: background from this IoU on: 0.1 is Fast R-CNN's guess at which RoIs are hard, 0 has none.

    Source: Fast R-CNN section 2.3; without the guess, Shrivastava et al. 2016, section 5.1.
    """

    def __init__(self, rois_per_image: int, bg_thresh_lo: float):
        self._options = {"rois_per_image": rois_per_image, "bg_thresh_lo": bg_thresh_lo}
        RoISampler(**self._options)

    def __call__(self, head, loss_per_roi, images, labels, seed):
        """As in `Sampler`."""
        # Anew at every step, so that a training goes on from a checkpoint with the same draws.
        sampler = RoISampler(seed=seed, **self._options)
        rows = [sampler(image.max_overlaps, image.max_classes)[0] for image in images]
        return _mean(loss_per_roi(rows)), rows


class HardestRoIs:
    """The RoIs of highest loss, without near repetitions: online hard example mining.

    Args:
        rois_per_image: at most so many.

    Source: Shrivastava et al. 2016, section 4.
    """

    def __init__(self, rois_per_image: int):
        self._miner = OnlineHardExampleMiner(batch_size=rois_per_image, num_images=1)

    def __call__(self, head, loss_per_roi, images, labels, seed):
        """As in `Sampler`."""
        loss, hard = self._miner(head, loss_per_roi, [image.boxes for image in images], labels)
        return loss, hard.rows


class HardNegativeRatio:
    """All foreground, and three times as much background, that of highest classification loss.

    An image without foreground gives nothing. The loss is the mean over what is taken; SSD's is up to four times
    that, for it divides by the number of positives.

    Source: SSD section 2.2, "Hard negative mining".
    """

    def __call__(self, head, loss_per_roi, images, labels, seed):
        """As in `Sampler`."""
        with read_only(head):
            losses = loss_per_roi([_all(label) for label in labels])[:, 0].split([len(label) for label in labels])
        rows = [
            ((label > BACKGROUND) | select_hard_negatives(loss[None], label[None])[0]).nonzero()[:, 0]
            for loss, label in zip(losses, labels, strict=True)
        ]
        return _mean(loss_per_roi(rows)), rows


class AllRoIs:
    """Every RoI: no sampling."""

    def __call__(self, head, loss_per_roi, images, labels, seed):
        """As in `Sampler`."""
        rows = [_all(label) for label in labels]
        return _mean(loss_per_roi(rows)), rows


def _all(labels: Tensor) -> Tensor:
    return torch.arange(len(labels), device=labels.device)


def _mean(parts: Tensor) -> Tensor:
    """Return the mean over RoIs, (S, P) -> (P,); 0 where there is none."""
    return parts.sum(0) / max(len(parts), 1)


SAMPLERS: dict[str, Callable[[int], Any]] = {
    "random": lambda rois_per_image: DrawnRoIs(rois_per_image, bg_thresh_lo=0.0),
    "heuristic": lambda rois_per_image: DrawnRoIs(rois_per_image, bg_thresh_lo=paper.BG_THRESH_LO),
    "ohem": HardestRoIs,
    "ratio": lambda rois_per_image: HardNegativeRatio(),
    "all": lambda rois_per_image: AllRoIs(),
}


def make_sampler(name: str, rois_per_image: int = paper.ROIS_PER_IMAGE) -> Sampler:
    """Return a sampler by name.

    Args:
        name: `random` (a quarter foreground, any background), `heuristic` (Fast R-CNN's, background with an IoU of
            at least 0.1), `ohem`, `ratio` (SSD's three to one) or `all`.
        rois_per_image: for those that have such a number: 128 RoIs of 2 images in both papers.

    Raises:
        InputError: an unknown name, or a number below 1.
    """
    if name not in SAMPLERS:
        raise InputError(f"sampler {name!r} is unknown; choose one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name](rois_per_image)
