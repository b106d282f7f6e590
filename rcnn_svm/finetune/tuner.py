"""Fine-tuning: stochastic gradient descent on the softmax loss of warped windows."""

from __future__ import annotations

import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rcnn_svm import paper
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.descent import Columns, Descent, Schedule, step_seed
from rcnn_svm.errors import InputError
from rcnn_svm.features.runtime import find_device
from rcnn_svm.finetune.crops import CropBatch, crop_batches
from rcnn_svm.finetune.image_cache import ImageCache
from rcnn_svm.finetune.network import FineTuneNetwork, set_training_mode
from rcnn_svm.finetune.windows import MinibatchSampler, Windows
from rcnn_svm.parameters import SEED, check_parameters, checks, whole
from rcnn_svm.proposals.store import ProposalSet

COLUMNS = Columns(
    ("loss", "accuracy", "foreground_accuracy"),
    num_losses=1,
    shown="loss {loss:.3f}, accuracy {accuracy:.1%}, foreground {foreground_accuracy:.1%}",
)


class FineTuner:
    """Trains a network to classify windows as one of K classes or background.

    Args:
        iterations: number of steps; the paper saw no gain after about 40,000.
        batch_size: windows of a step.
        foreground: number of the windows that are on objects (IoU of at least 0.5), over all classes; the rest is
            background.
        lr: learning rate of the old weights, 1/10 of that of the pre-training.
        momentum, weight_decay: as in `Schedule`.
        step: iterations after which the learning rate falls to a tenth, again and again.
        seed: seeds the draws of windows and dropout.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.
        image_cache_bytes: bytes of decoded images to keep.

    Raises:
        InputError: a parameter out of range.

    Source: R-CNN section 2.3, `pascal_finetune_solver.prototxt`.
    """

    PARAMETER_CHECKS = checks(
        batch_size=whole(at_least=2),
        foreground=whole(at_least=1),
        seed=SEED,
        image_cache_bytes=whole(at_least=0),
    )

    def __init__(
        self,
        *,
        iterations: int = paper.FINETUNE_ITERATIONS,
        batch_size: int = paper.FINETUNE_BATCH_SIZE,
        foreground: int = paper.FINETUNE_FOREGROUND,
        lr: float = paper.LR,
        momentum: float = paper.MOMENTUM,
        weight_decay: float = paper.WEIGHT_DECAY,
        step: int = paper.FINETUNE_STEP,
        seed: int = paper.SEED,
        device: str = "auto",
        image_cache_bytes: int = 2_000_000_000,
    ):
        self.schedule = Schedule(iterations, lr, momentum, weight_decay, step)
        self.batch_size = batch_size
        self.foreground = foreground
        self.seed = seed
        self.device = find_device(device)
        self.image_cache_bytes = image_cache_bytes
        check_parameters(self)
        if foreground >= batch_size:
            raise InputError(
                f"foreground = {foreground} must be less than batch_size = {batch_size}, so that some windows show the "
                "background"
            )

    def identity(self, network: FineTuneNetwork, database: ImageDatabase, proposals: ProposalSet) -> dict[str, Any]:
        """Return what decides the weights after `fit`, JSON-able. Ask before `fit`; this reads every image."""
        drawn = {"batch_size": self.batch_size, "foreground": self.foreground, "seed": self.seed}
        return {
            "parameters": {**vars(self.schedule), **drawn},
            "network": network.settings,
            "classes": list(network.classes),
            "image_set": database.name,
            "images": database.digest(),
            "proposals": proposals.fingerprint,
        }

    def fit(
        self,
        network: FineTuneNetwork,
        database: ImageDatabase,
        proposals: ProposalSet,
        *,
        checkpoint: str | Path | None = None,
        checkpoint_seconds: float = 300.0,
    ) -> np.ndarray:
        """Train a network in place, and leave it on the CPU, ready for evaluation.

        The same network, settings and data give the same weights, to the last bit on a CPU with the same number of
        threads, however often the training was interrupted.

        Args:
            network: as `build_network` returned it.
            database: the training images.
            proposals: boxes of all its images.
            checkpoint, checkpoint_seconds: as in `Descent.run`.

        Returns:
            (iterations, 3) float32: loss, share of windows classified correctly, and the same of those on objects,
            over each mini-batch before its step.

        Raises:
            InputError: proposals that do not fit the images, an image that cannot be read, a checkpoint of another
                training, or a loss that grows beyond all bounds.
        """
        if checkpoint is not None:
            _refuse_earlier(Path(checkpoint))
        sampler = MinibatchSampler(
            Windows(database, proposals), batch_size=self.batch_size, foreground=self.foreground, seed=self.seed
        )
        images = ImageCache(database.load_image, self.image_cache_bytes)
        identity = None if checkpoint is None else self.identity(network, database, proposals)
        network.module.to(self.device)
        set_training_mode(network.module)

        def losses(step: int, batch: CropBatch) -> torch.Tensor:
            torch.manual_seed(step_seed(self.seed, step))  # seeds dropout
            scores = network.module(batch.crops)
            correct = (scores.detach().argmax(dim=1) == batch.labels).float()
            on_objects = batch.labels > 0
            return torch.stack(
                [
                    nn.functional.cross_entropy(scores, batch.labels),
                    correct.mean(),
                    (correct * on_objects).sum() / on_objects.sum(),
                ]
            )

        def batches(steps: range) -> Generator[CropBatch, None, None]:
            return crop_batches(sampler, images, network, self.device, steps)

        descent = Descent(
            self.schedule,
            network.module,
            losses,
            batches,
            columns=COLUMNS,
            lr_factors=new_layer_rate(network),
            title="fine-tuning",
        )
        descent.run(checkpoint=checkpoint, identity=identity, checkpoint_seconds=checkpoint_seconds)
        network.module.cpu().eval()
        return descent.history


def new_layer_rate(network: FineTuneNetwork) -> dict[str, float]:
    """Return the name of the new layer -> its learning rate as a multiple of the others': 10 times as fast.

    Source: R-CNN section 2.3; `blobs_lr` of `fc8_pascal` in `pascal_finetune_train.prototxt`.
    """
    return {network.last_layer: paper.NEW_LAYER_LR}


def _refuse_earlier(checkpoint: Path) -> None:
    """Refuse the checkpoint of a version whose windows followed from those drawn before, not from the step.

    Raises:
        InputError: there is such a checkpoint, a zip file of torch by this name or by the name it had then.
    """
    for path in (checkpoint, checkpoint.with_name("checkpoint.pt")):
        if path.is_file() and zipfile.is_zipfile(path):
            raise InputError(
                f"{path} is the checkpoint of an earlier version of rcnn-svm, which drew other windows; "
                "delete it to start anew"
            )
