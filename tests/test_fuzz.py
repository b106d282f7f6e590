"""Mutated files of every kind: some hundred of the thousands that `python -m benchmarks.fuzz` makes."""

from __future__ import annotations

import os
import random
import re
import shutil
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


@pytest.mark.slow
def test_damaged_files_are_refused_or_as_they_were():
    """No traceback, crash or endless loop, no result but the right one where a checksum can know it."""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_briefly"], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    refused, equal, other, *faults = map(int, re.search(r"^all +(.*)$", done.stdout, re.M)[1].split()[:-1])
    assert refused > 40 and equal and other and not any(faults)


TOUCHING = """
import ctypes, subprocess, sys
from pathlib import Path
from benchmarks.fuzz_watch import Watch, run_watched

def main():
    folder = Path(sys.argv[1])
    case, watch = folder / "case", Watch(folder / "log")
    def look():
        print(*sorted({Path(line).name for line in watch.strays(case, ("out",))}), sep=",")
        watch.begin()
    watch.begin()
    (case / "in.txt").read_text()
    (case / ".out.part").write_text("x")
    look()
    (folder / "secret.txt").read_text()
    (case / "in.txt").write_text("changed")
    subprocess.run(["/bin/true"])
    look()
    ctypes.CDLL(None).open(bytes(folder / "secret.txt"), 0)
    look()

if __name__ == "__main__":
    sys.exit(run_watched(main, "touching"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
@pytest.mark.parametrize("compiler", [False, True])
def test_what_a_case_has_nothing_to_do_with_is_seen(tmp_path, compiler):
    """With a compiler also what goes past Python, as libraries do."""
    if compiler and shutil.which("cc") is None:
        pytest.skip("needs cc")
    (tmp_path / "case").mkdir()
    for name in ("secret.txt", "case/in.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "touching.py").write_text(TOUCHING)
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parents[1]}"}
    variables["PATH"] = os.environ["PATH"] if compiler else ""
    command = [sys.executable, "-m", "touching", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    past_python = "secret.txt" if compiler else ""
    assert done.stdout.split("\n")[:3] == ["", "in.txt,secret.txt,true", past_python], done
