"""Mutated files of every kind: some hundred of the thousands that `python -m benchmarks.fuzz` makes."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz_mutations import mutate_bytes, mutate_text


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


def test_damaged_files_are_refused_or_as_they_were():
    """No traceback, crash or endless loop, no result but the right one where a checksum can know it."""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_briefly"], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    refused, equal, other, *faults = map(int, re.search(r"^all +(.*)$", done.stdout, re.M)[1].split()[:-1])
    assert refused > 40 and equal and other and not any(faults)
