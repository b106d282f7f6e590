"""Every stage treats what is at --out alike: the same is done, something else refused, or replaced on request."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from rcnn_svm.artefacts.claims import claimed
from rcnn_svm.cli.main import main
from rcnn_svm.errors import InputError
from tests.cli.command import files_up_to


def commands(pipeline, features: dict[str, Path], out: Path) -> dict[str, tuple[list[object], list[object], str, Path]]:
    """Return, by stage, its words, words that change a setting, how the difference is named, and what is written."""
    data = ["--voc", pipeline.voc, "--classes", pipeline.names]
    train, test = ([*data, "--split", split] for split in ("trainval", "test"))
    proposals = {split: pipeline.out / "proposals" / f"voc_2007_{split}.sliding.h5" for split in features}
    steps = ["--iterations", 2]
    crop = ["--crop-size", 32]
    return {
        "propose": ([*train, "--method", "sliding"], ["--max-boxes", 9], "max_boxes: None there, 9", out),
        "extract": (
            [*test, "--proposals", proposals["test"], *crop],
            ["--padding", 2],
            "settings.padding: 0 there, 2",
            out,
        ),
        "finetune": (
            [*train, "--proposals", proposals["trainval"], *crop, *steps, "--batch-size", 8, "--foreground", 2],
            ["--lr", 0.01],
            "parameters.lr: 0.001 there, 0.01",
            out / "weights.pt",
        ),
        "train": (["--features", features["trainval"]], ["--svm-C", 0.5], "parameters.svm_C: 0.001 there, 0.5", out),
        "train-bbox": (["--features", features["trainval"]], ["--lambda", 7], "ridge_lambda: 1000.0 there, 7.0", out),
        "train-head": (
            ["--features", features["trainval"], *steps],
            ["--sampler", "ohem"],
            "sampler: heuristic there, ohem",
            out,
        ),
        "test": (
            ["--features", features["test"], "--model", pipeline.out / "model.h5"],
            ["--max-per-image", 7],
            "max_per_image: 100 there, 7",
            out,
        ),
        "evaluate": (
            [*test, "--detections", pipeline.out / "detections.h5", "--pictures", 0],
            ["--iou", 0.6],
            "iou: 0.5 there, 0.6",
            out / "results.json",
        ),
        "synthesize": (["--train", 1, "--test", 1], ["--seed", 4], "seed: 0 there, 4", out / "VOC2007"),
    }


STAGES = ("propose", "extract", "finetune", "train", "train-bbox", "train-head", "test", "evaluate", "synthesize")


def content(path: Path) -> dict[str, bytes]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


@pytest.mark.parametrize("stage", STAGES)
def test_the_policy(stage, pipeline, features, tmp_path, capsys):
    out = tmp_path / "out"
    words, change, difference, written = commands(pipeline, features, out)[stage]

    def command(*more: object) -> int:
        return main([stage, *map(str, [*words, "--out", out, *more])])

    assert command() == 0
    made = content(written)
    assert made and "done already" not in capsys.readouterr().out
    for flag in ((), ("--overwrite",)):
        assert command(*flag) == 0
        # A report takes so little time that it is written again.
        assert stage == "evaluate" or ("done already: " in capsys.readouterr().out and content(written) == made)
    made = content(written)
    capsys.readouterr()

    assert command(*change) == 2
    error = capsys.readouterr().err
    assert str(out) in error and error.count("\n") == 1
    assert f"{difference} wanted); give another --out, or --overwrite to replace it" in error
    assert content(written) == made

    assert command(*change, "--overwrite") == 0
    assert content(written) != made
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("out", "out.loss.png")] == []
    assert command(*change) == 0


@pytest.mark.parametrize("stage", ["extract", "train"])
def test_what_is_there_stays_until_its_replacement_is_complete(
    stage, pipeline, features, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    words, change, _, written = commands(pipeline, features, out)[stage]
    command = [stage, *map(str, [*words, "--out", out])]
    assert main(command) == 0
    made = content(written)

    def full(*args, **options):
        raise InputError("No space left on device")

    with monkeypatch.context() as patch:
        # A disk that is full at the last step alone, when all is written but not yet in its place, cannot be made.
        patch.setattr("rcnn_svm.artefacts.files.os.replace", full)
        assert main([*command, *map(str, change), "--overwrite"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert content(written) == made


def test_a_run_makes_again_what_follows_the_features_and_no_features_of_other_settings(pipeline, tmp_path, capsys):
    out = shutil.copytree(pipeline.out, tmp_path / "run")
    argv = [*pipeline.argv, "--out", str(out), "--svm-C", "0.5"]
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.h5")}
    assert main(argv) == 0
    told = capsys.readouterr().out
    assert f"made again: {out / 'model.h5'}, as settings changed (parameters.svm_C: 0.01 there" in told
    changed = {path.name for path, time in kept.items() if path.stat().st_mtime_ns != time}
    assert changed == {"model.h5", "detections.h5", "detector.h5"}
    assert main([*argv, "--crop-size", "40"]) == 2
    assert "was made with other settings (" in capsys.readouterr().err
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.h5")}
    assert main([*argv, "--overwrite"]) == 0
    assert {path for path, time in kept.items() if path.stat().st_mtime_ns != time} == set()


@pytest.mark.parametrize(
    ("stage", "made"),
    [
        ("propose", ""),
        ("extract", "cache.json"),
        ("finetune", "finetune.json"),
        ("train", ""),
        ("train-bbox", ""),
        ("train-head", ""),
        ("test", ""),
        ("evaluate", "results.json"),
    ],
)
def test_what_another_process_is_making_is_left_to_it(stage, made, pipeline, features, tmp_path, capsys):
    out = tmp_path / "out"
    words, change, _, _ = commands(pipeline, features, out)[stage]
    with claimed(out / made):
        for more in ([], change, ["--overwrite"]):
            assert main([stage, *map(str, [*words, "--out", out, *more])]) == 2
            assert f"{out / made} is made by another process" in capsys.readouterr().err
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_takes_no_more_is_one_sentence(stage, pipeline, features, tmp_path, capsys):
    """Some stages ended with a segmentation fault, tracebacks of libraries, or cut files under their final names."""
    out = tmp_path / "out"
    words, *_ = commands(pipeline, features, out)[stage]
    with files_up_to(2048):
        code = main([stage, *map(str, [*words, "--out", out])])
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line and "|" not in line]
    assert code == 2 and "cannot write" in told and "File too large" in told
    assert [path for path in tmp_path.rglob("*.h5*") if path.is_file()] == []
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []
