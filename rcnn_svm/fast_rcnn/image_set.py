"""Testing a whole image set with a `FastRCNN`: the proposals of every image scored, the best boxes kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rcnn_svm import paper
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_set import ScoredImage, keep_best, limits
from rcnn_svm.detection.softmax import log_odds
from rcnn_svm.fast_rcnn.model import FastRCNN
from rcnn_svm.fast_rcnn.roi_head import correct_rois
from rcnn_svm.fast_rcnn.targets import roi_targets
from rcnn_svm.features.extract import check_proposals
from rcnn_svm.features.runtime import find_device
from rcnn_svm.progress import progress_bar
from rcnn_svm.proposals.store import ProposalSet


def run_settings(
    database: ImageDatabase, proposals: ProposalSet, model: FastRCNN, max_per_image: int = paper.MAX_PER_IMAGE
) -> dict[str, Any]:
    """Return everything that decides the result of `detect_in_images`, JSON-able; recorded with it."""
    return {
        "image_set": database.name,
        "proposals": proposals.fingerprint,
        "detector": {"digest": model.digest, "training": model.training},
        **limits(len(database), max_per_image),
    }


def detect_in_images(
    database: ImageDatabase,
    proposals: ProposalSet,
    model: FastRCNN,
    *,
    device: str = "auto",
    max_per_image: int = paper.MAX_PER_IMAGE,
) -> Detections:
    """Score the proposals of every image and keep the best, with corrected boxes.

    Scores are log-odds, as those of `RoIHead`.

    Args:
        database: the images.
        proposals: boxes of all of them.
        model: scores the proposals and corrects their boxes.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.
        max_per_image: boxes of a class to keep in one image.

    Returns:
        The detections, before non-maximum suppression.

    Raises:
        InputError: proposals that do not fit the images, an image that cannot be read, scores that are not finite.

    Source: Fast R-CNN section 3.
    """
    check_proposals(database, proposals)
    settings = run_settings(database, proposals, model, max_per_image)
    return keep_best(
        _scored(database, proposals, model, find_device(device)), database.image_ids, model.classes, settings
    )


def _scored(
    database: ImageDatabase, proposals: ProposalSet, model: FastRCNN, device: torch.device
) -> Iterator[ScoredImage]:
    network = model.network.to(device)
    settings: dict[str, Any] = network.settings
    none = np.empty((0, 4), np.float32)
    with torch.inference_mode(), progress_bar(len(database), f"test {database.name}", "image") as bar:
        for index, image_id in enumerate(database.image_ids):
            boxes = proposals.boxes_of(image_id)
            image = torch.from_numpy(database.load_image(index).transpose(2, 0, 1).copy()).to(device)
            rois = roi_targets(boxes, none, none).to(device)
            logits, outputs = network.of_rows([image], [rois])([torch.arange(len(boxes), device=device)])
            regression, image_size = outputs.cpu().numpy(), tuple(image.shape[1:])

            def correct(rows, cls, boxes=boxes, regression=regression, image_size=image_size) -> np.ndarray:
                remedy = "the network is damaged, so train it anew"
                return correct_rois(boxes[rows], regression[rows], cls, settings["box_stds"], image_size, remedy)

            z = log_odds(logits.cpu().numpy())[:, 1:].astype(np.float32)
            yield ScoredImage(image_id, z, correct, len(database.annotation(index).boxes))
            bar.update()
    network.cpu()
