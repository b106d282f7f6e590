"""Sheets of pictures as figures: proposals and detections over images, hard negatives as crops."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from rcnn_svm import paper
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.images import load_image
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import align, evaluate_detections
from rcnn_svm.mining.mined_regions import MinedRegion
from rcnn_svm.parameters import plain
from rcnn_svm.proposals.recall import best_overlaps
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.pictures import crop_with_context, draw_detections, draw_proposals, evenly_spaced
from rcnn_svm.reports.style import new_figure
from rcnn_svm.words import shortened

COLUMNS = 4
CROP_COLUMNS = 8
REGIONS_A_SHEET = 6 * CROP_COLUMNS
_CROP_SIDE = 1.4  # inches
_CAPTION = 0.3  # inches below a picture, for one line


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
    unknown = [name for name in chosen if name not in classes]
    if unknown:
        raise InputError(f"class {plain(unknown[0])!r} is not in the model; it has {', '.join(classes)}")
    place = {image_id: index for index, image_id in enumerate(database.image_ids)}
    pictures, captions, names = [], [], list(chosen or classes)
    for name in names:
        cls = classes.index(name)
        rows = np.flatnonzero(history["support"][:, 0] == cls)
        hardest = rows[np.argsort(-history["support_scores"][rows], kind="stable")[:count]]
        for position in hardest:
            image, row = history["support"][position, 1:]
            regions = cache.regions(int(image))
            if regions.image_id not in place:
                raise InputError(f"image {regions.image_id} of {cache.name} is not in {database.name}")
            pixels = database.load_image(place[regions.image_id])
            pictures.append(crop_with_context(pixels, regions.boxes[row]))
            near = _nearest(regions.overlap[row], cache.classes)
            captions.append(f"{history['support_scores'][position]:+.2f}\n{near}")
        # A row is a class: the rest of it stays empty.
        pictures += [None] * (count - len(hardest))
        captions += [""] * (count - len(hardest))
    note = "hardest negatives at the last training: score; IoU with the nearest object"
    return _sheet(pictures, captions, count, note, rows=names, side=_CROP_SIDE)


def mined_sheet(regions: Sequence[MinedRegion], folder: Path) -> Figure:
    """Return regions of a manifest as crops, with their numbers there.

    Args:
        regions: one or more, of one manifest.
        folder: the folder of the manifest, with the crops.

    Raises:
        InputError: a crop is missing or damaged.
    """
    pictures = [Image.fromarray(load_image(folder / region.crop)) for region in regions]
    captions = []
    for region in regions:
        repeats = f", seen {region.seen} times" if region.seen > 1 else ""
        captions.append(f"id {region.id}: {shortened(region.cls, 14)}\n{region.score:+.2f}{repeats}")
    note = "regions that fired, the highest scores first; strike out real objects by their id in the manifest"
    return _sheet(pictures, captions, CROP_COLUMNS, note, side=_CROP_SIDE)


def _nearest(overlaps: np.ndarray, classes: Sequence[str]) -> str:
    """Return which object a region overlaps most, in words."""
    best = int(overlaps.argmax())
    return f"{overlaps[best]:.2f} {classes[best]}" if overlaps[best] else "no object"


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
    side: float = 3.2,
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
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, picture, caption in zip(axes.flat, pictures, captions, strict=False):
        if picture is not None:
            _show(axis, picture, caption)
    for axis, name in zip(axes[:, 0], rows, strict=False):
        axis.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center", parse_math=False)
    figure.supxlabel(note, fontsize=9, parse_math=False)
    return figure


def _show(axis: Axes, picture: Image.Image, caption: str) -> None:
    axis.imshow(np.asarray(picture), interpolation="antialiased")
    axis.set_xlabel(caption, fontsize=8, parse_math=False)
