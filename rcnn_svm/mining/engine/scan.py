"""One thread for every group of classes, all fed with the same blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rcnn_svm.mining.engine.class_miner import ClassGroup

# Blocks a fast group may be ahead of a slow one: retraining comes in bursts. They bound the memory.
BLOCKS_AHEAD = 3


class GroupThreads:
    """Calls methods of all groups, each group's in its own thread and in the order of the calls.

    A single group is called directly. To be used as a context, which ends the threads.

    Args:
        groups: what is worked on.
    """

    def __init__(self, groups: Sequence[ClassGroup]):
        self._groups = groups
        self._executors = [ThreadPoolExecutor(1, "mining") for _ in groups] if len(groups) > 1 else []
        self._running: deque[list[Future]] = deque()

    def __enter__(self) -> GroupThreads:
        return self

    def __exit__(self, *exception: object) -> None:
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)
        for executor in self._executors:
            executor.shutdown()

    def begin(self, method: str, *arguments: Any) -> None:
        """Call a method of every group without waiting for it, but for those called long before."""
        if not self._executors:
            getattr(self._groups[0], method)(*arguments)
            return
        self._running.append(self._submit(method, arguments))
        while len(self._running) > BLOCKS_AHEAD:
            _results(self._running.popleft())

    def wait(self) -> None:
        """Wait until everything begun is done."""
        while self._running:
            _results(self._running.popleft())

    def all(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of every group and return what each returned."""
        self.wait()
        if not self._executors:
            return [getattr(self._groups[0], method)(*arguments)]
        return _results(self._submit(method, arguments))

    def _submit(self, method: str, arguments: tuple) -> list[Future]:
        pairs = zip(self._executors, self._groups, strict=True)
        return [executor.submit(getattr(group, method), *arguments) for executor, group in pairs]


def _results(futures: list[Future]) -> list[Any]:
    return [future.result() for future in futures]
