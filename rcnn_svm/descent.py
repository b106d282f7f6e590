"""Stochastic gradient descent of every network here: fine-tuning, heads on cached features, Fast R-CNN whole.

A step depends on the weights, the momentum and its own number alone: whatever is drawn at random in a step is seeded
by `step_seed`. A descent that goes on from a checkpoint therefore ends with the weights of one that never stopped, to
the last bit, and a checkpoint holds nothing but weights, momentum and history.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rcnn_svm import paper
from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import NONE, check_parameters, checks, real, whole
from rcnn_svm.progress import progress_bar

# Reading the loss waits for a GPU, so it is not done at every step.
STEPS_SHOWN = 20
PROBES = 20


@dataclass(frozen=True)
class Schedule:
    """How many steps a descent takes, and how large they are.

    Attributes:
        iterations: number of steps.
        lr: learning rate of weights; that of biases is twice as high.
        momentum: part of the last step that is taken again.
        weight_decay: weight of half the squared weights in the loss; biases do not decay.
        step: iterations after which the learning rate falls to a tenth, again and again; three quarters of all
            iterations where None.

    Raises:
        InputError: a number out of range.

    Source: R-CNN section 2.3, `pascal_finetune_solver.prototxt`; Fast R-CNN section 2.3, "SGD hyper-parameters".
    Caffe applies the learning rate before the momentum, torch after it: they differ for some ten steps after each
    fall of the rate.
    """

    PARAMETER_CHECKS = checks(
        iterations=whole(at_least=1),
        lr=real(above=0),
        momentum=real(at_least=0, below=1),
        weight_decay=real(at_least=0),
        step=whole(at_least=1) | NONE,
    )

    iterations: int = paper.FAST_RCNN_ITERATIONS
    lr: float = paper.LR
    momentum: float = paper.MOMENTUM
    weight_decay: float = paper.WEIGHT_DECAY
    step: int | None = None

    def __post_init__(self):
        check_parameters(self)

    def lr_at(self, iteration: int) -> float:
        """Return the learning rate of weights at an iteration, counted from 0."""
        return self.lr * paper.LR_DECAY ** (iteration // (self.step or max(3 * self.iterations // 4, 1)))

    def parameter_groups(
        self, parameters: Mapping[str, nn.Parameter], lr_factors: Mapping[str, float] | None = None
    ) -> list[dict[str, Any]]:
        """Return parameters in groups of one learning rate and decay each, as `torch.optim.SGD` takes them.

        Biases learn twice as fast as the weights of their layer and do not decay.

        Args:
            parameters: name -> parameter, as `named_parameters` names them.
            lr_factors: name of a layer -> learning rate of its weights as a multiple of `lr`; 1 for all others.

        Returns:
            Groups with `params`, `weight_decay` and `lr_factor`, their learning rate as a multiple of `lr_at`.

        Source: `blobs_lr` and `weight_decay` in `pascal_finetune_train.prototxt`, `lr_mult` and `decay_mult` in Fast
        R-CNN's `train.prototxt`.
        """
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in parameters.items():
            layer, _, kind = name.rpartition(".")
            factor, decay = (lr_factors or {}).get(layer, 1.0), self.weight_decay
            if kind.endswith("bias"):
                factor, decay = factor * paper.BIAS_LR, 0.0
            groups.setdefault((factor, decay), []).append(parameter)
        return [{"params": p, "lr_factor": f, "weight_decay": d} for (f, d), p in groups.items()]


@dataclass(frozen=True)
class Columns:
    """What a step of a descent returns and its history keeps.

    Attributes:
        names: C names.
        num_losses: the first so many columns are the parts of the loss; a step descends along their sum.
        shown: text of the progress bar about the latest steps, a format with the names of columns.
    """

    names: tuple[str, ...]
    num_losses: int
    shown: str


class Descent:
    """Takes the steps of a schedule.

    Args:
        schedule: number and size of the steps.
        module: the network whose parameters that require gradients are trained, in place, on their device.
        losses: (step, batch) -> (C,), the columns of that step, the losses among them with gradient.
        batches: yields what `losses` takes, for each of the steps given, in order; it is closed when the descent
            ends or is interrupted.
        columns: what `losses` returns.
        lr_factors: as in `Schedule.parameter_groups`.
        probe: returns the losses over data that stays the same throughout, (num_losses,); called at 21 points of the
            descent, its beginning and end among them.
        leads: False in all processes but the first of a group that trains together: only the first one shows and
            writes progress, and stops at Ctrl-C.
        title: name of the descent in the progress bar.

    Attributes:
        history: (iterations, C) float32, what `losses` returned.
        probes: (n, 1 + num_losses) float32, step and what `probe` returned before it; empty without one.
    """

    def __init__(
        self,
        schedule: Schedule,
        module: nn.Module,
        losses: Callable[[int, Any], Tensor],
        batches: Callable[[range], Generator[Any, None, None]],
        *,
        columns: Columns,
        lr_factors: Mapping[str, float] | None = None,
        probe: Callable[[], Tensor] | None = None,
        leads: bool = True,
        title: str = "training",
    ):
        self._schedule = schedule
        self._losses = losses
        self._batches = batches
        self._columns = columns
        self._probe = probe
        self._leads = leads
        self._title = title
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        groups = schedule.parameter_groups(self._parameters, lr_factors)
        self._optimizer = torch.optim.SGD(groups, momentum=schedule.momentum)
        self._device = next(iter(self._parameters.values())).device
        self._history = torch.zeros(schedule.iterations, len(columns.names), device=self._device)
        points = np.unique(np.linspace(0, schedule.iterations, PROBES + 1).astype(int) if probe else np.empty(0, int))
        self.probes = np.full((len(points), 1 + columns.num_losses), np.nan, np.float32)
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
        """Take all steps that are left. torch's random state is afterwards as before.

        A Ctrl-C is held back until the step has ended and its checkpoint is written; a second one stops at once.

        Args:
            checkpoint: file where progress is kept, the end and a Ctrl-C included; a descent that finds one of its
                own goes on from there. Delete it when the result is safe.
            identity: JSON-able, what decides the result; a checkpoint of another one is refused.
            checkpoint_seconds: shortest time between two other checkpoints.

        Raises:
            InputError: the checkpoint is of another training, or the loss grows beyond all bounds.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        kept = None if checkpoint is None else Checkpoint(checkpoint, identity or {})
        if kept is not None and kept.exists():
            kept.resume(self._restore)
        if not self._leads:
            kept = None
        cuda = [self._device] if self._device.type == "cuda" else []
        with held_interrupt() as interrupted, torch.random.fork_rng(cuda):
            try:
                self._take_steps(kept, checkpoint_seconds, interrupted)
            except RuntimeError:
                # The first process of the group has stopped at Ctrl-C, so that what waits for its gradient fails.
                if not self._leads and interrupted():
                    raise KeyboardInterrupt from None
                raise
            self._check_weights()
            self._ask_probe()
            if kept is not None:
                self._save(kept)
            if self._leads and interrupted():
                raise KeyboardInterrupt

    def _take_steps(self, kept: Checkpoint | None, checkpoint_seconds: float, interrupted: Callable[[], bool]) -> None:
        """Take steps until the last one or Ctrl-C, with checkpoints but for the one that follows the latest step."""
        total, saved = self._schedule.iterations, time.monotonic()
        with (
            contextlib.closing(self._batches(range(self._done, total))) as batches,
            progress_bar(total, self._title, "step", initial=self._done, disable=not self._leads) as bar,
        ):
            for batch in batches:
                self._ask_probe()
                self._step(batch)
                self._done += 1
                if self._done % STEPS_SHOWN == 0 or self._done == total:
                    means = dict(zip(self._columns.names, self._recent(), strict=True))
                    bar.set_postfix_str(self._columns.shown.format(**means), refresh=False)
                bar.update()
                # The others go on until the first one is missing: nobody leaves it in the middle of a step.
                if self._done == total or (self._leads and interrupted()):
                    return
                if kept is not None and time.monotonic() - saved >= checkpoint_seconds:
                    self._save(kept)
                    saved = time.monotonic()

    def _step(self, batch: Any) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.lr_at(self._done) * group["lr_factor"]
        columns = self._losses(self._done, batch)
        self._optimizer.zero_grad()
        columns[: self._columns.num_losses].sum().backward()
        self._optimizer.step()
        self._history[self._done] = columns.detach()

    def _ask_probe(self) -> None:
        # A checkpoint may hold the answer already.
        now = (self.probes[:, 0] == self._done) & np.isnan(self.probes[:, 1])
        if self._probe is not None and now.any():
            with torch.no_grad():
                self.probes[now, 1:] = self._probe().cpu().numpy()

    def _recent(self) -> list[float]:
        """Return the means of the history's columns over the latest steps.

        Raises:
            InputError: the losses have grown beyond all bounds.
        """
        recent = self._history[max(self._done - STEPS_SHOWN, 0) : self._done].mean(dim=0)
        if not torch.isfinite(recent[: self._columns.num_losses]).all():
            raise self._lost()
        return recent.tolist()

    def _check_weights(self) -> None:
        """Refuse weights that the latest step has lost, before a checkpoint or the result keeps them.

        Raises:
            InputError: a weight is not finite.
        """
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._parameters.values()):
            raise self._lost()

    def _lost(self) -> InputError:
        if not torch.isfinite(self._history[0, : self._columns.num_losses]).all():
            return InputError(
                "the very first loss is not a finite number; the inputs or the weights to begin with are damaged "
                "(the inspect stage verifies a feature cache)"
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
        shapes = {"history": tuple(self._history.shape), "probes": self.probes.shape}
        shapes |= {f"weights/{name}": tuple(parameter.shape) for name, parameter in self._parameters.items()}
        for name, shape in shapes.items():
            if arrays[name].shape != shape:  # torch would raise what a lack of memory raises, too
                raise ValueError(f"{name} has shape {arrays[name].shape}, expected {shape}")
        self._done = done
        self._history.copy_(torch.from_numpy(arrays["history"]))
        self.probes[...] = arrays["probes"]
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(torch.from_numpy(arrays[f"weights/{name}"]))
                if f"momentum/{name}" in arrays:
                    buffer = torch.from_numpy(arrays[f"momentum/{name}"]).to(parameter)
                    self._optimizer.state[parameter]["momentum_buffer"] = buffer


def step_seed(seed: int, step: int, *others: int) -> int:
    """Return the seed for what is drawn at random in a step, 32 bits.

    Args:
        seed: seed of the training.
        step: number of the step.
        others: further numbers that make draws different, such as the number of a process.
    """
    return int(np.random.SeedSequence([seed, step, *others]).generate_state(1)[0])


@contextlib.contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold back the first Ctrl-C inside the block; a second one stops at once.

    Outside the main thread, which alone may ask for signals, none is held back.

    Yields:
        A function that returns whether a Ctrl-C is held back; who calls it raises KeyboardInterrupt in time.
    """
    held = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    # None: set by something other than Python, which Python cannot set again.
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield held.is_set
        return

    def hold(*_: object) -> None:
        held.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, hold)
    try:
        yield held.is_set
    finally:
        signal.signal(signal.SIGINT, before)
