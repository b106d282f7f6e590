"""Which windows a mini-batch consists of: a quarter on objects, the rest on background, from all images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rcnn_svm import paper
from rcnn_svm.cache.regions import build_regions, keys_of
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.errors import InputError
from rcnn_svm.features.extract import check_proposals
from rcnn_svm.progress import progress_bar
from rcnn_svm.proposals.store import ProposalSet


class Windows:
    """All windows of an image set: the ground-truth boxes of every image, then its proposals.

    Args:
        database: the image set.
        proposals: boxes of all its images.

    Attributes:
        image_start: (I + 1,) int64; windows image_start[i]:image_start[i + 1] belong to image i.
        labels: (N,) int16, 0 for background, c + 1 for an object of class c: the class of the largest IoU, if that
            is at least 0.5.
        foreground, background: int64, the windows with a label and those without.

    Raises:
        InputError: proposals that do not fit the image set, or no window of one of the two kinds.

    Source: `rcnn_make_window_file.m` and Caffe's `WindowDataLayer`. There the IoU passes through a text file with
    three decimals, so that 0.4995 is foreground; here it is not.
    """

    def __init__(self, database: ImageDatabase, proposals: ProposalSet):
        check_proposals(database, proposals)
        self._database = database
        self._proposals = proposals
        counts, labels = [], []
        with progress_bar(len(database), "windows", "image") as bar:
            for i, image_id in enumerate(database.image_ids):
                regions = build_regions(
                    image_id, database.annotation(i), proposals.boxes_of(image_id), len(database.classes)
                )
                on_object = regions.overlap.max(axis=1) >= np.float32(paper.FINETUNE_FG_OVERLAP)
                labels.append(np.where(on_object, regions.overlap.argmax(axis=1) + 1, 0).astype(np.int16))
                counts.append(len(regions))
                bar.update()
        self.image_start = np.concatenate([[0], np.cumsum(counts)])
        self.labels = np.concatenate(labels)
        self.foreground = np.flatnonzero(self.labels)
        self.background = np.flatnonzero(self.labels == 0)
        for kind, found in (("on objects", self.foreground), ("on background", self.background)):
            if not len(found):
                raise InputError(
                    f"none of the {len(self.labels)} windows of {database.name} is {kind} (IoU with an object of at "
                    f"least {paper.FINETUNE_FG_OVERLAP}, or below); fine-tuning needs both kinds"
                )

    def __len__(self) -> int:
        return len(self.labels)

    def images_of(self, windows: np.ndarray) -> np.ndarray:
        """Return the image index of every window, (B,) int64."""
        return keys_of(windows, self.image_start)[:, 0]

    def boxes_of(self, windows: np.ndarray) -> np.ndarray:
        """Return the box of every window, (B, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels."""
        boxes = np.empty((len(windows), 4), np.float32)
        for place, (image, row) in enumerate(keys_of(windows, self.image_start)):
            objects = self._database.annotation(image).boxes
            if row < len(objects):
                boxes[place] = objects[row]
            else:
                boxes[place] = self._proposals.boxes_of(self._database.image_ids[image])[row - len(objects)]
        return boxes


@dataclass(frozen=True)
class Minibatch:
    """The windows of one step.

    Attributes:
        images: (B,) int64, image indices.
        boxes: (B, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        labels: (B,) int64, 0 for background, c + 1 for class c.
        mirrored: (B,) bool, the crop is to be flipped left to right.
    """

    images: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    mirrored: np.ndarray


class MinibatchSampler:
    """Draws mini-batches: so many windows on objects, over all classes and images, and the rest on background.

    Every window of its kind is equally likely at every draw, as in the original; so few windows on objects repeat.

    Args:
        windows: what to draw from.
        batch_size: B, windows of a mini-batch.
        foreground: number of the windows that are on objects.
        seed: seeds the draws, each together with its step.

    Source: R-CNN section 2.3, Caffe's `WindowDataLayer`.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        batch_size: int = paper.FINETUNE_BATCH_SIZE,
        foreground: int = paper.FINETUNE_FOREGROUND,
        seed: int = paper.SEED,
    ):
        self._windows = windows
        self._batch_size = batch_size
        self._foreground = foreground
        self._seed = seed

    def draw(self, step: int) -> Minibatch:
        """Return the mini-batch of a step, objects first; it depends on the seed and the step alone."""
        random = np.random.default_rng([self._seed, step])
        pools = (self._windows.foreground, self._windows.background)
        counts = (self._foreground, self._batch_size - self._foreground)
        chosen = np.concatenate(
            [pool[random.integers(len(pool), size=count)] for pool, count in zip(pools, counts, strict=True)]
        )
        return Minibatch(
            images=self._windows.images_of(chosen),
            boxes=self._windows.boxes_of(chosen),
            labels=self._windows.labels[chosen].astype(np.int64),
            mirrored=random.random(self._batch_size) < paper.MIRROR_PROBABILITY,
        )
