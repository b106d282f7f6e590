"""Mutated files of every kind: some hundred of the thousands that `python -m benchmarks.fuzz` makes."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.fuzz import Case, fuzz, make_inputs_apart, shared_out
from benchmarks.fuzz_mutations import mutate_bytes, mutate_text
from benchmarks.fuzz_readers import array_readers, data_readers, image_readers, record_readers

# What is not known to be whole is read by a process begun for it: no such files here.
GUARDED = ("MATLAB", "edited", "without checksum")


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> Path:
    """The folder of valid files."""
    folder = tmp_path_factory.mktemp("valid")
    make_inputs_apart(folder)
    return folder


def test_one_bit_by_hand():
    damaged = {mutate_bytes(b"\x00", random.Random(seed)) for seed in range(1_000)}
    assert b"" in damaged, "cut"
    assert {bytes([1 << bit]) for bit in range(8)} <= damaged, "a bit flipped"


@pytest.mark.parametrize("mutate", [mutate_bytes, mutate_text])
def test_the_same_seed_makes_the_same_file(mutate):
    content = b'{"image": [12, 3.5], "name": "dog"}\n'
    made = [mutate(content, random.Random(seed)) for seed in range(20)]
    assert made == [mutate(content, random.Random(seed)) for seed in range(20)]
    assert len(set(made)) > 10


def test_damaged_files_are_refused_or_as_they_were(valid):
    """No traceback, crash or endless loop, no result but the right one where a checksum can know it."""
    readers = [*image_readers(), *data_readers(), *array_readers(), *record_readers()]
    readers = [reader for reader in readers if not any(word in reader.name for word in GUARDED)]
    cases = [
        Case(reader, number, 0)
        for reader, count in zip(readers, shared_out(readers, 100), strict=True)
        for number in range(count)
    ]
    outcomes = list(fuzz(valid, cases))
    assert [(case.name, outcome) for case, outcome in outcomes if outcome.is_fault] == []
    kinds = Counter(outcome.kind for _, outcome in outcomes)
    assert kinds["refused"] > 40 and kinds["equal"] and kinds["other, seen"]
