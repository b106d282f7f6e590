"""The background threads keep order, pass errors on, work ahead no further than told, and end."""

import threading
import time

import pytest

from rcnn_svm.features.prefetch import parallel_map, prefetch


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


def test_map_keeps_the_order_of_uneven_work():
    def wait(number):
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number

    assert list(parallel_map(wait, range(40), 3, 7)) == list(range(40))
    assert list(parallel_map(wait, [], 3, 7)) == []
    assert list(parallel_map(wait, range(2), 1, 1)) == [0, 1]


def test_map_works_in_as_many_prepared_threads_as_told():
    local, together = threading.local(), threading.Barrier(3, timeout=20)

    def prepare():
        local.ready = True

    def meet(_):
        together.wait()  # breaks unless three calls are under way at once
        return local.ready

    assert list(parallel_map(meet, range(6), 3, 6, prepare)) == [True] * 6


def test_map_works_only_so_far_ahead():
    taken = []

    def numbers():
        for number in range(50):
            taken.append(number)
            yield number

    results = parallel_map(abs, numbers(), 2, 5)
    assert next(results) == 0
    assert len(taken) == 5
    results.close()


@pytest.mark.parametrize("where", ["items", "function"])
def test_map_raises_after_the_results_before(where):
    def numbers():
        yield from range(4)
        if where == "items":
            raise ValueError("here")
        yield 4

    def check(number):
        if number == 4:
            raise ValueError("here")
        return number

    results = parallel_map(check, numbers(), 2, 20)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="here"):
        next(results)


def test_abandoning_a_map_ends_its_threads():
    results = parallel_map(abs, iter(int, 1), 2, 4)  # endless
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker")]
