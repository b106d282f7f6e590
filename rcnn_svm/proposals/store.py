"""Proposals of an image set, in memory and in one HDF5 file."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from rcnn_svm.artefacts.files import create_h5, fingerprint, open_h5, read_settings
from rcnn_svm.errors import InputError
from rcnn_svm.proposals.ranking import check_limits, limit_boxes, limit_settings
from rcnn_svm.words import counted, shortened

KIND = "proposals"
SCHEMA = 1


@dataclass(frozen=True, eq=False, repr=False)
class ProposalSet:
    """Boxes for each image of a set, and what made them.

    On disk: `image_ids` (I,) text; `boxes` (N, 4) float32, image after image; `image_start` (I + 1,) int64, so
    that rows image_start[i]:image_start[i + 1] belong to image i; `image_digests` (I,) text where they are known.

    Attributes:
        image_ids: I identifiers, unique.
        boxes: per image (n, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels, best first.
        settings: JSON-able; `method` and its arguments, versions, the image set's name.
        image_digests: per image, a digest of the file that the boxes were made from; empty where that is not known.

    Raises:
        InputError: a number of box arrays that differs from the number of images, an image listed twice, a box
            that is not finite or ends before it starts.
    """

    image_ids: tuple[str, ...]
    boxes: Sequence[np.ndarray]
    settings: dict[str, Any]
    image_digests: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "image_ids", tuple(map(str, self.image_ids)))
        with np.errstate(over="ignore"):  # what single precision cannot hold is found below
            as_rows = [np.asarray(boxes, np.float32).reshape(-1, 4) for boxes in self.boxes]
        object.__setattr__(self, "boxes", as_rows)
        if len(self.boxes) != len(self.image_ids):
            raise InputError(f"proposals for {len(self.boxes)} images but {len(self.image_ids)} image ids")
        if len(self._index) != len(self.image_ids):
            raise InputError("proposals list an image id more than once; list each image once")
        for image_id, boxes in zip(self.image_ids, self.boxes, strict=True):
            bad = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1))
            if bad.any():
                raise InputError(
                    f"image {image_id}: proposal {bad.argmax()} is {boxes[bad.argmax()].tolist()}, "
                    "expected finite x1 y1 x2 y2 with x1 <= x2 and y1 <= y2"
                )

    @functools.cached_property
    def _index(self):
        return {image_id: i for i, image_id in enumerate(self.image_ids)}

    def __len__(self) -> int:
        return len(self.image_ids)

    def __repr__(self) -> str:
        named = [str(self.settings[name]) for name in ("database", "method") if name in self.settings]
        boxes = counted(sum(map(len, self.boxes)), "box", "boxes")
        return f"ProposalSet({', '.join([counted(len(self), 'image'), boxes, *map(shortened, named)])})"

    def boxes_of(self, image_id: str) -> np.ndarray:
        """Return the (n, 4) float32 boxes of an image, best first.

        Raises:
            InputError: there are none for that image.
        """
        try:
            return self.boxes[self._index[image_id]]
        except KeyError:
            raise InputError(
                f"image {image_id} has no proposals among the {len(self)} images of "
                f"{self.settings.get('database', 'this set')}; make proposals for the image set that holds it"
            ) from None

    def limited(self, max_boxes: int | None = None, merge_iou: float | None = None) -> ProposalSet:
        """Return the proposals that `limit_boxes` keeps, with settings that say so.

        Args:
            max_boxes: keep the first so many of every image; a lower limit recorded already stays.
            merge_iou: then drop what nearly repeats an earlier one: an IoU above this; None for nothing.

        Raises:
            InputError: a limit without meaning, or one that would not give what the settings then say: boxes
                that were merged cannot be cut or merged otherwise.
        """
        check_limits(max_boxes, merge_iou)
        cut, merged = self.settings.get("max_boxes"), self.settings.get("merge_iou")
        limit = min((number for number in (max_boxes, cut) if number is not None), default=None)
        if merged is not None and (limit != cut or merge_iou not in (None, merged)):
            raise InputError(
                f"the proposals were merged at IoU {merged} after a limit of {cut or 'no'} boxes and cannot be limited "
                "otherwise; make them again with the propose stage"
            )
        boxes = [limit_boxes(boxes, limit, merge_iou) for boxes in self.boxes]
        return ProposalSet(self.image_ids, boxes, {**self.settings, **limit_settings(limit, merge_iou)})

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with the settings, the images or any box."""
        digest = hashlib.sha256()
        for boxes in self.boxes:
            digest.update(len(boxes).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(boxes, "<f4").tobytes())
        return fingerprint([self.settings, self.image_ids, digest.hexdigest()])

    def save(self, path: str | os.PathLike) -> None:
        """Write the file atomically."""
        image_start = np.cumsum([0, *map(len, self.boxes)], dtype=np.int64)
        with create_h5(path, KIND, SCHEMA, self.settings) as handle:
            handle.create_dataset("image_ids", data=list(self.image_ids), dtype=h5py.string_dtype())
            if self.image_digests:
                handle.create_dataset("image_digests", data=list(self.image_digests), dtype=h5py.string_dtype())
            handle["image_start"] = image_start
            rows = handle.create_dataset("boxes", (image_start[-1], 4), np.float32)
            for start, boxes in zip(image_start[:-1], self.boxes, strict=True):
                rows[start : start + len(boxes)] = boxes

    @classmethod
    def load(cls, path: str | os.PathLike) -> ProposalSet:
        """Read a file that `save` wrote.

        Raises:
            InputError: the file is missing, damaged or none of ours.
        """
        with open_h5(path, KIND, SCHEMA) as handle:
            try:
                image_ids = tuple(image_id.decode() for image_id in handle["image_ids"][()])
                boxes = np.split(handle["boxes"][()], handle["image_start"][1:-1])
                settings = read_settings(handle)
                check_limits(settings.get("max_boxes"), settings.get("merge_iou"))
                digests = handle["image_digests"].asstr()[()] if "image_digests" in handle else ()
                return cls(image_ids, boxes, settings, tuple(digests))
            except (KeyError, ValueError) as error:
                raise InputError(f"{path} is no complete proposals file ({error}); make it again") from error
