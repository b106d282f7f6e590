"""Stochastic gradient descent as Fast R-CNN's, that goes on from a checkpoint to the same end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rcnn_svm import paper
from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.errors import InputError
from rcnn_svm.progress import progress_bar

# Reading the loss waits for a GPU, so it is not done at every step.
STEPS_SHOWN = 20
PROBES = 20


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to descend.

    Attributes:
        iterations: steps.
        lr: learning rate of weights; that of biases is twice as high.
        momentum: of the descent.
        weight_decay: of weights, not of biases.
        step: iterations after which the learning rate falls to a tenth, again and again; after three quarters of the
            descent where None.

    Raises:
        InputError: a number out of range.

    Source: Fast R-CNN section 2.3, "SGD hyper-parameters". Caffe applies the learning rate before the momentum, torch
    after it: they differ for some ten steps after each fall of the rate.
    """

    iterations: int = paper.FAST_RCNN_ITERATIONS
    lr: float = paper.LR
    momentum: float = paper.MOMENTUM
    weight_decay: float = paper.WEIGHT_DECAY
    step: int | None = None

    def __post_init__(self):
        if self.iterations < 1:
            raise InputError(f"iterations = {self.iterations} must be at least 1")
        if self.step is not None and self.step < 1:
            raise InputError(f"step = {self.step} must be at least 1")
        if not 0 < self.lr < float("inf"):
            raise InputError(f"lr = {self.lr} must be a number above 0")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum = {self.momentum} must be at least 0 and less than 1")
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"weight_decay = {self.weight_decay} must be a number of at least 0")

    def lr_at(self, iteration: int) -> float:
        """Return the learning rate of weights at an iteration, counted from 0."""
        return self.lr * paper.LR_DECAY ** (iteration // (self.step or max(3 * self.iterations // 4, 1)))


class Descent:
    """Takes the steps of a schedule.

    What a step does depends on the weights, the momentum and the number of the step alone.

    Args:
        schedule: how long and how fast.
        module: its parameters that require gradients are trained, in place.
        losses: step -> (4,), classification and box loss with gradient, number of RoIs, of these foreground.
        device: where the module lies.
        probe: returns the two losses of RoIs that stay the same throughout, (2,); asked at 21 points of the
            descent, its beginning and end among them.
        leads: False in all processes but the first of a group that trains together: it shows and writes nothing.

    Attributes:
        history: (iterations, 4) float32, what `losses` returned.
        probes: (n, 3) float32, step and what `probe` returned before it; empty without one.
    """

    def __init__(
        self,
        schedule: Schedule,
        module: nn.Module,
        losses: Callable[[int], torch.Tensor],
        *,
        device: torch.device,
        probe: Callable[[], torch.Tensor] | None = None,
        leads: bool = True,
    ):
        self._schedule = schedule
        self._losses = losses
        self._probe = probe
        self._leads = leads
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.SGD(self._groups(), momentum=schedule.momentum)
        self._history = torch.zeros(schedule.iterations, 4, device=device)
        points = np.unique(np.linspace(0, schedule.iterations, PROBES + 1).astype(int)) if probe else []
        self.probes = np.full((len(points), 3), np.nan, np.float32)
        self.probes[:, 0] = points
        self._done = 0

    @property
    def history(self) -> np.ndarray:
        """As in the class's attributes."""
        return self._history.cpu().numpy()

    def run(
        self,
        *,
        checkpoint: str | Path | None = None,
        identity: dict[str, Any] | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        """Take all steps that are left.

        Args:
            checkpoint: file where progress is kept, the end included; a descent that finds one of its own goes on
                from there. To be deleted when the result is safe.
            identity: JSON-able, what decides the result; a checkpoint of another one is refused.
            checkpoint_seconds: shortest time between two checkpoints.

        Raises:
            InputError: the checkpoint is of another training, or the loss grows beyond all bounds.
        """
        kept = None if checkpoint is None else Checkpoint(checkpoint, identity)
        if kept is not None and kept.exists():
            self._restore(*kept.load())
        total, saved = self._schedule.iterations, time.monotonic()
        with progress_bar(total, "training", "step", initial=self._done, disable=not self._leads) as bar:
            while self._done < total:
                self._ask_probe()
                self._step()
                self._done += 1
                if self._done % STEPS_SHOWN == 0 or self._done == total:
                    classes, boxes = self._recent()
                    bar.set_postfix_str(f"loss {classes:.3f} + boxes {boxes:.3f}", refresh=False)
                bar.update()
                if kept is not None and self._leads and time.monotonic() - saved >= checkpoint_seconds:
                    self._save(kept)
                    saved = time.monotonic()
        self._check_weights()
        self._ask_probe()
        if kept is not None and self._leads:
            self._save(kept)

    def _groups(self) -> list[dict[str, Any]]:
        """Return weights and biases as groups of the optimizer.

        Source: `lr_mult` and `decay_mult` in Fast R-CNN's `train.prototxt`.
        """
        groups = []
        for is_bias in (False, True):
            mine = [p for name, p in self._parameters.items() if name.endswith("bias") == is_bias]
            decay = 0.0 if is_bias else self._schedule.weight_decay
            groups.append({"params": mine, "lr_factor": paper.BIAS_LR if is_bias else 1.0, "weight_decay": decay})
        return groups

    def _step(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.lr_at(self._done) * group["lr_factor"]
        losses = self._losses(self._done)
        self._optimizer.zero_grad()
        (losses[0] + losses[1]).backward()
        self._optimizer.step()
        self._history[self._done] = losses.detach()

    def _ask_probe(self) -> None:
        # A checkpoint may hold the answer already.
        now = (self.probes[:, 0] == self._done) & np.isnan(self.probes[:, 1])
        if now.any():
            with torch.no_grad():
                self.probes[now, 1:] = self._probe().cpu().numpy()

    def _recent(self) -> list[float]:
        """Return the mean losses of the latest steps.

        Raises:
            InputError: they have grown beyond all bounds.
        """
        recent = self._history[max(self._done - STEPS_SHOWN, 0) : self._done, :2].mean(dim=0)
        if not torch.isfinite(recent).all():
            raise self._lost()
        return recent.tolist()

    def _check_weights(self) -> None:
        """Refuse weights that the latest step has lost, before whatever would keep them.

        Raises:
            InputError: a weight is not finite.
        """
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._parameters.values()):
            raise self._lost()

    def _lost(self) -> InputError:
        if not torch.isfinite(self._history[0, :2]).all():
            return InputError(
                "the very first loss is not a finite number; the features or the weights to begin with are damaged "
                "(the inspect stage verifies a cache)"
            )
        return InputError(
            f"the loss has grown beyond all bounds before step {self._done} at a learning rate of "
            f"{self._schedule.lr_at(self._done - 1):g}; train anew with a lower one"
        )

    def _save(self, kept: Checkpoint) -> None:
        self._check_weights()
        arrays = {"history": self.history, "probes": self.probes}
        for name, parameter in self._parameters.items():
            arrays[f"weights/{name}"] = parameter.detach().cpu().numpy()
            # None without momentum, or where no gradient ever came.
            buffer = self._optimizer.state[parameter].get("momentum_buffer")
            if buffer is not None:
                arrays[f"momentum/{name}"] = buffer.cpu().numpy()
        kept.save(self._done, arrays)

    def _restore(self, done: int, arrays: dict[str, np.ndarray]) -> None:
        self._done = done
        self._history.copy_(torch.from_numpy(arrays["history"]))
        self.probes[...] = arrays["probes"]
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(torch.from_numpy(arrays[f"weights/{name}"]))
                if f"momentum/{name}" in arrays:
                    buffer = torch.from_numpy(arrays[f"momentum/{name}"]).to(parameter)
                    self._optimizer.state[parameter]["momentum_buffer"] = buffer
