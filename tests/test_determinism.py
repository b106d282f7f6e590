"""The same bytes again: whatever the workers, batches, hash seed, locale, time zone and folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc
from tests.artefact_kinds import content_of

NAMES = ",".join(SYNTHETIC_CLASSES)

# All stages in one process and with one network, as it costs seconds to start one and to convert the other. Arguments:
# devkit, folder of results, workers, crops of a batch.
STAGES = f"""
import sys
from rcnn_svm.cli.main import main
from rcnn_svm.features.loaded_once import loaded_once

voc, out, jobs, batch = sys.argv[1:]
data = ["--voc", voc, "--classes", {NAMES!r}]
crops = ["--crop-size", "48", "--batch-size", batch, "--threads", jobs]
with loaded_once():
    for split in ("trainval", "test"):
        of_split = [*data, "--split", split, "--jobs", jobs, "--out", f"{{out}}/{{split}}.h5", "--max-boxes", "40"]
        assert main(["propose", *of_split]) == 0
        words = [*data, "--split", split, "--proposals", f"{{out}}/{{split}}.h5", *crops, "--out", f"{{out}}/{{split}}"]
        assert main(["extract", *words]) == 0
    features, more = ["--features", f"{{out}}/trainval"], ["--jobs", jobs]
    for solver in ("dcd", "liblinear"):
        trained = ["--solver", solver, "--retrain-limit", "100", "--k-folds", "2", "--out", f"{{out}}/{{solver}}.h5"]
        assert main(["train", *features, *more, *trained]) == 0
    assert main(["train-bbox", *features, "--out", f"{{out}}/bbox.h5"]) == 0
    tested = ["--model", f"{{out}}/dcd.h5", "--bbox", f"{{out}}/bbox.h5", "--vote", "--out", f"{{out}}/found.h5"]
    assert main(["test", "--features", f"{{out}}/test", *tested]) == 0
    mined = ["--model", f"{{out}}/dcd.h5", "--method", "sliding", "--per-image", "2", "--out", f"{{out}}/mined"]
    assert main(["mine", *mined, f"{{voc}}/VOC2007/JPEGImages/000004.jpg"]) == 0
"""


@pytest.fixture(scope="module")
def devkit(tmp_path_factory) -> Path:
    """Some images."""
    root = tmp_path_factory.mktemp("devkit") / "VOCdevkit"
    write_synthetic_voc(root, num_train=3, num_test=1, seed=1)
    return root


def made(devkit: Path, folder: Path, jobs: int, batch: int, **variables: str) -> dict[str, dict[str, bytes]]:
    """Return the arrays of what the stages make in a process of their own, by stage."""
    folder.mkdir()
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    voc = os.path.relpath(devkit, folder) if jobs == 1 else str(devkit)
    command = [sys.executable, "-c", STAGES, voc, "." if jobs == 1 else str(folder), str(jobs), str(batch)]
    done = subprocess.run(command, cwd=folder if jobs == 1 else None, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {name: content_of(folder / name) for name in ("trainval.h5", "test.h5", "trainval", "test")}
    found |= {name: content_of(folder / name) for name in ("dcd.h5", "liblinear.h5", "bbox.h5", "found.h5")}
    found["mined"] = {**content_of(folder / "mined/features"), "manifest": manifest(folder / "mined", devkit, voc)}
    return found


def manifest(folder: Path, devkit: Path, voc: str) -> bytes:
    """Return a manifest with the devkit under one name."""
    return (folder / "manifest.jsonl").read_bytes().replace(voc.encode(), str(devkit).encode())


@pytest.mark.slow
def test_stages_make_the_same_bytes_whatever_is_around_them(devkit, tmp_path):
    one = made(devkit, tmp_path / "one", 1, 3, PYTHONHASHSEED="1", LC_ALL="C", TZ="UTC", OMP_NUM_THREADS="1")
    more = {"PYTHONHASHSEED": "77", "LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu", "OMP_NUM_THREADS": "2"}
    other = made(devkit, tmp_path / "other", 2, 17, **more)
    assert one.keys() == other.keys() and all(one.values())
    for stage, arrays in one.items():
        assert arrays.keys() == other[stage].keys(), stage
        assert [name for name, array in arrays.items() if array != other[stage][name]] == [], stage
