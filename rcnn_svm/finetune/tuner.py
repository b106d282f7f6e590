"""Fine-tuning: stochastic gradient descent on the softmax loss of warped windows."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rcnn_svm import paper
from rcnn_svm.artefacts.files import fingerprint
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.errors import InputError
from rcnn_svm.features.runtime import find_device
from rcnn_svm.finetune.checkpoint import load_checkpoint, save_checkpoint
from rcnn_svm.finetune.crops import crop_batches
from rcnn_svm.finetune.image_cache import ImageCache
from rcnn_svm.finetune.interrupt import held_interrupt
from rcnn_svm.finetune.network import FineTuneNetwork, parameter_groups, set_training_mode
from rcnn_svm.finetune.windows import MinibatchSampler, Windows
from rcnn_svm.progress import progress_bar
from rcnn_svm.proposals.store import ProposalSet

# Reading the loss waits for the GPU, so it is not done at every iteration.
ITERATIONS_SHOWN = 20


class FineTuner:
    """Trains a network to tell the windows of K classes and the background apart.

    Args:
        iterations: steps; the paper saw no gain after about 40,000.
        batch_size: windows of a step.
        foreground: of these on objects (IoU of at least 0.5), over all classes; the rest is background.
        lr: learning rate of the old weights, 1/10 of that of the pre-training.
        momentum: of the descent.
        weight_decay: of weights, not of biases.
        step: iterations after which the learning rate falls to a tenth, again and again.
        seed: of the windows drawn and of dropout.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.
        image_cache_bytes: bytes of decoded images to keep.

    Source: R-CNN section 2.3, `pascal_finetune_solver.prototxt`. Caffe applies the learning rate before the momentum,
    torch after it: they differ for some ten steps after each fall of the rate.
    """

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
        if not 1 <= foreground < batch_size:
            raise InputError(
                f"foreground = {foreground} of batch_size = {batch_size} windows leaves no windows of one kind; "
                "it must be at least 1 and less than the batch size"
            )
        for name, value in (("iterations", iterations), ("step", step)):
            if value < 1:
                raise InputError(f"{name} = {value} must be at least 1")
        if not 0 < lr < float("inf"):
            raise InputError(f"lr = {lr} must be a number above 0")
        if not 0 <= momentum < 1:
            raise InputError(f"momentum = {momentum} must be at least 0 and less than 1")
        if not 0 <= weight_decay < float("inf"):
            raise InputError(f"weight_decay = {weight_decay} must be a number of at least 0")
        if not 0 <= seed < 2**31:
            raise InputError(f"seed = {seed} must be between 0 and {2**31 - 1}")
        self.iterations = iterations
        self.batch_size = batch_size
        self.foreground = foreground
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.step = step
        self.seed = seed
        self.device = find_device(device)
        self.image_cache_bytes = image_cache_bytes

    def identity(self, network: FineTuneNetwork, database: ImageDatabase, proposals: ProposalSet) -> dict[str, Any]:
        """Return what decides the weights after `fit`, JSON-able; to be asked before it, and reads every image."""
        names = ("iterations", "batch_size", "foreground", "lr", "momentum", "weight_decay", "step", "seed")
        return {
            "parameters": {name: getattr(self, name) for name in names},
            "network": network.settings,
            "classes": list(network.classes),
            "image_set": database.name,
            "images": fingerprint([database.source_digest(i) for i in range(len(database))]),
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
            checkpoint: file where progress is kept, the end and a Ctrl-C included; a training that finds one of its
                own goes on from there. To be deleted when the result is safe.
            checkpoint_seconds: shortest time between two other checkpoints.

        Returns:
            (iterations, 3) float32: loss, share of windows classified correctly, and the same of those on objects,
            over each mini-batch before its step.

        Raises:
            InputError: proposals that do not fit the images, an image that cannot be read, a checkpoint of another
                training, or a loss that grows beyond all bounds.
        """
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(cuda):
            torch.manual_seed(self.seed)
            return _Training(self, network, database, proposals, checkpoint, checkpoint_seconds).run()

    def lr_at(self, iteration: int) -> float:
        """Return the learning rate of the old weights at an iteration, counted from 0."""
        return self.lr * paper.LR_DECAY ** (iteration // self.step)


class _Training:
    """The state of one run of `FineTuner.fit`."""

    def __init__(self, tuner, network, database, proposals, checkpoint, checkpoint_seconds):
        self.tuner = tuner
        self.network = network
        self.device = tuner.device
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.checkpoint_seconds = checkpoint_seconds
        self.identity = None if checkpoint is None else tuner.identity(network, database, proposals)
        self.images = ImageCache(database.load_image, tuner.image_cache_bytes)
        self.sampler = MinibatchSampler(
            Windows(database, proposals), batch_size=tuner.batch_size, foreground=tuner.foreground, seed=tuner.seed
        )
        network.module.to(self.device)
        self.optimizer = torch.optim.SGD(
            parameter_groups(network, tuner.lr, tuner.weight_decay), lr=tuner.lr, momentum=tuner.momentum
        )
        self.history = torch.zeros(tuner.iterations, 3, device=self.device)
        self.done = 0

    def run(self) -> np.ndarray:
        """Take all steps that are left."""
        if self.checkpoint is not None and self.checkpoint.exists():
            self._restore()
        total = self.tuner.iterations
        set_training_mode(self.network.module)
        saved = time.monotonic()
        with (
            closing(crop_batches(self.sampler, self.images, self.network, self.device, total - self.done)) as batches,
            progress_bar(total, "fine-tuning", "step", initial=self.done) as bar,
            held_interrupt() as interrupted,
        ):
            for batch in batches:
                self.history[self.done] = self._step(batch.crops, batch.labels)
                self.done += 1
                if self.done % ITERATIONS_SHOWN == 0 or self.done == total:
                    loss, accuracy, on_objects = self._recent()
                    bar.set_postfix_str(
                        f"loss {loss:.3f}, accuracy {100 * accuracy:.1f} %, foreground {100 * on_objects:.1f} %",
                        refresh=False,
                    )
                bar.update()
                due = interrupted() or self.done == total or time.monotonic() - saved >= self.checkpoint_seconds
                if self.checkpoint is not None and due:
                    self._save(batch.sampler_state)
                    saved = time.monotonic()
                if interrupted() and self.done < total:
                    raise KeyboardInterrupt
        self.network.module.cpu().eval()
        return self.history.cpu().numpy()

    def _step(self, crops: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take one step and return the loss and the two accuracies before it, (3,) float32."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.tuner.lr_at(self.done) * group["lr_factor"]
        scores = self.network.module(crops)
        loss = nn.functional.cross_entropy(scores, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        correct = (scores.detach().argmax(dim=1) == labels).float()
        on_objects = labels > 0
        return torch.stack([loss.detach(), correct.mean(), (correct * on_objects).sum() / on_objects.sum()])

    def _recent(self) -> list[float]:
        """Return the means of the history's columns over the latest steps.

        Raises:
            InputError: the loss has grown beyond all bounds.
        """
        recent = self.history[max(self.done - ITERATIONS_SHOWN, 0) : self.done].mean(dim=0)
        if not torch.isfinite(recent).all():
            raise InputError(
                f"the loss has grown beyond all bounds before step {self.done} at a learning rate of "
                f"{self.tuner.lr_at(self.done - 1):g}; fine-tune anew with a lower one"
            )
        return recent.tolist()

    def _save(self, sampler_state: str) -> None:
        self._recent()  # no checkpoint shall hold weights that are lost
        state = {
            "done": self.done,
            "module": self.network.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "sampler": sampler_state,
            "random": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self.device)
        save_checkpoint(self.checkpoint, self.identity, state)

    def _restore(self) -> None:
        state = load_checkpoint(self.checkpoint, self.identity)
        self.done = state["done"]
        self.network.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history.copy_(state["history"])
        self.sampler.state = state["sampler"]
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
