"""Proposals computed elsewhere: our own HDF5 files and the `selective_search_data/*.mat` of R-CNN."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from rcnn_svm.artefacts.files import READ_ERRORS, file_digest, open_any_h5, require_file
from rcnn_svm.boxes import clip_boxes
from rcnn_svm.data import ImageDatabase
from rcnn_svm.errors import InputError
from rcnn_svm.guarded import guarded
from rcnn_svm.hdf5 import open_hdf5
from rcnn_svm.matlab import hdf5_matrix
from rcnn_svm.proposals.store import ProposalSet


def import_proposals(
    path: str | os.PathLike,
    database: ImageDatabase,
    max_boxes: int | None = None,
    merge_iou: float | None = None,
) -> ProposalSet:
    """Return the proposals that a file holds for the images of a database, checked against their sizes.

    Args:
        path: a file of ours (`ProposalSet.save`) or a .mat file of R-CNN, recognised by what it holds.
        database: the images wanted; others in the file are left out.
        max_boxes, merge_iou: which boxes of an image to keep, as in `ProposalSet.limited`.

    Raises:
        InputError: the file is missing, damaged or neither of the two, lacks an image, or has a box that
            reaches more than a pixel beyond its image (boxes in another order or scale do); limits that
            cannot be applied to it.
    """
    path = Path(path)
    require_file(path)
    load = ProposalSet.load if _is_ours(path) else load_girshick_mat
    found = load(path)
    missing = sorted(set(database.image_ids).difference(found.image_ids))
    if missing:
        raise InputError(
            f"{path} has no proposals for {len(missing)} of {len(database)} images of {database.name} (the "
            f"first is {missing[0]}); it holds {len(found)} images, so give the file made for this image set"
        )
    found = found.limited(max_boxes, merge_iou)
    boxes = []
    for i, image_id in enumerate(database.image_ids):
        height, width = database.annotation(i).image_size
        here = found.boxes_of(image_id)
        inside = clip_boxes(here, (height, width))
        beyond = np.abs(inside - here).max(axis=1) > 1
        if beyond.any():
            raise InputError(
                f"{path}: proposal {beyond.argmax()} of image {image_id} is {here[beyond.argmax()].tolist()} "
                f"(x1 y1 x2 y2, 0-based), which reaches outside the {width} x {height} image; check the order "
                "of the coordinates in the file and that it was made for images of this size"
            )
        boxes.append(inside)
    settings = {**found.settings, "database": database.name, "sha256": file_digest(path)}
    return ProposalSet(database.image_ids, boxes, settings)


def load_girshick_mat(path: str | os.PathLike) -> ProposalSet:
    """Read a .mat file of selective search boxes, as published with R-CNN and Fast R-CNN.

    Args:
        path: variables `boxes`, a cell per image of n x 4 numbers [y1 x1 y2 x2], counted from 1, best first;
            `images`, the ids in the same order. MATLAB's format 5 to 7 or 7.3 (which is HDF5).

    Returns:
        The boxes of all its images as x1 y1 x2 y2, counted from 0.

    Raises:
        InputError: the file is damaged or its variables are others.

    Source: `roidb_from_voc.m` (`attach_proposals`).
    """
    try:
        boxes, image_ids = guarded(_read_cells_hdf5 if h5py.is_hdf5(path) else _read_cells_v5, path)
    except InputError:
        raise
    # scipy and h5py raise nearly anything on damaged bytes: zlib.error, ValueError, TypeError, KeyError, ...
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a MATLAB file ({error}); it is damaged or not what its name says"
        ) from error
    if len(boxes) != len(image_ids):
        raise InputError(f"{path} holds boxes of {len(boxes)} images but {len(image_ids)} image ids")
    for image_id, cell in zip(image_ids, boxes, strict=True):
        if cell.size and (cell.ndim != 2 or cell.shape[1] != 4):
            shape = " x ".join(map(str, cell.shape))
            raise InputError(f"{path}: the boxes of image {image_id} are {shape} numbers, expected n x 4")
    settings = {"method": "precomputed", "source": Path(path).name}
    ours = [cell.reshape(-1, 4).astype(np.float64)[:, [1, 0, 3, 2]] - 1 for cell in boxes]
    try:
        return ProposalSet(image_ids, ours, settings)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _is_ours(path):
    if not h5py.is_hdf5(path):
        return False
    try:
        with open_any_h5(path) as handle:
            return "kind" in handle.attrs
    except InputError:
        raise
    except READ_ERRORS as error:
        raise InputError(f"{path} is truncated or damaged ({error}); fetch or make it again") from error


def _require_variables(path, names: Sequence[str]):
    if not {"boxes", "images"} <= set(names):
        listed = ", ".join(sorted(names)) or "none"
        raise InputError(f"{path} must hold the variables boxes and images; its variables are {listed}")


def _read_cells_v5(path):
    """Return boxes and ids of a format 5 to 7 file."""
    _require_variables(path, [name for name, _, _ in scipy.io.whosmat(path)])
    variables = scipy.io.loadmat(path, variable_names=["boxes", "images"])
    return list(variables["boxes"].ravel()), [str(cell.item()) for cell in variables["images"].ravel()]


def _read_cells_hdf5(path):
    """Return boxes and ids of a format 7.3 file: cells are references, axes reversed, text is UTF-16 codes."""
    with open_hdf5(path, known_whole=True) as handle:
        _require_variables(path, [name for name in handle if not name.startswith("#")])
        boxes = [hdf5_matrix(handle[reference]) for reference in handle["boxes"][()].ravel()]
        ids = [hdf5_matrix(handle[reference]) for reference in handle["images"][()].ravel()]
    return boxes, ["".join(map(chr, codes.ravel())) for codes in ids]
