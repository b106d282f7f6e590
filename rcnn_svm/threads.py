"""Work shared out over threads, and work that is kept to one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from rcnn_svm.opencv import cv2

T = TypeVar("T")


def in_threads(function: Callable[[int], T], items: Sequence[int], jobs: int) -> Generator[T, None, None]:
    """Yield what the function makes of every item, in order; closing the iterator leaves no call running.

    Threads, since OpenCV works outside the interpreter's lock: no slower than joblib's processes here, which outlive
    a parent that is killed and print tracebacks when they are interrupted.
    """
    running = threading.Semaphore(jobs)

    def call(item):
        with running:
            return function(item)

    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the search itself is sequential, and the cores have images of their own
    try:
        results = Parallel(jobs, backend="threading", return_as="generator")(delayed(call)(item) for item in items)
        with contextlib.closing(results):
            yield from results
    finally:
        # joblib drops what has not begun and leaves the rest to itself, but Python cannot end while OpenCV runs.
        for _ in range(jobs):
            running.acquire()
        cv2.setNumThreads(opencv_threads)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and the numerical libraries calculate in one thread.

    Where the work is many small steps, such as reading a network or products of small arrays, threads wait for each
    other longer than they calculate: beside other programs, two processes on two cores took minutes instead of a
    second. The sums of such steps do not depend on the number of cores either.
    """
    import torch

    torch.get_num_threads()  # torch sets the number when it is first asked, and undid the limit if that was below
    with threadpool_limits(1):
        yield
