"""Bad input: one sentence on stderr, exit status 2, and nothing lost that was computed before."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from tests.cli.command import command, files_up_to


@pytest.fixture
def voc(pipeline, tmp_path) -> Path:
    """A copy of the image set that a test may damage."""
    return shutil.copytree(pipeline.voc, tmp_path / "VOCdevkit")


def train_ids(voc: Path) -> list[str]:
    return (voc / "VOC2007" / "ImageSets" / "Main" / "trainval.txt").read_text().split()


def refused(capsys, argv, *told: str) -> str:
    """Run a command that must fail with one sentence holding the texts in `told`."""
    capsys.readouterr()
    assert command(*argv) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if "rcnn-svm" in line and "error:" in line]
    assert len(errors) == 1, captured.err
    assert "Traceback" not in captured.err
    for text in told:
        assert re.search(text, errors[0]), errors[0]
    return errors[0]


def propose(pipeline, voc, tmp_path, *more):
    argv = ["propose", "--voc", voc, "--classes", pipeline.names, "--method", "fast", "--jobs", "1"]
    return [*argv, "--out", tmp_path / "p.h5", *more]


def extract(pipeline, voc, out):
    proposals = next((pipeline.out / "proposals").glob("*trainval*"))
    argv = ["extract", "--voc", voc, "--classes", pipeline.names, "--proposals", proposals, "--crop-size", "64"]
    return [*argv, "--shard-images", "1", "--out", out]


def damage_image(voc: Path, index: int, how: str) -> Path:
    path = voc / "VOC2007" / "JPEGImages" / f"{train_ids(voc)[index]}.jpg"
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    else:
        path.write_text("this is no image")
    return path


@pytest.mark.parametrize(
    ("how", "told"),
    [("missing", "does not exist"), ("truncated", "truncated|damaged|cannot be read"), ("text", "image")],
)
def test_unreadable_image(pipeline, voc, tmp_path, capsys, how, told):
    content = (voc / "VOC2007" / "JPEGImages" / f"{train_ids(voc)[6]}.jpg").read_bytes()
    path = damage_image(voc, 6, how)
    refused(capsys, propose(pipeline, voc, tmp_path), path.name, told)
    refused(capsys, extract(pipeline, voc, tmp_path / "f"), path.name, told)
    assert not list(tmp_path.glob("p.h5*")) and not (tmp_path / "f").exists(), "told before anything is computed"
    path.write_bytes(content)
    assert command(*extract(pipeline, voc, tmp_path / "f")) == 0


def test_bad_images_of_both_sides_and_bad_annotations_are_told_at_once(pipeline, voc, tmp_path, capsys):
    folder = voc / "VOC2007"
    damage_image(voc, 0, "missing")
    damage_image(voc, 3, "text")
    edit_annotation(voc, 5, r"<width>\d+</width>", "<width>999</width>")
    bad = edit_annotation(voc, 7, "</annotation>", "")
    test_id = (folder / "ImageSets" / "Main" / "test.txt").read_text().split()[-1]
    image = folder / "JPEGImages" / f"{test_id}.jpg"
    image.write_bytes(image.read_bytes()[:2000])
    argv = ["run", "--voc", voc, "--classes", pipeline.names, "--out", tmp_path / "run"]
    assert command(*argv) == 2
    lines = capsys.readouterr().err.splitlines()
    start = next(index for index, line in enumerate(lines) if "error:" in line)
    assert "5 things are wrong, 4 of them with images: correct them, or leave them out with --skip-bad" in lines[start]
    told = "\n".join(lines[start + 1 :])
    for what in (bad.name, "does not exist", "is not an image", "says 999 x", f"{test_id}.jpg cannot be read"):
        assert what in told
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_in_the_place_of_a_file_is_not_waited_for(pipeline, features, tmp_path, capsys):
    for name in ("pipe", "pipe.xml", "ball.pipe"):
        os.mkfifo(tmp_path / name)
    pipe, out = tmp_path / "pipe", ["--out", tmp_path / "out"]
    voc = ["--voc", pipeline.voc, "--classes", pipeline.names]
    for argv in (
        ["propose", "--csv", pipe, "--images", tmp_path, *out],
        ["propose", "--coco", pipe, "--images", tmp_path, *out],
        ["propose", "--xml", tmp_path, *out],
        ["propose", *voc, "--ids", pipe, *out],
        ["propose", *voc, "--precomputed", pipe, *out],
        ["extract", *voc, "--weights", pipe, *out],
        ["evaluate", *voc, "--detections", pipe, *out],
        ["evaluate", *voc, "--comp4", tmp_path / "%s.pipe", *out],
        ["test", "--features", features["test"], "--model", pipe, *out],
        ["detect", "--model", pipe, "a.jpg", *out],
        ["inspect", pipe],
    ):
        refused(capsys, argv, r"pipe(\.xml)? is a named pipe, expected a file; correct the path")


def test_what_is_there_is_not_decoded_again(pipeline, voc, tmp_path, capsys):
    """A run that goes on looks at the headers of what it proposed for; an image that changed is read in its turn."""
    argv = [word if word != str(pipeline.voc) else voc for word in pipeline.argv]
    argv[argv.index("--out") + 1] = shutil.copytree(pipeline.out, tmp_path / "out")
    path = damage_image(voc, 6, "truncated")
    assert command(*argv) == 2
    message = capsys.readouterr().err
    assert "images cannot be used" not in message
    assert f"{path.name} cannot be read to its end" in message


def edit_annotation(voc: Path, index: int, pattern: str, replacement: str) -> Path:
    path = voc / "VOC2007" / "Annotations" / f"{train_ids(voc)[index]}.xml"
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
    return path


def first_with_object(voc: Path) -> int:
    folder = voc / "VOC2007" / "Annotations"
    return next(i for i, name in enumerate(train_ids(voc)) if "<object>" in (folder / f"{name}.xml").read_text())


def test_malformed_annotation(pipeline, voc, tmp_path, capsys):
    path = edit_annotation(voc, 2, "</annotation>", "")
    refused(capsys, extract(pipeline, voc, tmp_path / "f"), path.name, "malformed XML", "line")


def test_box_outside_the_image(pipeline, voc, tmp_path, capsys):
    path = edit_annotation(voc, first_with_object(voc), r"<xmax>\d+</xmax>", "<xmax>5000</xmax>")
    refused(capsys, [*extract(pipeline, voc, tmp_path / "f"), "--strict"], path.name, "5000", "outside")


def test_size_that_is_not_the_images(pipeline, voc, tmp_path, capsys):
    path = edit_annotation(voc, 0, r"<width>\d+</width>", "<width>999</width>")
    refused(capsys, extract(pipeline, voc, tmp_path / "f"), path.stem, "999")


def test_unknown_class(pipeline, features, tmp_path, capsys):
    argv = ["propose", "--voc", pipeline.voc, "--classes", "ball,dragon", "--out", tmp_path / "p.h5"]
    refused(capsys, argv, "dragon", "ball")
    argv = ["train", "--features", features["trainval"], "--classes", "dragon", "--out", tmp_path / "m.h5"]
    refused(capsys, argv, "dragon", "ball, crate")


def test_unknown_image_in_a_list_of_ids(pipeline, tmp_path, capsys):
    (tmp_path / "ids.txt").write_text("000001\nno-such-image\n")
    argv = ["propose", "--voc", pipeline.voc, "--classes", pipeline.names, "--ids", tmp_path / "ids.txt"]
    refused(capsys, [*argv, "--out", tmp_path / "p.h5"], "no-such-image|000001")


def test_class_without_ground_truth(pipeline, tmp_path, capsys):
    argv = ["run", "--voc", pipeline.voc, "--classes", "ball,sheep", "--out", tmp_path / "run"]
    refused(capsys, argv, "'sheep' has no ground truth in voc_2007_trainval: none of 9 annotation files", "ball")
    assert not (tmp_path / "run").exists(), "told before hours are spent"


def test_caches_of_two_backbones_mixed(pipeline, features, tmp_path, capsys):
    other = [*extract(pipeline, pipeline.voc, tmp_path / "other"), "--crop-size", "48", "--shard-images", "20"]
    assert command(*other) == 0
    mixed = shutil.copytree(features["trainval"], tmp_path / "mixed")
    shutil.copy(tmp_path / "other" / "shard-00000.h5", mixed / "shard-00000.h5")
    train = ["train", "--features", mixed, "--out", tmp_path / "m.h5"]
    refused(capsys, train, r"shard-00000\.h5", "cannot be mixed")
    refused(capsys, extract(pipeline, pipeline.voc, features["trainval"]), "made with other settings")
    test = ["test", "--features", tmp_path / "other", "--model", pipeline.out / "model.h5", "--out", tmp_path / "d.h5"]
    refused(capsys, test, "crop_size", "48", "64")
    assert FeatureCache.open(features["trainval"]).verify() == []


def test_truncated_shard(pipeline, features, tmp_path, capsys):
    broken = shutil.copytree(features["trainval"], tmp_path / "broken")
    shard = broken / "shard-00000.h5"
    shard.write_bytes(shard.read_bytes()[:-1000])
    argv = ["train", "--features", broken, "--out", tmp_path / "m.h5"]
    refused(capsys, argv, r"shard-00000\.h5", "truncated or damaged", "delete it")


def test_incomplete_cache(pipeline, features, tmp_path, capsys):
    partial = shutil.copytree(features["trainval"], tmp_path / "partial")
    (partial / "shard-00000.h5").unlink()
    argv = ["train", "--features", partial, "--out", tmp_path / "m.h5"]
    refused(capsys, argv, "is not complete: 1 of 1 shards are missing", "extract stage again")


def test_model_for_another_dimension(pipeline, features, tmp_path, capsys):
    detector = Detector.load(pipeline.out / "model.h5")
    replace(detector, W=np.zeros((4096, len(detector.classes)), np.float32)).save(tmp_path / "other.h5")
    argv = ["test", "--features", features["test"], "--model", tmp_path / "other.h5", "--out", tmp_path / "d.h5"]
    refused(capsys, argv, "4096", "1280", r"other\.h5")


def test_model_trained_with_other_settings_is_not_replaced(pipeline, features, capsys):
    model = pipeline.out / "model.h5"
    before = model.read_bytes()
    argv = ["train", "--features", features["trainval"], "--svm-C", "0.5", "--out", model]
    refused(
        capsys,
        argv,
        "was made with other settings",
        r"parameters\.svm_C: 0\.01 there, 0\.5 wanted",
        "give another --out, or --overwrite",
    )
    assert model.read_bytes() == before


def test_a_file_of_another_kind(pipeline, features, tmp_path, capsys):
    argv = ["test", "--features", features["test"], "--out", tmp_path / "d.h5", "--model"]
    refused(capsys, [*argv, pipeline.out / "detections.h5"], "holds detections, expected detector")
    with h5py.File(tmp_path / "foreign.h5", "w") as handle:
        handle["x"] = 1
    refused(capsys, [*argv, tmp_path / "foreign.h5"], "not written by rcnn-svm")
    refused(capsys, ["inspect", tmp_path / "foreign.h5"], "not written by rcnn-svm")
    refused(capsys, ["inspect", tmp_path / "none.h5"], "does not exist")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
def test_a_disk_that_refuses_to_write(pipeline, tmp_path, capsys):
    """The system refuses files above a size, as a full disk does: what was complete stays and is gone on from."""
    words = [*extract(pipeline, pipeline.voc, tmp_path / "f"), "--shard-images", "4"]
    with files_up_to(400 << 10):
        told = r"error: cannot write .*shard-0000\d\.h5: .*; everything completed before is intact"
        refused(capsys, words, told)
    assert not list((tmp_path / "f").glob(".shard*"))
    assert command(*words) == 0
    assert FeatureCache.open(tmp_path / "f").verify() == []


def test_a_model_that_cannot_be_saved_does_not_lose_the_training(pipeline, features, tmp_path, monkeypatch, capsys):
    """Something else is in the model's place after mining: the same command then ends with the same detector."""
    out = tmp_path / "m.h5"
    argv = ["train", "--features", features["trainval"], "--out", out, "--svm-C", "0.01"]

    with monkeypatch.context() as patch:
        # The hook of every save is there for this: what follows the last save fails.
        patch.setattr(Checkpoint, "on_save", lambda checkpoint, done: out.mkdir(exist_ok=True))
        refused(capsys, argv, "cannot write .*m.h5")
    out.rmdir()
    assert (tmp_path / "m.h5.checkpoint").exists()
    assert command(*argv) == 0
    assert not (tmp_path / "m.h5.checkpoint").exists()
    np.testing.assert_array_equal(Detector.load(out).W, Detector.load(pipeline.out / "model.h5").W)


def test_a_place_that_cannot_be_written_is_told_before_the_work(pipeline, features, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    train = ["train", "--features", features["trainval"], "--out"]
    test = ["test", "--features", features["test"], "--model", pipeline.out / "model.h5", "--out"]
    for argv in (train, test):
        refused(capsys, [*argv, tmp_path / "folder"], "is a folder, expected the name of a file")
        refused(capsys, [*argv, tmp_path / "file" / "m.h5"], "cannot write")
    refused(capsys, extract(pipeline, pipeline.voc, tmp_path / "file"), "cannot write|is not a feature cache")


def test_numbers_out_of_range(features, tmp_path, capsys):
    train = ["train", "--features", features["trainval"], "--out", tmp_path / "m.h5"]
    for option in (["--k-folds", "-1"], ["--seed", "-1"], ["--hard-thresh", "nan"], ["--tolerance", "1e-17"]):
        refused(capsys, [*train, *option], option[0][2:].replace("-", "_"))
