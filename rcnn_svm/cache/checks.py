"""What the arrays of a feature cache must be, written once for caches of arrays and of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rcnn_svm.cache.regions import keys_of
from rcnn_svm.cache.shards import ShardArrays
from rcnn_svm.errors import InputError

# An overlap is computed in double and stored in single precision, so an object's own is exactly 1; others who make
# features may have computed theirs in single precision.
ROUNDING = 1e-5


def check_layout(
    arrays: ShardArrays, *, num_images: int, num_rows: int, dim: int, num_classes: int, dtype: str, where: str
) -> None:
    """Check shapes and types, which compiled code and views of files rely on.

    Args:
        arrays: the regions of `num_images` images.
        num_images, num_rows, dim, num_classes: I, N, D and K.
        dtype: how features are stored.
        where: what holds the arrays; begins the message.

    Raises:
        InputError: an array has another shape or type.
    """
    expected = {
        "features": ((num_rows, dim), dtype),
        "boxes": ((num_rows, 4), "float32"),
        "gt": ((num_rows,), "bool"),
        "label": ((num_rows,), "int32"),
        "difficult": ((num_rows,), "bool"),
        "overlap": ((num_rows, num_classes), "float32"),
        "image_start": ((num_images + 1,), "int64"),
        "image_size": ((num_images, 2), "int32"),
    }
    for name, array in arrays.items():
        shape, kind = expected[name]
        if array.shape != shape or array.dtype != kind:
            raise InputError(
                f"{where}: {name} is {array.dtype} of shape {array.shape}, expected {kind} of shape {shape}; "
                "make the cache again"
            )


def check_regions(arrays: ShardArrays[np.ndarray], image_ids: Sequence[str], num_classes: int, where: str) -> None:
    """Check what every stage takes for granted of the regions of consecutive images; features are not looked at.

    In every image the objects come first, for a key is a row and the rows of objects are no detections; an object has
    a label and overlaps its own class by 1, a proposal has none; overlaps are IoUs; boxes are finite.

    Args:
        arrays: the regions, of shapes and types that `check_layout` accepts.
        image_ids: identifiers of the images.
        num_classes: K.
        where: what holds the arrays; begins the message.

    Raises:
        InputError: a region is otherwise; the first is named by image and row.
    """
    gt, label, overlap = arrays.gt, arrays.label, arrays.overlap

    def refuse(wrong: np.ndarray, words: Callable[[int], str]) -> None:
        if wrong.any():
            region = int(wrong.argmax())
            image, row = keys_of(np.array([region]), arrays.image_start)[0].tolist()
            raise InputError(f"{where}: row {row} of image {image_ids[image]} {words(region)}; make the cache again")

    refuse(
        (label < 0) | (label > num_classes),
        lambda region: f"has label {label[region]}, expected the number of a class, 1 to {num_classes}, or 0",
    )
    refuse(
        gt != (label > 0),
        lambda region: f"has label {label[region]} and is {'an' if gt[region] else 'no'} object; objects have labels",
    )
    first = np.zeros(len(gt), bool)
    first[arrays.image_start[:-1][np.diff(arrays.image_start) > 0]] = True
    late = gt & ~first
    late[1:] &= ~gt[:-1]
    refuse(late, lambda region: "is an object after a proposal, and objects come first in every image")
    # The smallest and the largest first, which need no memory: NaN is in neither range.
    if overlap.size and not (overlap.min() >= 0 and overlap.max() <= 1 + ROUNDING):
        refuse(
            ~np.all((overlap >= 0) & (overlap <= 1 + ROUNDING), axis=1),
            lambda region: f"has overlaps from {overlap[region].min()} to {overlap[region].max()}, expected IoUs",
        )
    objects = np.flatnonzero(gt)
    own = np.ones(len(gt), np.float32)
    own[objects] = overlap[objects, label[objects] - 1]
    refuse(
        own < 1 - ROUNDING,
        lambda region: f"is an object that overlaps its own class by {own[region]}, expected 1, its IoU with itself",
    )
    refuse(~np.isfinite(arrays.boxes).all(axis=1), lambda region: "has a box that is not four finite numbers")
