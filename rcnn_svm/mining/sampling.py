"""Which RoIs of an image a training step uses: the one call form of all samplers, and a step with any of them.

    rows = sampler.select(rois, loss, generator)

A sampler's thresholds are arguments of its constructor. `RoISampler` (Fast R-CNN) draws; `OnlineHardExampleMiner` and
`HardNegativeRatio` (SSD) take RoIs by their loss, which `sampled_loss` finds in a pass without gradient; `AllRoIs`
takes all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor, nn

from rcnn_svm.errors import InputError
from rcnn_svm.mining.read_only import ReadOnlyMode, SharedDropout, read_only

# Labels of RoIs and anchors: 1, 2, ... are object classes, 0 is background, -1 takes no part.
BACKGROUND = 0
IGNORED = -1

# Rows of every image, (S,) int64 each -> (S,) losses of these RoIs, image by image, or (S, P) for a loss of P parts.
LossPerRoI = Callable[[list[Tensor]], Tensor]


@dataclass(frozen=True)
class RoIs:
    """The RoIs, or anchors, of one image. What a sampler does not read may be left out.

    Attributes:
        labels: (R,) int64: a class from 1, `BACKGROUND` or `IGNORED`.
        boxes: (R, 4) float, x1 y1 x2 y2, pixels.
        max_overlaps: (R,) float, the largest IoU of the RoI with an object, in [0, 1]. The objects' own boxes are
            RoIs too.
        max_classes: (R,) int64, the class of that object, from 1; anything where the RoI is no foreground.

    Raises:
        InputError: arrays of different lengths, or none.
    """

    labels: Tensor | None = None
    boxes: Tensor | None = None
    max_overlaps: Tensor | None = None
    max_classes: Tensor | None = None

    def __post_init__(self):
        sizes = {name: len(array) for name, array in self._given().items()}
        if len(set(sizes.values())) != 1:
            found = ", ".join(f"{count} {name}" for name, count in sizes.items()) or "no array"
            raise InputError(f"the RoIs of an image have {found}, expected one of each per RoI")

    def __len__(self) -> int:
        return len(self._any())

    def read(self, name: str) -> Tensor:
        """Return an array that a sampler reads.

        Raises:
            InputError: the array was left out.
        """
        return _needed(getattr(self, name), f"{name} of the RoIs", f"RoIs({name}=...)")

    def all_rows(self) -> Tensor:
        """Return (R,) int64, the rows of all RoIs."""
        return torch.arange(len(self), device=self._any().device)

    def _any(self) -> Tensor:
        return next(iter(self._given().values()))

    def _given(self) -> dict[str, Tensor]:
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if array is not None}


class Sampler(Protocol):
    """What chooses the RoIs of an image that a training step uses.

    Attributes:
        read_only_mode: how dropout and batch norm work in the pass that finds the loss, see `OnlineHardExampleMiner`;
            None where `select` reads no loss, so that there is no such pass.
    """

    @property
    def read_only_mode(self) -> ReadOnlyMode | None: ...

    def select(self, rois: RoIs, loss: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Return the rows of the RoIs that are chosen, (S,) int64.

        Args:
            rois: the RoIs of one image.
            loss: (R,) float, the loss of every RoI, or (R, P) for a loss of P parts, classification first.
            generator: decides what is drawn at random, on the CPU, so that the draws are the same for tensors on any
                device; torch's own where None.

        Raises:
            InputError: arrays that are missing or do not fit together.
        """


