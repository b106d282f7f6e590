"""Training of Fast R-CNN end to end, from images and proposals, on one GPU or on many.

Under `torchrun` every process takes two images of its own at every step, so that a step has as many more RoIs as
there are processes; the first of them writes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from rcnn_svm import paper
from rcnn_svm.cache.regions import build_regions
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.descent import Descent, Schedule, step_seed
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.network import COLUMNS, MinibatchLoss
from rcnn_svm.fast_rcnn.roi_pool import RoIPoolingNetwork
from rcnn_svm.fast_rcnn.samplers import SAMPLERS, make_sampler
from rcnn_svm.fast_rcnn.targets import BOX_TARGETS, FIXED, BoxScale, RoITargets, roi_targets
from rcnn_svm.features.extract import check_proposals
from rcnn_svm.features.runtime import find_device
from rcnn_svm.parameters import SEED, check_parameters, checks, one_of, whole
from rcnn_svm.proposals.store import ProposalSet

Sample = tuple[Tensor, RoITargets]


class FastRCNNTrainer:
    """Trains a `RoIPoolingNetwork` in place.

    Args:
        sampler: which RoIs of an image take part in a step, as for `RoIHeadTrainer`.
        schedule: number and size of the steps.
        images_per_batch: N, images of a step, in every process.
        rois_per_image: R / N, RoIs of an image that a step uses at most, as for `RoIHeadTrainer`.
        box_targets: as for `RoIHeadTrainer`, over images and their mirrors.
        seed: seeds the order of images, mirrors, draws of RoIs and dropout.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.
        workers: processes that read images.

    Raises:
        InputError: a parameter that means nothing.

    Source: Fast R-CNN section 2.3.
    """

    PARAMETER_CHECKS = checks(
        sampler=one_of(SAMPLERS),
        images_per_batch=whole(at_least=1),
        rois_per_image=whole(at_least=1),
        box_targets=one_of(BOX_TARGETS),
        seed=SEED,
        workers=whole(at_least=0),
    )

    def __init__(
        self,
        *,
        sampler: str = "heuristic",
        schedule: Schedule | None = None,
        images_per_batch: int = paper.IMAGES_PER_BATCH,
        rois_per_image: int = paper.ROIS_PER_IMAGE,
        box_targets: str = FIXED,
        seed: int = paper.SEED,
        device: str = "auto",
        workers: int = 2,
    ):
        self.sampler = sampler
        self.schedule = schedule or Schedule()
        self.images_per_batch = images_per_batch
        self.rois_per_image = rois_per_image
        self.box_targets = box_targets
        self.seed = seed
        self.device = find_device(device)
        self.workers = workers
        check_parameters(self)

    def identity(self, network: RoIPoolingNetwork, database: ImageDatabase, proposals: ProposalSet) -> dict[str, Any]:
        """Return what decides the weights after `fit`, JSON-able. Ask before `fit`; this reads every image."""
        names = ["sampler", "images_per_batch", "rois_per_image", "seed"]
        if self.box_targets != FIXED:
            names.append("box_targets")
        return {
            "parameters": {**{name: getattr(self, name) for name in names}, **vars(self.schedule)},
            "processes": world_size(),
            "network": network.settings,
            "classes": list(network.classes),
            "image_set": database.name,
            "images": database.digest(),
            "proposals": proposals.fingerprint,
        }

    def fit(
        self,
        network: RoIPoolingNetwork,
        database: ImageDatabase,
        proposals: ProposalSet,
        *,
        checkpoint: str | Path | None = None,
        checkpoint_seconds: float = 300.0,
    ) -> dict[str, np.ndarray]:
        """Train a network in place, and leave it on the CPU, ready for evaluation.

        Args:
            network: the network as built; every process must have built the same.
            database: the training images.
            proposals: boxes of all its images.
            checkpoint, checkpoint_seconds: as in `Descent.run`.

        Returns:
            `steps` (iterations, 4) and `probes` (0, 3) float32, as `RoIHeadTrainer.history_`; in a group of
            processes, those of this one's images.

        Raises:
            InputError: proposals that do not fit the images, an image that cannot be read, a checkpoint of another
                training, or a loss that grows beyond all bounds.
        """
        check_proposals(database, proposals)
        identity = None if checkpoint is None else self.identity(network, database, proposals)
        network.to(self.device).train()
        loss: torch.nn.Module = MinibatchLoss(network, make_sampler(self.sampler, self.rois_per_image))
        if world_size() > 1:
            loss = DistributedDataParallel(loss)

        def losses(step: int, samples: list[Sample]) -> Tensor:
            seed = step_seed(self.seed, step, rank())
            torch.manual_seed(seed)  # seeds dropout
            images = [image.to(self.device) for image, _ in samples]
            return loss(images, [targets.to(self.device) for _, targets in samples], seed=seed)

        images = _Images(database, proposals)
        if self.box_targets != FIXED:
            images.box_scale = images.measure()

        def batches(steps: range) -> Generator[list[Sample], None, None]:
            return self._batches(images, steps)

        descent = Descent(self.schedule, network, losses, batches, columns=COLUMNS, leads=rank() == 0)
        descent.run(checkpoint=checkpoint, identity=identity, checkpoint_seconds=checkpoint_seconds)
        network.cpu().eval()
        if images.box_scale is not None:
            images.box_scale.fold_into(network.predictor.boxes)
            network.settings = {**network.settings, "box_stds": [1.0, 1.0, 1.0, 1.0]}
        return {"steps": descent.history, "probes": descent.probes}

    def _batches(self, images: _Images, steps: range) -> Generator[list[Sample], None, None]:
        """Yield the images of each step; they depend on seed, step and process alone."""
        loader = DataLoader(
            images,
            batch_sampler=list(self._draws(len(images), steps)),
            num_workers=self.workers,
            collate_fn=list,
            worker_init_fn=_ignore_interrupt,
        )
        for samples in loader:
            for sample in samples:
                if isinstance(sample, InputError):
                    raise sample
            yield samples

    def _draws(self, num_images: int, steps: range) -> Iterator[list[tuple[int, bool]]]:
        """Yield the image indices of each step, each with whether it is mirrored."""
        order: DistributedSampler[int] = DistributedSampler(
            range(num_images),  # type: ignore[arg-type]  # it asks for the length alone
            num_replicas=world_size(),
            rank=rank(),
            shuffle=True,
            seed=self.seed,
        )
        count, epoch, images = self.images_per_batch, -1, []
        for step in steps:
            chosen = []
            for n in range(step * count, (step + 1) * count):
                if n // len(order) != epoch:
                    epoch = n // len(order)
                    order.set_epoch(epoch)
                    images = list(order)
                chosen.append(images[n % len(order)])
            mirrored = (
                np.random.default_rng(step_seed(self.seed, step, rank())).random(count) < paper.MIRROR_PROBABILITY
            )
            yield list(zip(chosen, mirrored.tolist(), strict=True))


class _Images(Dataset):
    """Images with the targets of their RoIs: ground truth first, then the proposals.

    Attributes:
        box_scale: normalises the box targets, as in `roi_targets`.
    """

    def __init__(self, database: ImageDatabase, proposals: ProposalSet):
        self._database = database
        self._proposals = proposals
        self.box_scale: BoxScale | None = None

    def __len__(self) -> int:
        return len(self._database)

    def measure(self) -> BoxScale:
        """Return mean and standard deviation of the box targets of every class, over all images and their mirrors."""
        num_classes = len(self._database.classes)
        plain = BoxScale.plain(num_classes)
        draws = ((index, mirrored) for index in range(len(self)) for mirrored in (False, True))
        return BoxScale.of_images((self._targets(*draw, plain) for draw in draws), num_classes)

    def __getitem__(self, draw: tuple[int, bool]) -> Sample | InputError:
        try:
            return self._sample(*draw)
        except InputError as error:
            return error  # raised in a worker it would come out as a traceback

    def _sample(self, index: int, mirrored: bool) -> Sample:
        image = self._database.load_image(index)
        if mirrored:
            image = image[:, ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return pixels, self._targets(index, mirrored, self.box_scale)

    def _targets(self, index: int, mirrored: bool, scale: BoxScale | None) -> RoITargets:
        database, image_id = self._database, self._database.image_ids[index]
        annotation = database.annotation(index)
        regions = build_regions(image_id, annotation, self._proposals.boxes_of(image_id), len(database.classes))
        boxes = regions.boxes
        if mirrored:
            last = annotation.image_size[1] - 1
            boxes = np.stack([last - boxes[:, 2], boxes[:, 1], last - boxes[:, 0], boxes[:, 3]], axis=1)
        return roi_targets(boxes, boxes[regions.gt], regions.label[regions.gt], scale)


def _ignore_interrupt(worker: int) -> None:
    """Leave Ctrl-C, which reaches every process, to the one that trains: it needs its images until a step has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def rank() -> int:
    """Return the number of this process in its group; 0 without one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes that train together; 1 without a group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the group that `torchrun` describes in the environment, where it does, each process with its own GPU."""
    if not distributed.is_torchelastic_launched():
        yield
        return
    cuda = find_device(device).type == "cuda"
    if cuda:
        local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= count:
            raise InputError(f"torchrun started more processes than there are GPUs; give --nproc-per-node {count}")
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()
