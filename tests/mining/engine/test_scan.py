"""Threads that each call the same work for their own classes."""

from __future__ import annotations

import threading

import pytest

from rcnn_svm.mining.engine.scan import BLOCKS_AHEAD, Threads


class Log(list):
    """Stands for the classes of a thread, and keeps what was done in it."""

    def note(self, word: str) -> int:
        self.append((word, threading.current_thread() is threading.main_thread()))
        return len(self)


@pytest.mark.parametrize("count", [1, 3])
def test_every_thread_does_all_work_in_order(count):
    logs = [Log() for _ in range(count)]
    with Threads(logs) as threads:
        for word in "abcdefgh":
            threads.begin(Log.note, word)
        assert threads.all(Log.note, "i") == [9] * count
        threads.begin(Log.note, "j")
        threads.wait()
        assert ["".join(word for word, _ in log) for log in logs] == ["abcdefghij"] * count
    in_main = count == 1
    assert all(main == in_main for log in logs for _, main in log)


def test_a_fast_caller_is_only_some_blocks_ahead():
    go, logs, begun = threading.Event(), [Log(), Log()], []

    def wait_to_go(log: Log) -> None:
        go.wait(10)

    def begin_all() -> None:
        with Threads(logs) as threads:
            for number in range(BLOCKS_AHEAD + 2):
                threads.begin(wait_to_go)
                begun.append(number)

    caller = threading.Thread(target=begin_all)
    caller.start()
    caller.join(0.5)
    assert len(begun) == BLOCKS_AHEAD and caller.is_alive()
    go.set()
    caller.join(10)
    assert len(begun) == BLOCKS_AHEAD + 2


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_in_a_thread_reaches_the_caller(count):
    def fail(log: Log) -> None:
        raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"), Threads([Log() for _ in range(count)]) as threads:
        threads.begin(fail)
        threads.wait()
