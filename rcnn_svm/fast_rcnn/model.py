"""A trained `RoIPoolingNetwork` on disk, and what it finds in images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import h5py
import numpy as np
import torch

from rcnn_svm import paper
from rcnn_svm.artefacts.model_file import Model
from rcnn_svm.boxes import apply_box_deltas, clip_boxes
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_set import ScoredImage, keep_best, limits
from rcnn_svm.detection.softmax import log_odds
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.roi_pool import RoIPoolingNetwork
from rcnn_svm.fast_rcnn.targets import roi_targets
from rcnn_svm.features.backbones import RANDOM, weights_digest
from rcnn_svm.features.extract import check_proposals
from rcnn_svm.features.runtime import find_device
from rcnn_svm.progress import progress_bar
from rcnn_svm.proposals.store import ProposalSet


@dataclass(frozen=True)
class FastRCNN(Model):
    """A trained network.

    Attributes:
        network: on the CPU, in evaluation mode.
        training: `identity`: what `FastRCNNTrainer.identity` returned before the training.
    """

    KIND: ClassVar[str] = "Fast R-CNN network"

    network: RoIPoolingNetwork
    training: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """K class names."""
        return self.network.classes

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with any weight."""
        return weights_digest(self.network)[:16]

    def settings(self) -> dict[str, Any]:
        """Return all that a file records of the network but its weights, JSON-able."""
        return {"classes": list(self.classes), "network": self.network.settings, "training": self.training}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights by the names of their datasets."""
        return {f"state/{name}": tensor.numpy() for name, tensor in self.network.state_dict().items()}

    @classmethod
    def _restored(cls, settings: dict[str, Any], datasets: Mapping[str, h5py.Dataset]) -> FastRCNN:
        built = settings["network"]
        sides = {name: built[name] for name in ("short_side", "long_side")}
        network = RoIPoolingNetwork(built["name"], settings["classes"], RANDOM, **sides)
        network.load_state_dict(
            {name: torch.from_numpy(np.asarray(datasets[f"state/{name}"])) for name in network.state_dict()}
        )
        network.settings = built
        return cls(network.eval(), settings["training"])

    def run_settings(
        self, database: ImageDatabase, proposals: ProposalSet, max_per_image: int = paper.MAX_PER_IMAGE
    ) -> dict[str, Any]:
        """Return everything that decides the result of `test`, JSON-able; recorded with it."""
        return {
            "image_set": database.name,
            "proposals": proposals.fingerprint,
            "detector": {"digest": self.digest, "training": self.training},
            **limits(len(database), max_per_image),
        }

    def test(
        self,
        database: ImageDatabase,
        proposals: ProposalSet,
        *,
        device: str = "auto",
        max_per_image: int = paper.MAX_PER_IMAGE,
    ) -> Detections:
        """Score the proposals of every image and keep the best, with corrected boxes.

        Scores are log-odds, as those of `RoIHead`.

        Args:
            database: the images.
            proposals: boxes of all of them.
            device: as for `FastRCNNTrainer`.
            max_per_image: boxes of a class to keep in one image.

        Raises:
            InputError: proposals that do not fit the images, an image that cannot be read, scores that are not finite.

        Source: Fast R-CNN section 3.
        """
        check_proposals(database, proposals)
        return keep_best(
            self._scored(database, proposals, find_device(device)),
            database.image_ids,
            self.network.classes,
            self.run_settings(database, proposals, max_per_image),
        )

    def _scored(self, database: ImageDatabase, proposals: ProposalSet, device: torch.device) -> Iterator[ScoredImage]:
        network = self.network.to(device)
        none = np.empty((0, 4), np.float32)
        with torch.inference_mode(), progress_bar(len(database), f"test {database.name}", "image") as bar:
            for index, image_id in enumerate(database.image_ids):
                boxes = proposals.boxes_of(image_id)
                image = torch.from_numpy(database.load_image(index).transpose(2, 0, 1).copy()).to(device)
                rois = roi_targets(boxes, none, none).to(device)
                logits, regression = network.of_rows([image], [rois])([torch.arange(len(boxes), device=device)])
                z = log_odds(logits.cpu().numpy())[:, 1:].astype(np.float32)
                correct = _Correction(self.network, boxes, regression.cpu().numpy(), tuple(image.shape[1:]))
                yield ScoredImage(image_id, z, correct, len(database.annotation(index).boxes))
                bar.update()
        network.cpu()


@dataclass(frozen=True)
class _Correction:
    """Corrects proposals of an image by what the network predicts for them."""

    network: RoIPoolingNetwork
    boxes: np.ndarray
    regression: np.ndarray
    image_size: tuple[int, int]

    def __call__(self, rows: np.ndarray, cls: np.ndarray) -> np.ndarray:
        by_class = self.regression[rows].reshape(len(rows), len(self.network.classes) + 1, 4)
        deltas = by_class[np.arange(len(rows)), cls + 1].astype(np.float64) * self.network.settings["box_stds"]
        if not np.isfinite(deltas).all():
            raise InputError("corrections of boxes are not finite numbers; the network is damaged, so train it anew")
        return clip_boxes(apply_box_deltas(self.boxes[rows], deltas), self.image_size)
