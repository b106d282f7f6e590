"""Scoring again: the best boxes that were found, corrected and voted, become proposals of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from rcnn_svm import paper
from rcnn_svm.artefacts.files import fingerprint
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_set import without_images_and_labels
from rcnn_svm.detection.one_image import boxes_to_score_again
from rcnn_svm.detection.recipe import PER_CLASS, PER_IMAGE
from rcnn_svm.errors import InputError
from rcnn_svm.proposals.store import ProposalSet

METHOD = "detections"


def proposals_to_score_again(
    detections: Detections, database: ImageDatabase, *, per_image: int = PER_IMAGE, per_class: int = PER_CLASS
) -> ProposalSet:
    """Return the best boxes that were found in the images of a database, as proposals for them.

    Args:
        detections: what was found, best after correction and voting, in these images and perhaps others.
        database: the images.
        per_image, per_class: as in `boxes_to_score_again`.

    Raises:
        InputError: the detections lack an image.
    """
    number = {image_id: index for index, image_id in enumerate(detections.image_ids)}
    missing = [image_id for image_id in database.image_ids if image_id not in number]
    if missing:
        raise InputError(
            f"the detections are not of {len(missing)} of {len(database)} images of {database.name} (the first is "
            f"{missing[0]}); give those of this image set"
        )
    order = np.argsort(detections.image, kind="stable")
    start = np.searchsorted(detections.image[order], np.arange(len(number) + 1))
    boxes = []
    for index, image_id in enumerate(database.image_ids):
        found = order[start[number[image_id]] : start[number[image_id] + 1]]
        boxes.append(
            boxes_to_score_again(
                detections.cls[found],
                detections.box[found],
                detections.score[found],
                database.annotation(index).image_size,
                per_image=per_image,
                per_class=per_class,
            )
        )
    digests = tuple(database.image_digest(index) for index in range(len(database)))
    settings = _settings(detections, database, digests, per_image, per_class)
    return ProposalSet(database.image_ids, boxes, settings, digests)


def _settings(
    detections: Detections, database: ImageDatabase, digests: tuple[str, ...], per_image: int, per_class: int
) -> dict[str, Any]:
    """Return what made the proposals; what depends on images and labels is in `images`, as of other proposals."""
    return {
        "method": METHOD,
        "per_image": per_image,
        "per_class": per_class,
        "nms": paper.NMS_THRESHOLD,
        "detections": fingerprint(without_images_and_labels(detections.settings)),
        "database": database.name,
        "images": fingerprint([digests, detections.fingerprint]),
    }
