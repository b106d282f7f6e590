"""A pass through part of a network that leaves nothing behind: no gradient, no batch-norm statistics, no mode.

It stands for the read-only copy of the RoI network in OHEM, with the weights of the one that is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rcnn_svm.errors import InputError

ReadOnlyMode = Literal["train", "same_dropout", "eval"]
READ_ONLY_MODES = ("train", "same_dropout", "eval")

IN_PLACE = frozenset({torch.dropout_, torch.feature_dropout_})
MASKING = IN_PLACE | {
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    torch.dropout,
    torch.feature_dropout,
}
# Arguments by which a function that may draw says that it does not.
DRAWS_NOTHING = ("dropout_p", "dropout", "training", "train")


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
        for norm, _ in tracking:
            norm.track_running_stats = False
        with torch.no_grad():
            yield
    finally:
        # Older torch (before pull request 165068) keeps the weights that autocast has cast here, which know no
        # gradient, for the next pass.
        torch.clear_autocast_cache()
        for norm, tracked in tracking:
            norm.track_running_stats = tracked
        for module, mode in modes:
            module.training = mode


class SharedDropout(TorchFunctionMode):
    """Give every RoI, in a second pass over some of them, the dropout masks it had in the first over all.

    Used as a context manager around both passes, with `keep` between them. It sees dropout modules,
    `torch.nn.functional.dropout` and `torch.dropout` alike; what they are given must have one row per RoI. Whatever
    else draws at random, such as attention with dropout or stochastic depth, is refused: its draws would differ between
    the passes.
    """

    def __init__(self):
        super().__init__()
        self._other_draws = _RefusedDraws()
        self._entered = ExitStack()
        self._factors: list[Tensor] = []  # of every dropout in the order of the first pass: 0 or 1 / (1 - p)
        self._rows: Tensor | None = None

    def keep(self, rows: Tensor) -> None:
        """Begin the second pass, over these rows of the first, (S,) int64."""
        self._rows = rows

    def draws_allowed(self) -> AbstractContextManager:
        """Return a context between the passes in which whatever draws at random may."""
        return self._other_draws.allowed()

    def __enter__(self) -> SharedDropout:
        self._entered.enter_context(self._other_draws)
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._entered.close()

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for each of its functions.

        Raises:
            InputError: what draws at random and is no mask that can be shared; masks that do not fit the second pass.
        """
        kwargs = kwargs or {}
        if func not in MASKING:
            return func(*args, **kwargs)
        given = dict(zip(("input", "p", "train"), args, strict=False)) | kwargs
        if not given.get("training", given.get("train")):
            return func(*args, **kwargs)
        factor = self._factor(func, given["input"], given["p"])
        in_place = func in IN_PLACE or given.get("inplace")
        return given["input"].mul_(factor) if in_place else given["input"] * factor

    def _factor(self, func: Callable, x: Tensor, p: float) -> Tensor:
        """Return what a function multiplies its input by: drawn in the first pass, the same in the second."""
        if self._rows is None:
            with self.draws_allowed():
                self._factors.append(func(torch.ones_like(x.detach()), p, True))
            return self._factors[-1]
        factor = self._factors.pop(0) if self._factors else x.new_empty(0)
        if len(x) != len(self._rows) or factor.shape[1:] != x.shape[1:]:
            raise InputError(
                f"dropout of {tuple(x.shape)} for {len(self._rows)} RoIs cannot have the masks of "
                f"{tuple(factor.shape)} for all RoIs; take another read_only_mode"
            )
        return factor[self._rows]


class _RefusedDraws(TorchDispatchMode):
    """Refuses each of torch's operators that draws at random, in whatever function or module it is."""

    def __init__(self):
        super().__init__()
        self._allowed = False

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Within it, draws are allowed."""
        self._allowed = True
        try:
            yield
        finally:
            self._allowed = False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Called by torch for each of its operators.

        Raises:
            InputError: it draws at random.
        """
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and not self._allowed:
            names = (argument.name for argument in func._schema.arguments)
            defaults = {argument.name: argument.default_value for argument in func._schema.arguments}
            given = defaults | dict(zip(names, args, strict=False)) | kwargs
            if not any(given.get(name) is not None and not given[name] for name in DRAWS_NOTHING):
                raise InputError(
                    f"the RoI network draws at random by {func}, which cannot be the same in both passes, as it is for "
                    "dropout with one row per RoI (not for attention with dropout, alpha dropout, stochastic depth); "
                    "take another read_only_mode"
                )
        return func(*args, **kwargs)
