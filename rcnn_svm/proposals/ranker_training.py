"""Training of a `ProposalRanker`: every stage learns from what the stages before it make of the training images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from sklearn.base import BaseEstimator

from rcnn_svm import paper
from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.artefacts.files import fingerprint
from rcnn_svm.boxes import box_deltas, clip_boxes, iou_matrix
from rcnn_svm.data import ImageDatabase
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import SEED, check_parameters, checks, real, whole
from rcnn_svm.progress import progress_bar
from rcnn_svm.proposals.box_features import box_features
from rcnn_svm.proposals.methods import MIN_OBJECTS
from rcnn_svm.proposals.ranker import OUTPUTS, STAGES, WINDOWS, ProposalRanker
from rcnn_svm.threads import in_threads, one_thread

# Boxes of an image that a stage learns from: some at random, in the first stage also windows near objects, and copies
# of every object whose corners are moved by this share of its sides. Later stages see boxes that are nearer.
RANDOM_BOXES = (200, 250, 250)
NEAR_WINDOWS = 100
COPIES = 4
MOVED_BY = (0.12, 0.08, 0.05)
# Boxes that overlap an object by more than this learn where it is.
NEAR_IOU = 0.4
_SMALLEST = 4  # pixels; a copy of an object that is smaller says nothing of it
_CONSTANT = 1e-5  # a number of boxes that varies by less is the same in all of them
_BETA = 0.1  # of the smooth L1 loss: beyond this error its gradient is constant

T = TypeVar("T")


class Maps(Protocol):
    """Makes the maps of an image, as `ImageMaps` does."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides the maps, JSON-able."""

    def __call__(self, image: np.ndarray, /) -> list[np.ndarray]:
        """Return the maps, (C, H, W) float32 each, of an image, (H, W, 3) uint8 RGB."""


class Examples(NamedTuple):
    """What a stage learns from.

    Attributes:
        features: (N, D) float32.
        iou: (N,) float32, with the nearest object of any class.
        deltas: (N, 4) float32, dx dy dw dh to that object.
    """

    features: np.ndarray
    iou: np.ndarray
    deltas: np.ndarray


class _Seen(NamedTuple):
    """An image as it is learnt from: its maps, in half precision to save memory, its size, and its objects."""

    maps: list[np.ndarray]
    size: tuple[int, int]
    objects: np.ndarray

    def read_maps(self) -> list[np.ndarray]:
        """Return the maps as `ProposalRanker` takes them, (C, H, W) float32."""
        return [values.astype(np.float32) for values in self.maps]


