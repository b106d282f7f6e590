"""Joining the records of groups of classes, against sorting by brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.mining.engine.history import TABLES, MiningHistory, class_records

NUM_CLASSES, NUM_IMAGES = 5, 4


def record_class(rng: np.random.Generator, histories: list[MiningHistory], number: int, epoch: int) -> None:
    """Record one pass of a class into several histories; the last columns tell all rows apart."""
    for image in range(NUM_IMAGES):
        counts = rng.integers(0, 3, 4)
        tag = int(rng.integers(1 << 30))
        for history in histories:
            history.record("scan", [(number, epoch, image, tag, counts[0])])
            history.record("added", [(number, epoch, image, tag + i) for i in range(counts[0])])
            history.record("budget", [(number, epoch, image, tag + i, 0) for i in range(counts[1])])
            for u in range(counts[2]):
                update = history.num_updates
                history.record("evicted", [(update, image, tag + 10 * u + i) for i in range(counts[3])])
                history.record("updates", [(number, epoch, image, tag + u, 0, 0, 0, 0)])
                history.record("update_loss", [(tag + u, 0, 0, 0)])
                history.record("update_gap", [tag + u])
    for history in histories:
        history.record("convergence", [(number, epoch, tag, 0)])


def in_order(rows: list[list]) -> list[list]:
    """Return rows that begin with class, epoch, image by epoch, image and class."""
    return sorted(rows, key=lambda row: (row[1], row[2], row[0]))


def test_two_classes_by_hand():
    whole, first, second = MiningHistory(), MiningHistory(), MiningHistory()
    first.record("added", [(0, 0, 0, 3), (0, 0, 1, 2)])
    second.record("added", [(1, 0, 0, 5)])
    whole.take_over([first, second])
    assert whole.table("added").tolist() == [[0, 0, 0, 3], [1, 0, 0, 5], [0, 0, 1, 2]]  # image by image
    assert whole.num_added == 3 and not len(first.table("added"))


def test_what_came_after_the_last_pass_of_a_class_is_forgotten():
    history = MiningHistory()
    history.record("added", [(0, 0, 0, 1), (1, 0, 0, 2), (0, 1, 0, 3), (1, 1, 0, 4)])
    history.record("updates", [(c, epoch, 0, 1, 1, 1, 1, 9) for epoch in (0, 1) for c in (0, 1)])
    history.record("update_loss", [(number, 0, 0, number) for number in range(4)])
    history.record("update_gap", [0.0, 0.1, 0.2, 0.3])
    history.record("evicted", [(0, 5, 1), (2, 6, 2), (3, 7, 3)])
    history.record("validation", [(0, 0, 0.5), (1, 0, 0.5), (0, 1, 0.4), (1, 1, 0.6)])
    history.keep_until(np.array([0, 1]))  # class 0 was best after the first pass, class 1 after the second
    assert history.table("added").tolist() == [[0, 0, 0, 1], [1, 0, 0, 2], [1, 1, 0, 4]]
    assert history.table("updates")[:, :2].tolist() == [[0, 0], [1, 0], [1, 1]]
    assert history.table("update_loss")[:, 0].tolist() == [0, 1, 3]
    assert history.table("evicted").tolist() == [[0, 5, 1], [2, 7, 3]], "the fourth training is the third now"
    assert len(history.table("validation")) == 4


def test_what_is_told_of_a_class_is_that_of_its_last_training():
    history = MiningHistory()
    history.record("added", [(0, 0, 0, 3), (0, 0, 1, 2), (0, 0, 1, 4), (2, 0, 1, 5)])
    # class, epoch, image, positives, negatives trained on, kept, added, iterations
    history.record("updates", [(0, 0, 0, 7, 1, 1, 1, 9), (0, 0, 1, 8, 3, 1, 2, 10)])
    history.record("update_loss", [(1, 2, 3, 6), (1, 1, 2, 4)])
    history.record("update_gap", [0.5, 0.25])
    history.record("evicted", [(1, 0, 3), (1, 1, 2)])
    trained = {"positives": 8, "negatives": 3, "evicted": 2, "updates": 2, "loss": 4.0, "gap": 0.25}
    never = {"positives": None, "negatives": 0, "evicted": 0, "updates": 0, "loss": None, "gap": None}
    assert class_records(history.tables(), 3) == [trained, never, {**never, "negatives": 1}]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_groups=st.integers(1, NUM_CLASSES), times=st.integers(1, 3))
def test_records_of_groups_become_one_in_the_order_of_events(seed, num_groups, times):
    rng = np.random.default_rng(seed)
    whole = MiningHistory()
    groups = [MiningHistory() for _ in range(num_groups)]
    alone = [MiningHistory() for _ in range(NUM_CLASSES)]
    for epoch in range(times):
        for number in rng.permutation(NUM_CLASSES).tolist():
            record_class(rng, [groups[number % num_groups], alone[number]], number, epoch)
        whole.take_over(groups)
        assert [len(table) for group in groups for table in group.tables().values()] == [0] * len(TABLES) * num_groups

    tables = [history.tables() for history in alone]
    for name in ("added", "scan", "budget"):
        assert whole.table(name).tolist() == in_order([row for table in tables for row in table[name].tolist()])
    convergence = sorted((row for table in tables for row in table["convergence"].tolist()), key=lambda r: (r[1], r[0]))
    assert whole.table("convergence").tolist() == convergence

    updates = []
    for table in tables:
        for u, row in enumerate(table["updates"].tolist()):
            evicted = table["evicted"]
            rest = (table["update_loss"][u].tolist(), table["update_gap"][u], evicted[evicted[:, 0] == u, 1:].tolist())
            updates.append([*row, *rest])
    updates = in_order(updates)
    assert whole.table("updates").tolist() == [row[:8] for row in updates]
    assert whole.table("update_loss").tolist() == [row[8] for row in updates]
    assert whole.table("update_gap").tolist() == [row[9].tolist() for row in updates]
    assert whole.table("evicted").tolist() == [[u, *key] for u, row in enumerate(updates) for key in row[10]]
    assert whole.num_updates == len(updates) and whole.num_added == len(whole.table("added"))
