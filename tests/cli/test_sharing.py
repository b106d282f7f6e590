"""Stages that are shared out, by hand, by variables of a job array, and by Dask: the result is that of one process."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rcnn_svm.artefacts.claims import WHOLE
from rcnn_svm.cli import workers
from rcnn_svm.cli.sharing import part, part_of_environment
from rcnn_svm.errors import InputError
from tests.artefact_kinds import content_of
from tests.cli.command import command


def stages(pipeline) -> dict[str, tuple[list[object], Path]]:
    """Return the arguments of every stage that is shared out but for --out, and what one process made of them."""
    out, voc = pipeline.out, ["--voc", pipeline.voc, "--split", "trainval", "--classes", pipeline.names]
    proposals, features = (
        next((out / name).glob(f"voc_2007_trainval.{of}*")) for name, of in (("proposals", "sliding"), ("features", ""))
    )
    tested = next((out / "features").glob("voc_2007_test.*"))
    extracted = pipeline.root / "shards of two"
    extract = [*voc, "--proposals", proposals, "--crop-size", 64, "--shard-images", 2]
    if not extracted.exists():
        assert command("extract", *extract, "--out", extracted) == 0
    return {
        "propose": ([*voc, "--method", "sliding", "--max-boxes", 60], proposals),
        "extract": (extract, extracted),
        "train": (["--features", features, "--svm-C", 0.01], out / "model.h5"),
        "test": (["--features", tested, "--model", out / "model.h5"], out / "detections.h5"),
    }


@pytest.mark.parametrize("stage", ["propose", "extract", "train", "test"])
def test_parts_in_any_order_make_what_one_process_makes(pipeline, tmp_path, stage, capsys, monkeypatch):
    monkeypatch.setattr("rcnn_svm.detection.parts.IMAGES", 2)  # of 4 test images
    words, expected = stages(pipeline)[stage]
    out = tmp_path / expected.name
    for number in (3, 1):
        assert command(stage, *words, "--out", out, "--part", f"{number}/3") == 0
    if stage != "extract":
        assert not out.exists()
        assert f"part 1 of 3 is done; the same command without --part joins all of {out}" in capsys.readouterr().out
    # A part that is done is not done again, and the whole does what no part did.
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    assert command(stage, *words, "--out", out, "--part", "1/3") == 0
    assert made and {path: path.stat().st_mtime_ns for path in made} == made
    assert command(stage, *words, "--out", out) == 0
    assert content_of(out) == content_of(expected)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    # Where the whole is there, a part of it is done already.
    capsys.readouterr()
    assert command(stage, *words, "--out", out, "--part", "2/3") == 0
    assert f"done already: {out}" in capsys.readouterr().out


def test_what_looks_at_all_classes_is_not_shared_out(pipeline, tmp_path, capsys):
    words, _ = stages(pipeline)["train"]
    for more in (["--stop-ratio", 1.05], ["--random-negatives", 20], ["--svm-C", "auto"]):
        assert command("train", *words, *more, "--out", tmp_path / "m.h5", "--part", "1/2") == 2
        assert "--part shares out classes, and" in capsys.readouterr().err
    words, _ = stages(pipeline)["propose"]
    given = pipeline.out / "detections.h5"
    assert command("propose", *words[:6], "--detections", given, "--out", tmp_path / "p.h5", "--part", "1/2") == 2
    assert "--part is for proposals that are computed" in capsys.readouterr().err


SLURM = {"ID": "1", "COUNT": "3", "MIN": "0", "MAX": "2", "STEP": "1"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (SLURM, (1, 3)),
        ({**SLURM, "ID": "7", "MIN": "3", "MAX": "7", "STEP": "2"}, (2, 3)),
        ({"ID": "2", "COUNT": "4"}, (2, 4)),
        ({"ID": "5", "COUNT": "1", "MIN": "5", "MAX": "5", "STEP": "1"}, WHOLE),
    ],
)
def test_a_task_of_a_job_array_knows_its_part(variables, expected):
    assert part_of_environment({f"SLURM_ARRAY_TASK_{name}": value for name, value in variables.items()}) == expected


def test_a_process_of_a_group_knows_its_part(monkeypatch):
    assert part_of_environment({"RANK": "3", "WORLD_SIZE": "4"}) == (3, 4)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert part("env") == (0, 2)
    assert part("2/4") == (1, 4)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "1"},
        {"RANK": "4", "WORLD_SIZE": "4"},
        {"RANK": "one", "WORLD_SIZE": "4"},
        # An array of numbers that are not evenly apart, 1, 2 and 9.
        {"SLURM_ARRAY_TASK_" + name: value for name, value in {**SLURM, "MIN": "1", "MAX": "9"}.items()},
    ],
)
def test_variables_that_name_no_part_are_refused(variables):
    with pytest.raises(argparse.ArgumentTypeError, match="give I/N"):
        part_of_environment(variables)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread on this machine, with their scheduler."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed; it comes with rcnn-svm[dask]")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options, scheduler_port=0) as made:
        yield made


@pytest.mark.slow
def test_workers_make_what_one_process_makes(cluster, pipeline, tmp_path, capsys):
    for stage, (words, expected) in stages(pipeline).items():
        out = tmp_path / stage / expected.name
        out.parent.mkdir()
        assert command(stage, *words, "--out", out, "--scheduler", cluster.scheduler_address) == 0
        assert content_of(out) == content_of(expected), stage
        assert [path.name for path in out.parent.iterdir()] == [out.name]
    # What a worker refuses is told as one's own.
    assert command("train", *words[:2], "--svm-C", "auto", "--scheduler", cluster.scheduler_address) == 2
    assert "--svm-C auto looks at all of them" in capsys.readouterr().err


@pytest.mark.slow
def test_a_worker_that_is_killed_midway_changes_nothing(cluster, pipeline, tmp_path):
    words, expected = stages(pipeline)["extract"]
    out, killed = tmp_path / expected.name, []

    def kill():
        while not list(out.glob("shard-*.h5")):
            time.sleep(0.005)
        killed.append(cluster.workers[0].process.pid)
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    assert command("extract", *words, "--out", out, "--scheduler", cluster.scheduler_address) == 0
    killer.join()
    assert killed and content_of(out) == content_of(expected)


def test_without_a_scheduler_or_workers_one_sentence_says_so(pipeline, capsys, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed; it comes with rcnn-svm[dask]")
    words, _ = stages(pipeline)["propose"]
    monkeypatch.setattr(workers, "_PATIENCE", 0.2)
    assert command("propose", *words, "--scheduler", "tcp://127.0.0.1:1") == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err
    options = {"processes": False, "dashboard_address": None, "scheduler_port": 0}
    monkeypatch.setattr(workers, "_PATIENCE", 10)
    for made, sentence in (({"n_workers": 0}, "has no workers"), ({"threads_per_worker": 2}, "has several threads")):
        with (
            distributed.LocalCluster(**options, **{"n_workers": 1, **made}) as other,
            pytest.raises(InputError) as told,
        ):
            workers.share_out("propose", [], other.scheduler_address, command)
        assert sentence in str(told.value) and "--nthreads 1" in str(told.value)


def test_workers_of_other_versions_are_refused(cluster, monkeypatch):
    monkeypatch.setattr(workers, "version", lambda name: "0.0.1")
    with pytest.raises(InputError, match=r"has rcnn-svm .*, this process 0\.0\.1; install the same versions"):
        workers.share_out("propose", [], cluster.scheduler_address, command)


def test_a_worker_without_the_folder_says_so(tmp_path):
    with pytest.raises(InputError, match=r"a worker has no folder .*absent"):
        workers.do_part(command, "propose", [], str(tmp_path / "absent"))


def test_a_claim_of_a_worker_that_is_gone_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SIGN_OF_LIFE", 0.01)
    monkeypatch.chdir(tmp_path)
    calls = []

    def run(name, argv):
        calls.append(name)
        if len(calls) < 3:
            raise workers.ClaimedError("made by another process")

    workers.do_part(run, "propose", [], str(tmp_path))
    assert calls == ["propose"] * 3
    monkeypatch.setattr(workers, "SILENCE", 0)
    with pytest.raises(InputError, match="made by another process"):
        workers.do_part(lambda *_: (_ for _ in ()).throw(workers.ClaimedError("made by another process")), "x", [], ".")


def test_arrays_of_files_are_compared_to_the_last_bit(tmp_path):
    from rcnn_svm.detection.detections import Detections

    for score in (0.5, np.nextafter(np.float32(0.5), np.float32(1))):
        Detections(("a",), ("cat",), [0], [0], [[0, 0, 9, 9]], [score]).save(tmp_path / f"{score}.h5")
    first, second = map(content_of, sorted(tmp_path.iterdir()))
    assert len(first) == len(second) and [*first.values()] != [*second.values()]