class RankerTrainer(BaseEstimator):
    """Trains a `ProposalRanker` on the boxes of an image set, of whatever class.

    Args:
        hidden: H, length of the hidden layer of a stage.
        epochs: passes over the examples of a stage.
        batch_size: examples per step.
        learning_rate: largest learning rate of the one cycle.
        weight_decay: of AdamW.
        dropout: share of the hidden layer that a step leaves out.
        max_images: learn from so many images at most, drawn by the seed, which bounds the memory: 2 to 4 GB for 1,000.
        seed: decides images, boxes, first weights and steps.

    Attributes set by `fit`:
        ranker_: the trained `ProposalRanker`.

    Source: ours; stages that learn from what those before them moved are as in Cascade R-CNN (Cai & Vasconcelos, 2018).
    """

    PARAMETER_CHECKS = checks(
        hidden=whole(at_least=1),
        epochs=whole(at_least=1),
        batch_size=whole(at_least=1),
        learning_rate=real(above=0),
        weight_decay=real(at_least=0),
        dropout=real(at_least=0, below=1),
        max_images=whole(at_least=1),
        seed=SEED,
    )

    def __init__(
        self,
        *,
        hidden: int = 128,
        epochs: int = 6,
        batch_size: int = 1024,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        dropout: float = 0.2,
        max_images: int = 1000,
        seed: int = paper.SEED,
    ):
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.max_images = max_images
        self.seed = seed

    def fit(
        self, database: ImageDatabase, maps: Maps, *, jobs: int = 1, checkpoint: str | Path | None = None
    ) -> RankerTrainer:
        """Train on an image set.

        Args:
            database: images and objects, difficult ones too.
            maps: image -> maps, an `ImageMaps`.
            jobs: images worked on at once, each in a thread; the result does not depend on it.
            checkpoint: file where stages that are done are kept; a training that finds one of its own goes on from
                there. Delete it when the result is safe.

        Raises:
            InputError: a parameter is out of range, there are too few objects, an image cannot be read, or the
                checkpoint is of another training.
        """
        check_parameters(self)
        identity = self.identity(database, maps)
        images = self._images(database)
        kept = None if checkpoint is None else Checkpoint(checkpoint, identity)
        stages: list[tuple[np.ndarray, ...]] = []
        if kept and kept.exists():
            stages = kept.resume(_restored_stages)
        if len(stages) < STAGES:
            seen = _see(database, images, maps, jobs)
            boxes = [WINDOWS.windows(image.size) for image in seen]
            for stage in range(len(stages)):
                boxes = _moved(stage, _ranker(stages), seen, boxes, jobs)
        for stage in range(len(stages), STAGES):
            stages.append(self._learn(stage, self._examples(stage, seen, boxes, jobs)))
            if stage + 1 < STAGES:
                boxes = _moved(stage, _ranker(stages), seen, boxes, jobs)
            if kept:
                kept.save(len(stages), _ranker(stages).arrays())
        training = {
            "identity": identity,
            "image_set": database.name,
            "num_images": len(images),
            "num_objects": sum(len(database.annotation(i).boxes) for i in images),
        }
        self.ranker_ = _ranker(stages, dict(maps.settings), training)
        return self

    def identity(self, database: ImageDatabase, maps: Maps) -> dict[str, Any]:
        """Return what decides the result of a training: parameters, images with their boxes, and the maps."""
        return {
            "parameters": self.get_params(),
            "maps": dict(maps.settings),
            "database": database.name,
            "images": fingerprint([database.source_digest(i) for i in range(len(database))]),
        }

    def _images(self, database: ImageDatabase) -> list[int]:
        """Return the images to learn from: those that have objects, at most `max_images`.

        Raises:
            InputError: they have too few.
        """
        counts = [len(database.annotation(i).boxes) for i in range(len(database))]
        if sum(counts) < MIN_OBJECTS:
            raise InputError(
                f"{database.name} has {sum(counts)} objects, and an order of proposals is learnt from "
                f"{MIN_OBJECTS} or more; take selective search in its own order (propose --method fast)"
            )
        images = np.flatnonzero(counts)
        if len(images) > self.max_images:
            images = np.sort(np.random.default_rng(self.seed).choice(images, self.max_images, replace=False))
        return images.tolist()

    def _examples(self, stage: int, seen: Sequence[_Seen], boxes: Sequence[np.ndarray], jobs: int) -> Examples:
        """Return the examples of a stage; `boxes` of every image are those that the stages before it leave."""

        def of_image(number: int) -> Examples:
            image = seen[number]
            rng = np.random.default_rng([self.seed, stage, number])
            return _labelled(image.read_maps(), _choose(stage, boxes[number], image, rng), image)

        found = _collected(of_image, range(len(seen)), jobs, f"ranker, examples of stage {stage + 1} of {STAGES}")
        return Examples(*(np.concatenate(values) for values in zip(*found, strict=True)))

    def _learn(self, stage: int, examples: Examples) -> tuple[np.ndarray, ...]:
        """Return the weights of a stage, in the order of `ProposalRanker.ARRAYS`."""
        import torch
        from torch import nn

        near = examples.iou > NEAR_IOU
        mean, std = examples.features.mean(axis=0), examples.features.std(axis=0)
        # A number that is the same everywhere, as the aspect of images of one size, tells nothing here and would decide
        # everything where it is another: it has no weight.
        varies = np.ptp(examples.features, axis=0) > _CONSTANT
        std = np.where(varies, std, 1).astype(np.float32)
        spread = examples.deltas[near].std(axis=0) + 1e-6
        scaled = examples.features  # in place: they are the largest array of the training
        scaled -= mean
        scaled /= std
        features = torch.from_numpy(scaled)
        # Of other boxes no move is learnt, and theirs may be of any size.
        deltas = np.where(near[:, None], examples.deltas / spread, 0)
        targets = torch.from_numpy(np.column_stack([examples.iou, deltas]))
        teaches = torch.from_numpy(near.astype(np.float32))
        # One thread: the sums of a step, and with them all weights, do not depend on the machine's cores.
        with torch.random.fork_rng(devices=[]), one_thread():
            torch.manual_seed(self.seed + stage)
            hidden, last = nn.Linear(features.shape[1], self.hidden), nn.Linear(self.hidden, OUTPUTS)
            network = nn.Sequential(hidden, nn.ReLU(), nn.Dropout(self.dropout), last)
            optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
            steps = self.epochs * -(-len(features) // self.batch_size)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, max(2, steps))
            with progress_bar(steps, f"ranker, stage {stage + 1} of {STAGES}", "step") as bar:
                for _ in range(self.epochs):
                    for batch in torch.randperm(len(features)).split(self.batch_size):
                        told, wanted = network(features[batch]), targets[batch]
                        moves = nn.functional.smooth_l1_loss(told[:, 1:], wanted[:, 1:], reduction="none", beta=_BETA)
                        loss = ((told[:, 0] - wanted[:, 0]) ** 2).mean() + (moves.sum(dim=1) * teaches[batch]).mean()
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
                        schedule.step()
                        bar.update()
            weights = [tensor.detach().numpy().T for tensor in (hidden.weight, hidden.bias, last.weight, last.bias)]
        # Features are taken as they are and corrections told as they are: what they were divided by is in the weights.
        scale = np.concatenate([[1.0], spread]).astype(np.float32)
        hidden_W = np.where(varies[:, None], weights[0] / std[:, None], 0)
        return hidden_W, weights[1] - mean @ hidden_W, weights[2] * scale, weights[3] * scale


def _ranker(
    stages: Sequence[tuple[np.ndarray, ...]], maps: dict[str, Any] | None = None, training: dict[str, Any] | None = None
) -> ProposalRanker:
    hidden_W, hidden_b, W, b = (np.stack(values).astype(np.float32) for values in zip(*stages, strict=True))
    return ProposalRanker(hidden_W, hidden_b, W, b, maps or {}, training or {})


def _restored_stages(done: int, arrays: dict[str, np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """Return the stages that a checkpoint holds."""
    # By columns, as training leaves them: the order in memory decides how products are rounded.
    return [tuple(np.asfortranarray(arrays[name][stage]) for name in ProposalRanker.ARRAYS) for stage in range(done)]


def _see(database: ImageDatabase, images: Sequence[int], maps: Maps, jobs: int) -> list[_Seen]:
    def see(i: int) -> _Seen:
        truth = database.annotation(i)
        found = [values.astype(np.float16) for values in maps(database.load_image(i))]
        return _Seen(found, truth.image_size, truth.boxes.astype(np.float32))

    return _collected(see, images, jobs, f"maps {database.name}")


def _moved(
    stage: int, ranker: ProposalRanker, seen: Sequence[_Seen], boxes: Sequence[np.ndarray], jobs: int
) -> list[np.ndarray]:
    """Return the boxes of every image that a stage leaves, of those that it sees."""

    def of_image(number: int) -> np.ndarray:
        return ranker.moved(stage, seen[number].read_maps(), boxes[number], seen[number].size)

    return _collected(of_image, range(len(seen)), jobs, f"ranker, boxes after stage {stage + 1} of {STAGES}")


def _collected(function: Callable[[int], T], images: Sequence[int], jobs: int, description: str) -> list[T]:
    """Return what the function makes of every image, in order, with a progress bar."""
    found = []
    with progress_bar(len(images), description, "image") as bar, closing(in_threads(function, images, jobs)) as results:
        for result in results:
            found.append(result)
            bar.update()
    return found


def _choose(stage: int, boxes: np.ndarray, image: _Seen, rng: np.random.Generator) -> np.ndarray:
    """Return the boxes of an image that a stage learns from, (N, 4) float32."""

    def draw(rows: np.ndarray, count: int) -> np.ndarray:
        return rows[rng.choice(len(rows), min(count, len(rows)), replace=False)]

    chosen = [draw(boxes, RANDOM_BOXES[stage])]
    if stage == 0:
        chosen.append(draw(boxes[iou_matrix(boxes, image.objects).max(axis=1) > NEAR_IOU], NEAR_WINDOWS))
    copies = np.repeat(image.objects, COPIES, axis=0)
    sides = np.tile(copies[:, 2:] - copies[:, :2] + 1, 2)
    copies = clip_boxes(copies + MOVED_BY[stage] * sides * rng.standard_normal(copies.shape), image.size)
    copies = copies[(copies[:, 2:] > copies[:, :2] + _SMALLEST).all(axis=1)]
    return np.concatenate([*chosen, image.objects, copies]).astype(np.float32)


def _labelled(maps: Sequence[np.ndarray], boxes: np.ndarray, image: _Seen) -> Examples:
    overlaps = iou_matrix(boxes, image.objects)
    nearest = image.objects[overlaps.argmax(axis=1)]
    deltas = box_deltas(boxes, nearest).astype(np.float32)
    return Examples(box_features(maps, boxes, image.size), overlaps.max(axis=1).astype(np.float32), deltas)
