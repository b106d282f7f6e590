"""Sheets of pictures as figures: proposals and detections over images, hard negatives as crops."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from rcnn_svm import paper
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.images import load_image
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import align, evaluate_detections
from rcnn_svm.mining.kinds_of_negatives import NegativeKinds, negative_kinds
from rcnn_svm.mining.mined_regions import MinedRegion
from rcnn_svm.parameters import plain
from rcnn_svm.proposals.recall import best_overlaps
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.html.hardest import hardest_negatives
from rcnn_svm.reports.pictures import (
    crop_with_context,
    draw_detections,
    draw_proposals,
    evenly_spaced,
    image_of_boxes,
)
from rcnn_svm.reports.style import new_figure
from rcnn_svm.words import shortened

COLUMNS = 4
CROP_COLUMNS = 8
REGIONS_A_SHEET = 6 * CROP_COLUMNS
_SIDE, _CROP_SIDE = 3.2, 1.4  # inches
_CAPTION = 0.3  # inches below a picture, for one line
_LETTERS = 24  # of a line below a crop


def proposals_sheet(
    database: ImageDatabase,
    proposals: ProposalSet,
    *,
    images: Sequence[str] = (),
    count: int = 12,
    top: int | None = None,
) -> Figure:
    """Return images with their first proposals, and which objects these hold.

    Args:
        database: images and objects.
        proposals: their proposals.
        images: ids of the images to show; where empty, `count` of them, spread evenly over the set.
        count: images to show.
        top: proposals of an image that are drawn and counted; None for all.

    Raises:
        InputError: an image is not in the set, has no proposals, or cannot be read.
    """
    pictures, captions = [], []
    for index in _chosen(database, images, count):
        boxes = proposals.boxes_of(database.image_ids[index])[:top]
        truth = database.annotation(index)
        found = best_overlaps(boxes, truth.boxes) >= paper.HIT_IOU
        pictures.append(draw_proposals(database.load_image(index), boxes, truth.boxes, found))
        captions.append(f"{database.image_ids[index]}: {int(found.sum())} of {len(found)} objects")
    which = "all proposals" if top is None else f"first {top} proposals"
    return _sheet(
        pictures,
        captions,
        COLUMNS,
        f"{which}, the best on top; objects dashed: green, one overlaps it by {paper.HIT_IOU} or more; red, none does",
    )


def detections_sheet(
    database: ImageDatabase,
    detections: Detections,
    *,
    images: Sequence[str] = (),
    count: int = 12,
    thresh: float | None = None,
    nms_threshold: float = paper.NMS_THRESHOLD,
) -> Figure:
    """Return images with what was found in them, and their objects dashed.

    Args:
        database: images and objects.
        detections: of the test stage, before suppression.
        images, count: as in `proposals_sheet`.
        thresh: detections with a score above it are drawn; None: in each class, those of its best F1 on these images.
        nms_threshold: as in `Detections.after_nms`.

    Raises:
        InputError: the detections are of other classes or images, or an image cannot be read.
    """
    detections = align(detections, database).after_nms(nms_threshold)
    chosen: float | np.ndarray
    if thresh is None:
        result = evaluate_detections(detections, database, nms_threshold=None)
        chosen, words = np.array([entry.best_f1_thresh for entry in result.classes]), "at the best F1 of each class"
    else:
        chosen, words = thresh, f"with scores above {thresh:g}"
    pictures, captions = [], []
    for index in _chosen(database, images, count):
        found = detections.of_image(index).above(chosen)
        truth = database.annotation(index)
        pictures.append(draw_detections(database.load_image(index), found, database.classes, ground_truth=truth))
        captions.append(database.image_ids[index])
    return _sheet(pictures, captions, COLUMNS, f"solid: found, {words}; dashed: ground truth, (difficult)")


def negatives_sheet(
    database: ImageDatabase,
    cache: FeatureCache,
    history: Mapping[str, np.ndarray],
    classes: Sequence[str],
    *,
    chosen: Sequence[str] = (),
    count: int = CROP_COLUMNS,
) -> Figure:
    """Return the hardest negatives of classes at their last training, as crops, one row of the sheet a class.

    Args:
        database: the images that the model was trained on.
        cache: their features, whose regions the negatives are.
        history: the record in the model's file, as `Detector.load_history` returns it.
        classes: those of the model.
        chosen: the classes to show; all where empty.
        count: negatives of a class.

    Raises:
        InputError: no such class, no record of the training, another cache, or an image cannot be read.
    """
    if "support" not in history:
        raise InputError("the model has no record of its training, only the detector; train it again")
    if list(history["image_ids"]) != list(cache.image_ids):
        raise InputError(f"the model was not trained on {cache.name}: it records other images")
    names = list(chosen or classes)
    numbers = [class_index(name, classes) for name in names]
    hardest = [hardest_negatives(index, history, count) for index in numbers]
    keys = np.concatenate(
        [np.insert(part.keys, 0, index, axis=1) for index, part in zip(numbers, hardest, strict=True)]
    )
    scores = np.concatenate([part.scores for part in hardest]).tolist()
    says = kinds_in_lines(negative_kinds(cache, tuple(classes), keys))
    crops = iter(region_crops(database, cache, keys[:, 1:]))
    texts = iter([f"{score:+.2f}\n{lines}" for score, lines in zip(scores, says, strict=True)])
    # A row is a class: where it has fewer, the rest of it stays empty.
    filled = (np.arange(count) < np.array([[len(part.keys)] for part in hardest])).ravel().tolist()
    return _sheet(
        [next(crops) if there else None for there in filled],
        [next(texts) if there else "" for there in filled],
        count,
        "hardest negatives at the last training: score; why it is hard, by the object that it overlaps",
        rows=names,
        side=_CROP_SIDE,
    )


def mined_sheet(regions: Sequence[MinedRegion], folder: Path) -> Figure:
    """Return regions of a manifest as crops, with their numbers there.

    Args:
        regions: one or more, of one manifest.
        folder: the folder of the manifest, with the crops.

    Raises:
        InputError: a crop is missing or damaged.
    """
    pictures, captions = [], []
    for region in regions:
        crop = Image.fromarray(load_image(folder / region.crop))
        pictures.append(_squared(crop))
        repeats = f", seen {region.seen} times" if region.seen > 1 else ""
        captions.append(f"id {region.id}: {shortened(region.cls, 14)}\n{region.score:+.2f}{repeats}")
    note = "regions that fired, the highest scores first; strike out real objects by their id in the manifest"
    return _sheet(pictures, captions, CROP_COLUMNS, note, side=_CROP_SIDE)


def class_index(name: str, classes: Sequence[str]) -> int:
    """Return the number of a class of a model.

    Raises:
        InputError: it has none of this name.
    """
    if name not in classes:
        raise InputError(f"class {plain(name)!r} is not in the model; it has {', '.join(classes)}")
    return list(classes).index(name)


def region_crops(database: ImageDatabase, cache: FeatureCache, keys: np.ndarray) -> list[Image.Image]:
    """Return regions (n, 2), image and row, of a cache with what surrounds them, each on a white square.

    Every image is read once.

    Raises:
        InputError: an image is not in the database, cannot be read, or is smaller than its boxes.
    """
    known = {image_id: index for index, image_id in enumerate(database.image_ids)}
    crops = {}
    for image in np.unique(keys[:, 0]).tolist():
        rows = np.unique(keys[keys[:, 0] == image, 1])
        boxes = cache.block(image).boxes[rows]
        pixels = image_of_boxes(database, known, cache.image_ids[image], boxes)
        for row, box in zip(rows.tolist(), boxes, strict=True):
            crop = crop_with_context(pixels, box)
            crops[image, row] = _squared(crop)
    return [crops[key] for key in map(tuple, keys.tolist())]


def _squared(crop: Image.Image) -> Image.Image:
    """Return a crop in the middle of a white square."""
    side = max(crop.size)
    return ImageOps.pad(crop, (side, side), color="white")


def kinds_in_lines(kinds: NegativeKinds) -> list[str]:
    """Return what negatives show, in lines that fit below a crop: the kind, then the object and the IoU."""
    return ["\n".join(shortened(line, _LETTERS) for line in words.split(": ", 1)) for words in kinds.words]


def _chosen(database: ImageDatabase, images: Sequence[str], count: int) -> list[int]:
    """Return the images to show.

    Raises:
        InputError: an id is not in the set.
    """
    unknown = [image_id for image_id in images if image_id not in database.image_ids]
    if unknown:
        raise InputError(f"image {plain(unknown[0])} is not in {database.name} ({len(database)} images)")
    if images:
        return [database.image_ids.index(image_id) for image_id in images]
    return evenly_spaced(count, len(database))


def _sheet(
    pictures: Sequence[Image.Image | None],
    captions: Sequence[str],
    columns: int,
    note: str,
    rows: Sequence[str] = (),
    side: float = _SIDE,
) -> Figure:
    """Return pictures on one figure, each over its caption, and a note below.

    Args:
        pictures: one picture or more; None leaves a place empty.
        captions: one per picture.
        columns: pictures in a row.
        note: says what the sheet shows.
        rows: names of the rows, where they have one.
        side: of a picture, inches.
    """
    columns = min(columns, len(pictures))
    lines = 1 + max(caption.count("\n") for caption in captions)
    count = math.ceil(len(pictures) / columns)
    figure = new_figure(columns * side + bool(rows), count * (side + lines * _CAPTION * 0.7) + _CAPTION)
    axes = figure.subplots(count, columns, squeeze=False)
    for axis in axes.flat:
        without_frame(axis)
    for axis, picture, caption in zip(axes.flat, pictures, captions, strict=False):
        if picture is not None:
            show_picture(axis, picture, caption)
    for axis, name in zip(axes[:, 0], rows, strict=False):
        name_row(axis, name)
    figure.supxlabel(note, fontsize=9, parse_math=False)
    return figure


def without_frame(axis: Axes) -> None:
    """Leave a place of a sheet blank around what is drawn in it."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def name_row(axis: Axes, name: str) -> None:
    """Write a name at the left of a row, by its first place."""
    axis.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center", labelpad=8, parse_math=False)


def show_picture(axis: Axes, picture: Image.Image, caption: str) -> None:
    """Draw a picture over its caption."""
    axis.imshow(np.asarray(picture), interpolation="antialiased")
    axis.set_xlabel(caption, fontsize=8, parse_math=False)