class AllRoIs:
    """Takes every RoI: no sampling."""

    read_only_mode = None

    def select(self, rois: RoIs, loss: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """As in `Sampler`."""
        return rois.all_rows()


@dataclass(frozen=True)
class Selection:
    """What one training step looked at and took; for statistics, without gradient.

    Attributes:
        rows: per image (S,) int64, the RoIs taken, in the sampler's order.
        labels: per image (S,) int64, their labels; None where `RoIs` had none.
        loss: per image (R,) float, the loss of all its RoIs in the read-only pass; None where there was no such pass.
    """

    rows: list[Tensor]
    labels: list[Tensor | None]
    loss: list[Tensor | None]


def sampled_loss(
    sampler: Sampler,
    head: nn.Module,
    loss_per_roi: LossPerRoI,
    images: Sequence[RoIs],
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Selection]:
    """Return the loss of the RoIs that a sampler takes from a mini-batch, to be followed by `backward`.

    For a sampler that reads the loss, the RoI network runs twice: over all RoIs of the mini-batch without gradient,
    which leaves batch-norm statistics alone, then over those taken, with gradient.

    Args:
        sampler: chooses among the RoIs of each image.
        head: the RoI network, or any module that holds it: its modes are set for the read-only pass.
        loss_per_roi: runs the RoI network over some RoIs, given as (S,) int64 rows for every image, and returns
            their losses in the same order, image by image: (S,) float, or (S, P) for a loss of P parts.
        images: the RoIs of every image.
        generator: as in `Sampler.select`.

    Returns:
        () float, or (P,) for a loss of P parts: the mean over the RoIs taken, as in Fast R-CNN; 0 where there is
        none; what was taken.

    Raises:
        InputError: no sampler, no image, or RoIs and losses that do not fit together.

    Source: Shrivastava et al. 2016, section 4.2. Ours: the read-only network is the trained one without gradient.
    """
    check_sampler(sampler)
    if not images:
        raise InputError("there are no RoIs to choose from, expected those of at least one image")
    sizes, mode = [len(rois) for rois in images], sampler.read_only_mode
    losses: list[Tensor | None] = [None] * len(images)
    shared = SharedDropout() if mode == "same_dropout" else None
    with shared or nullcontext():
        if mode is not None:
            with read_only(head, evaluation=mode == "eval"):
                losses = list(_run(loss_per_roi, [rois.all_rows() for rois in images]).split(sizes))
        with shared.draws_allowed() if shared else nullcontext():
            rows = [sampler.select(rois, loss, generator) for rois, loss in zip(images, losses, strict=True)]
        if shared:
            starts = accumulate(sizes[:-1], initial=0)
            shared.keep(torch.cat([start + taken for start, taken in zip(starts, rows, strict=True)]))
        parts = _run(loss_per_roi, rows)
    labels = [None if rois.labels is None else rois.labels[taken] for rois, taken in zip(images, rows, strict=True)]
    totals = [None if loss is None else total_loss(loss) for loss in losses]
    return parts.sum(0) / max(len(parts), 1), Selection(rows, labels, totals)


def check_sampler(value: object) -> None:
    """Check that something is a `Sampler`.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, type):
        raise InputError(f"the sampler is the class {value.__name__}, expected an object of it: {value.__name__}()")
    if not (callable(getattr(value, "select", None)) and hasattr(value, "read_only_mode")):
        raise InputError(
            f"the sampler is {type(value).__name__}, expected one with `select` and `read_only_mode`, such as "
            "OnlineHardExampleMiner()"
        )


def total_loss(loss: Tensor | None) -> Tensor:
    """Return the loss of every RoI, (R,), from itself or from its parts, (R, P)."""
    loss = given_loss(loss)
    return loss.sum(1) if loss.ndim == 2 else loss


def class_loss(loss: Tensor | None) -> Tensor:
    """Return the classification loss of every RoI, (R,), from itself or from the parts of a loss, (R, P)."""
    loss = given_loss(loss)
    return loss[:, 0] if loss.ndim == 2 else loss


def given_loss(loss: Tensor | None) -> Tensor:
    """Return the loss that a sampler reads.

    Raises:
        InputError: the loss was left out.
    """
    return _needed(loss, "loss of every RoI", "it to `select`, or call `sampled_loss`, which finds it")


def _needed(array: Tensor | None, name: str, remedy: str) -> Tensor:
    if array is None:
        raise InputError(f"this sampler reads the {name}; give {remedy}")
    return array


def _run(loss_per_roi: LossPerRoI, rows: list[Tensor]) -> Tensor:
    loss, count = loss_per_roi(rows), sum(map(len, rows))
    if loss.ndim not in (1, 2) or len(loss) != count:
        raise InputError(
            f"loss_per_roi returned shape {tuple(loss.shape)} for {count} RoIs, "
            "expected one loss, or one row of parts, for each: no mean over the RoIs"
        )
    return loss
