"""Faults of every kind in some stages: a small part of what `python -m benchmarks.faults` injects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults_kinds import KINDS, not_on_disk
from benchmarks.faults_world import content, difference
from rcnn_svm.artefacts.files import write_text
from rcnn_svm.cache import FeatureCache
from tests.toys import stored, toy_cache

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the processor's clock of another process")
# Those that take little time: with parts, with shards, with a checkpoint, and without.
STAGES = ("propose", "import", "train", "test")


def run(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_nothing_is_lost_whatever_happens_to_a_stage():
    """Killed, told to stop, out of space, without its folder, in twos, with damaged shards, without power."""
    done = run("benchmarks.faults", "--times", 1, "--stages", ",".join(STAGES))
    assert done.returncode == 0, done.stdout + done.stderr
    titles = next(line for line in done.stdout.splitlines() if line.startswith("stage ")).split()
    rows = {
        line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith((*STAGES, "all "))
    }
    total = dict(zip(titles[1:], rows["all"], strict=True))
    assert {*rows} == {*STAGES, "all"} and total["lost"] == "-"
    assert int(total["survived"]) == int(total["injected"]) > 20 and int(total["told"]) > 10
    assert all(int(total[kind]) >= 3 for kind in KINDS)


@pytest.mark.slow
def test_a_program_that_writes_under_final_names_is_found_out(tmp_path):
    found = {}
    for how in ("careful", "careless"):
        (tmp_path / how).mkdir()
        done = run("tests.faults.careless", tmp_path / how, how)
        assert done.returncode == 0, done.stderr
        found[how] = done.stdout.splitlines()
    assert set(found["careful"]) == {"1 nothing"}
    assert any("exit code" in line or "differ" in line for line in found["careless"][:-1])
    assert "toy.html was written under its name" in found["careless"][-1]


def test_what_two_runs_need_not_share_by_hand(tmp_path):
    """The time, and the checksum over it, of a feature cache that is written twice; but no byte of a feature."""
    folders = [
        stored(toy_cache([3, 4]), tmp_path / name / "cache", shard_images=1) and tmp_path / name for name in "ab"
    ]
    path = folders[1] / "cache/cache.json"
    path.write_text(path.read_text().replace('"time": "20', '"time": "19'))
    contents = [content(folder) for folder in folders]
    assert difference(*contents) == ""
    (tmp_path / "b/cache/.left.tmp").touch()
    assert difference(content(folders[1]), contents[0]) == "left behind cache/.left.tmp"
    assert difference({}, contents[0]).startswith("missing cache, cache/cache.json")
    shard = FeatureCache.open(folders[1] / "cache")
    assert shard.num_images == 2
    data = bytearray((folders[1] / "cache/shard-00000.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (folders[1] / "cache/shard-00000.h5").write_bytes(data)
    assert "differ cache/shard-00000.h5" in difference(content(folders[1]), contents[0])


def test_the_order_on_disk_by_hand(tmp_path):
    write_text(tmp_path / "f/x", "new")
    file, folder, top = ((tmp_path / name).stat().st_ino for name in ("f/x", "f", ""))
    made = [tmp_path / "f", tmp_path / "f/x"]
    lines = [f"made {tmp_path}/f", f"synced {top}", f"synced {file}", f"named {tmp_path}/f/x", f"synced {folder}"]
    assert not not_on_disk(made, lines, tmp_path)
    assert not_on_disk(made, lines[:4], tmp_path) == ["the name of f/x is not on disk"]
    assert not_on_disk(made, [*lines[:1], *lines[2:]], tmp_path) == ["the name of f is not on disk"]
    late = [*lines[:2], lines[3], lines[2], lines[4]]
    assert not_on_disk(made, late, tmp_path) == ["f/x had its name before it was on disk"]
    assert not_on_disk(made, [*lines[:3], lines[4]], tmp_path) == ["f/x was written under its name"]
