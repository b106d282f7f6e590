"""Work ahead in background threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yield the items in order while one background thread computes up to `depth` of those that follow.

    An exception of the iteration is raised here, after the items before it. Abandoning the generator stops the
    thread after the item it is at.
    """
    iterator = iter(items)

    def following() -> list[T]:
        """Return the next item; none at the end."""
        return list(islice(iterator, 1))

    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        ahead = deque(thread.submit(following) for _ in range(depth))
        try:
            while item := ahead.popleft().result():
                ahead.append(thread.submit(following))
                yield item[0]
        finally:
            for future in ahead:
                future.cancel()


def parallel_map(
    function: Callable[[S], T],
    items: Iterable[S],
    workers: int,
    depth: int,
    initializer: Callable[[], None] | None = None,
) -> Generator[T, None, None]:
    """Yield `function(item)` in order while `workers` threads compute up to `depth` of those that follow.

    An exception, of the iteration or of the function, is raised here, after the results before it. Abandoning the
    generator stops the threads after the items they are at.

    Args:
        function: must release the interpreter lock for most of its time.
        items: iterated over by the caller's thread.
        workers: threads.
        depth: results and unfinished items at once.
        initializer: called in each thread when it starts.
    """
    iterator = iter(items)
    ahead: deque[Future[T]] = deque()
    failure = None
    with ThreadPoolExecutor(workers, thread_name_prefix="worker", initializer=initializer) as pool:
        try:
            while failure is None:
                try:
                    ahead.append(pool.submit(function, next(iterator)))
                except StopIteration:
                    break
                except Exception as error:
                    # The results before the item that failed must not be lost with it.
                    failure = error
                if len(ahead) == depth:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
    if failure is not None:
        raise failure
