"""A pass through part of a network that leaves nothing behind: no gradient, no batch-norm statistics, no mode.

It stands for the read-only copy of the RoI network in OHEM, with the weights of the one that is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from rcnn_svm.errors import InputError

ReadOnlyMode = Literal["train", "same_dropout", "eval"]
READ_ONLY_MODES = ("train", "same_dropout", "eval")

MASKING = frozenset({functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d})
ALPHA = frozenset({functional.alpha_dropout, functional.feature_alpha_dropout})


@contextmanager
def read_only(head: nn.Module, *, evaluation: bool = False) -> Iterator[None]:
    """Within it, passes through a module build no graph and update no batch-norm statistics.

    Batch norm in training mode normalises by the batch it gets, here of all RoIs.

    Args:
        head: the module; all its modes are afterwards as before.
        evaluation: run it in evaluation mode: no dropout, batch norm by its running statistics.
    """
    modes = [(module, module.training) for module in head.modules()]
    tracking = [(module, module.track_running_stats) for module in head.modules() if isinstance(module, _BatchNorm)]
    try:
        if evaluation:
            head.eval()
        # In training mode this alone leaves the statistics as they are; in evaluation mode it changes nothing.
        for module, _ in tracking:
            module.track_running_stats = False
        with torch.no_grad():
            yield
    finally:
        # Older torch (before pull request 165068) keeps the weights that autocast has cast here, which know no
        # gradient, for the next pass.
        torch.clear_autocast_cache()
        for module, tracked in tracking:
            module.track_running_stats = tracked
        for module, mode in modes:
            module.training = mode


class SharedDropout(TorchFunctionMode):
    """Give every RoI, in a second pass over some of them, the dropout masks it had in the first over all.

    Used as a context manager around both passes, with `keep` between them. It sees dropout modules and
    `torch.nn.functional.dropout` alike; what they are given must have one row per RoI.
    """

    def __init__(self):
        super().__init__()
        self._factors: list[Tensor] = []  # of every dropout in the order of the first pass: 0 or 1 / (1 - p)
        self._rows: Tensor | None = None

    def keep(self, rows: Tensor) -> None:
        """Begin the second pass, over these rows of the first, (S,) int64."""
        self._rows = rows

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for each of its functions.

        Raises:
            InputError: alpha dropout, which is more than a mask; masks that do not fit the second pass.
        """
        kwargs = kwargs or {}
        if func not in MASKING | ALPHA or not kwargs["training"]:
            return func(*args, **kwargs)
        if func in ALPHA:
            raise InputError("the masks of alpha dropout cannot be shared between passes; take another read_only_mode")
        (x,) = args
        if self._rows is None:
            self._factors.append(func(torch.ones_like(x), p=kwargs["p"]))
            return x * self._factors[-1]
        factor = self._factors.pop(0) if self._factors else x.new_empty(0)
        if len(x) != len(self._rows) or factor.shape[1:] != x.shape[1:]:
            raise InputError(
                f"dropout of {tuple(x.shape)} for {len(self._rows)} RoIs cannot have the masks of "
                f"{tuple(factor.shape)} for all RoIs; take another read_only_mode"
            )
        return x * factor[self._rows]
