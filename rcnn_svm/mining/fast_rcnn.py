"""The mini-batch of Fast R-CNN: a few foreground and background RoIs of an image, drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from rcnn_svm import paper
from rcnn_svm.errors import InputError
from rcnn_svm.mining.sampling import BACKGROUND, IGNORED, RoIs
from rcnn_svm.parameters import check_parameters, checks, real, whole


def assign_labels(
    max_overlaps: Tensor,
    max_classes: Tensor,
    *,
    fg_thresh: float = paper.FG_THRESH,
    bg_thresh_hi: float = paper.BG_THRESH_HI,
    bg_thresh_lo: float = paper.BG_THRESH_LO,
) -> Tensor:
    """Return the label that every RoI is trained with.

    Args:
        max_overlaps: (R,) float, the largest IoU of the RoI with an object, in [0, 1].
        max_classes: (R,) int64, the class of that object, from 1; anything where the RoI is no foreground.
        fg_thresh: foreground from this IoU on.
        bg_thresh_hi: background below this IoU.
        bg_thresh_lo: background from this IoU on: the paper's guess at which RoIs are hard. OHEM, which looks at
            the loss instead, takes 0.

    Returns:
        (R,) int64: the class where foreground, `BACKGROUND` or `IGNORED`.

    Raises:
        InputError: arrays of different lengths, an overlap outside [0, 1] or NaN, foreground without a class,
            thresholds out of order.

    Source: Fast R-CNN section 2.3, "Mini-batch sampling"; `_sample_rois` of its code.
    """
    _check_thresholds(fg_thresh, bg_thresh_hi, bg_thresh_lo)
    if max_overlaps.ndim != 1 or max_overlaps.shape != max_classes.shape:
        raise InputError(
            f"max_overlaps has shape {tuple(max_overlaps.shape)} and max_classes {tuple(max_classes.shape)}, "
            "expected one of each per RoI"
        )
    if not ((max_overlaps >= 0) & (max_overlaps <= 1)).all():
        raise InputError("max_overlaps holds values outside [0, 1] or NaN; look for RoIs that are no boxes")
    foreground = max_overlaps >= fg_thresh
    if (max_classes[foreground] <= BACKGROUND).any():
        raise InputError(f"RoIs of IoU {fg_thresh} or more have class 0 or less; object classes count from 1")
    background = (max_overlaps >= bg_thresh_lo) & (max_overlaps < bg_thresh_hi)
    labels = torch.full_like(max_classes, IGNORED, dtype=torch.int64)
    labels[background] = BACKGROUND
    labels[foreground] = max_classes[foreground].to(torch.int64)
    return labels


class RoISampler:
    """Draws the RoIs of an image that a training step uses, without replacement; a `Sampler`.

    At most `fg_fraction` of them are foreground; where an image has less, background fills up. Where it has less
    background, there are fewer RoIs: neither more foreground nor any RoI twice, as in the original.

    Args:
        rois_per_image: R / N, 128 RoIs of 2 images in the paper.
        fg_fraction: the largest part that may be foreground; the count is rounded half to even.
        fg_thresh: foreground from this IoU on.
        bg_thresh_hi: background below this IoU.
        bg_thresh_lo: background from this IoU on; 0 for none of the paper's guess at which RoIs are hard.

    Raises:
        InputError: a count or fraction that means nothing, thresholds out of order.

    Examples:
        Of ten RoIs two are foreground and the last four have too small an IoU to be background.

        >>> import torch
        >>> from rcnn_svm.mining import RoIs, RoISampler
        >>> rois = RoIs(
        ...     max_overlaps=torch.tensor([0.9, 0.6, 0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0]),
        ...     max_classes=torch.ones(10, dtype=torch.int64),
        ... )
        >>> RoISampler(rois_per_image=8).select(rois).sort().values
        tensor([0, 1, 2, 3, 4, 5])

    Source: Fast R-CNN section 2.3 and `_sample_rois` of its code; with a `bg_thresh_lo` of 0, Shrivastava et al. 2016,
    section 5.1. An image without any usable RoI gives an empty draw, as there; py-faster-rcnn leaves such images out.
    """

    PARAMETER_CHECKS = checks(
        rois_per_image=whole(at_least=1),
        fg_fraction=real(at_least=0, at_most=1),
        fg_thresh=real(at_least=0, at_most=1),
        bg_thresh_hi=real(at_least=0, at_most=1),
        bg_thresh_lo=real(at_least=0, at_most=1),
    )
    read_only_mode = None

    def __init__(
        self,
        *,
        rois_per_image: int = paper.ROIS_PER_IMAGE,
        fg_fraction: float = paper.FG_FRACTION,
        fg_thresh: float = paper.FG_THRESH,
        bg_thresh_hi: float = paper.BG_THRESH_HI,
        bg_thresh_lo: float = paper.BG_THRESH_LO,
    ):
        self.rois_per_image = rois_per_image
        self.fg_fraction = fg_fraction
        self.fg_thresh = fg_thresh
        self.bg_thresh_hi = bg_thresh_hi
        self.bg_thresh_lo = bg_thresh_lo
        check_parameters(self)
        _check_thresholds(fg_thresh, bg_thresh_hi, bg_thresh_lo)

    def select(self, rois: RoIs, loss: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Return the rows drawn, (S,) int64, foreground first, S <= `rois_per_image`.

        Args:
            rois: the RoIs of one image; `max_overlaps` and `max_classes` are read.
            loss: not read.
            generator: as in `Sampler.select`.

        Raises:
            InputError: what `assign_labels` raises.
        """
        labels = assign_labels(
            rois.read("max_overlaps"),
            rois.read("max_classes"),
            fg_thresh=self.fg_thresh,
            bg_thresh_hi=self.bg_thresh_hi,
            bg_thresh_lo=self.bg_thresh_lo,
        )
        foreground = _draw(labels > BACKGROUND, round(self.fg_fraction * self.rois_per_image), generator)
        background = _draw(labels == BACKGROUND, self.rois_per_image - len(foreground), generator)
        return torch.cat([foreground, background])


def _draw(eligible: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Return up to `count` of the rows that are eligible."""
    rows = eligible.nonzero()[:, 0]
    drawn = torch.randperm(len(rows), generator=generator)[:count]
    return rows[drawn.to(rows.device)]


def _check_thresholds(fg_thresh: float, bg_thresh_hi: float, bg_thresh_lo: float) -> None:
    if not 0 <= bg_thresh_lo <= bg_thresh_hi <= fg_thresh <= 1:
        raise InputError(
            f"bg_thresh_lo = {bg_thresh_lo}, bg_thresh_hi = {bg_thresh_hi} and fg_thresh = {fg_thresh} must be "
            "IoUs in rising order, or a RoI could be foreground and background at once"
        )
