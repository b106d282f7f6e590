"""The background thread keeps order, passes errors on, works ahead no further than told, and ends."""

import threading
import time

import pytest

from rcnn_svm.features.prefetch import prefetch


def test_keeps_the_order():
    assert list(prefetch(range(100), 3)) == list(range(100))
    assert list(prefetch([], 3)) == []


def test_works_in_another_thread_and_only_so_far_ahead():
    threads, made = set(), []

    def numbers():
        for number in range(20):
            threads.add(threading.get_ident())
            made.append(number)
            yield number

    items = prefetch(numbers(), 4)
    assert next(items) == 0
    time.sleep(0.1)
    assert 2 <= len(made) <= 5
    assert threads and threading.get_ident() not in threads
    items.close()


def test_error_comes_after_the_items_before_it():
    def failing():
        yield 1
        yield 2
        raise ValueError("third")

    items = prefetch(failing(), 4)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(items)


def test_abandoning_ends_the_thread():
    items = prefetch(iter(int, 1), 2)  # endless
    next(items)
    items.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
