"""A second `run` after a round of labelling: what did not change stays; the result is that of a run from scratch."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli.arguments import recorded_name
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from tests.cli.command import command

QUICK = [
    "--preset",
    "paper",
    "--method",
    "sliding",
    "--max-boxes",
    "20",
    "--crop-size",
    "32",
    "--svm-C",
    "0.01",
    "--pictures",
    "0",
]


class Labels:
    """A CSV file of boxes and its images, both to be changed."""

    def __init__(self, own_data, folder: Path):
        self.path, self.images = folder / "boxes.csv", folder / "photos"
        shutil.copytree(own_data.images, self.images)
        with own_data.csv.open() as stream:
            self.header, *self.rows = csv.reader(stream)
        self.write()

    def write(self) -> None:
        with self.path.open("w", newline="") as stream:
            csv.writer(stream).writerows([self.header, *self.rows])

    def names(self) -> list[str]:
        return list(dict.fromkeys(row[0] for row in self.rows))

    def run(self, out: Path, *more: object) -> int:
        return command("run", "--csv", self.path, "--images", self.images, *QUICK, "--out", out, *more)


def ids(out: Path, side: str) -> list[str]:
    return [line for line in (out / f"{side}_ids.txt").read_text().splitlines() if not line.startswith("#")]


def cache_folder(out: Path, side: str) -> Path:
    folders = (out / "features").iterdir()
    return next(path for path in folders if list(FeatureCache.open(path).image_ids) == ids(out, side))


def check_equal(out: Path, scratch: Path) -> None:
    """Check that two runs have the same features, hard negatives, weights and detections."""
    for side in ("train", "test"):
        ours, theirs = (FeatureCache.open(cache_folder(run, side)) for run in (out, scratch))
        assert (ours.image_ids, ours.classes, ours.num_rows) == (theirs.image_ids, theirs.classes, theirs.num_rows)
        for image in range(ours.num_images):
            for name, array in vars(ours.regions(image)).items():
                np.testing.assert_array_equal(array, vars(theirs.regions(image))[name], err_msg=name)
    ours, theirs = (Detector.load(run / "model.h5") for run in (out, scratch))
    assert ours.classes == theirs.classes
    np.testing.assert_array_equal(ours.W, theirs.W)
    np.testing.assert_array_equal(ours.B, theirs.B)
    ours, theirs = (Detector.load_history(run / "model.h5") for run in (out, scratch))
    np.testing.assert_array_equal(ours["negatives"], theirs["negatives"])
    np.testing.assert_array_equal(ours["added"], theirs["added"])
    ours, theirs = (Detections.load(run / "detections.h5") for run in (out, scratch))
    for name in ("image", "cls", "box", "score", "row"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    ours, theirs = (json.loads((run / "report" / "results.json").read_text())["classes"] for run in (out, scratch))
    assert ours == theirs


@pytest.fixture(scope="module")
def first(own_data, tmp_path_factory) -> tuple[Labels, Path]:
    """A run on all images but two."""
    folder = tmp_path_factory.mktemp("first")
    labels = Labels(own_data, folder)
    new = labels.names()[:2]
    labels.later = [row for row in labels.rows if row[0] in new]
    labels.rows = [row for row in labels.rows if row[0] not in new]
    labels.write()
    assert labels.run(folder / "out") == 0
    return labels, folder / "out"


@pytest.fixture
def again(first, tmp_path) -> tuple[Labels, Path]:
    """The same labels and run, to be changed."""
    labels, out = first
    copied = object.__new__(Labels)
    copied.path, copied.images, copied.header = labels.path, tmp_path / "photos", labels.header
    copied.rows, copied.later = [list(row) for row in labels.rows], labels.later
    shutil.copytree(labels.images, copied.images)
    copied.path = tmp_path / "boxes.csv"
    copied.write()
    return copied, Path(shutil.copytree(out, tmp_path / "out"))


def computed(printed: str) -> list[int]:
    """Numbers of images whose features were computed, of the training and the test images."""
    return [int(number) for number in re.findall(r"computed now: (\d+) images", printed)]


def test_a_corrected_label_computes_no_features_and_is_trained(again, tmp_path, capsys):
    labels, out = again
    image = ids(out, "train")[0]
    row = next(row for row in labels.rows if row[0].startswith(image) and row[5])
    row[5] = next(other[5] for other in labels.rows if other[5] not in ("", row[5]))
    labels.write()
    before = (out / "model.h5").read_bytes()
    sides = [ids(out, side) for side in ("train", "test")]
    assert labels.run(out) == 0
    printed = capsys.readouterr().out
    assert computed(printed) == [0, 0] and "taken over: " in printed
    assert f"made again: {out / 'model.h5'}, as images or labels changed (cache: " in printed
    assert (out / "model.h5").read_bytes() != before and [ids(out, side) for side in ("train", "test")] == sides


def test_a_round_of_labelling_is_a_run_from_scratch_on_the_same_split(again, tmp_path, capsys):
    labels, out = again
    train, test = (ids(out, side) for side in ("train", "test"))
    stem = {Path(name).stem: name for name in labels.names()}
    gone, moved, other = train[1], train[2], test[0]
    # An image removed, an object added, a file replaced, a class nobody had used, and two images more.
    labels.rows = [row for row in labels.rows if row[0] != stem[gone]]
    labels.rows.append([stem[moved], "3", "4", "40", "50", "apple", "0"][: len(labels.header)])
    labels.rows.append([stem[train[3]], "3", "4", "40", "50", "apple", "0"][: len(labels.header)])
    labels.rows += labels.later
    labels.write()
    pixels = np.asarray(Image.open(labels.images / stem[other]))
    Image.fromarray(255 - pixels).save(labels.images / stem[other])
    capsys.readouterr()
    # The tool that labels exports another name.
    labels.path = labels.path.rename(labels.path.with_name("export-2.csv"))
    assert labels.run(out) == 0
    printed = capsys.readouterr().out
    now = {side: ids(out, side) for side in ("train", "test")}
    assert set(train) - {gone} <= set(now["train"]) and set(test) <= set(now["test"])
    new = {Path(row[0]).stem for row in labels.later}
    assert new <= {*now["train"], *now["test"]} and len(new) == 2
    # Two images with a new object and one replaced, besides the new ones.
    assert sum(computed(printed)) == 5
    assert recorded_name(out / "train_ids.txt") == "boxes_train" and sorted(
        path.name for path in (out / "features").iterdir()
    ) == ["boxes_test.lite0", "boxes_train.lite0"]
    for side, listed in now.items():
        (tmp_path / f"{side}.txt").write_text("\n".join(listed))
    lists = [word for side in now for word in (f"--{side}-ids", tmp_path / f"{side}.txt")]
    assert labels.run(tmp_path / "scratch", *lists) == 0
    check_equal(out, tmp_path / "scratch")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.h5")}
    assert labels.run(out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.h5")} == before


def test_other_test_images_are_compared_on_those_of_before(again, capsys):
    labels, out = again
    tested, before = ids(out, "test"), json.loads((out / "report" / "results.json").read_text())
    found = Detections.load(out / "detections.h5")
    for copy in ("b", "c"):
        for name in {row[0] for row in labels.later}:
            shutil.copy(labels.images / name, labels.images / f"{copy}{name}")
        labels.rows += [[f"{copy}{row[0]}", *row[1:]] for row in labels.later]
    labels.write()
    assert labels.run(out) == 0
    told = re.search(r"on the (\d+) that the run before tested on too it is .*; then (\S+)%, ", capsys.readouterr().out)
    assert set(tested) < set(ids(out, "test")) and int(told[1]) == len(tested)
    assert float(told[2]) == pytest.approx(100 * before["map_voc07"], abs=0.06)
    again = Detections.load(out / "detections.h5").subset(tested)
    assert again.image_ids == found.image_ids and len(again) < len(Detections.load(out / "detections.h5"))
    assert labels.run(out) == 0
    assert "that the run before tested on" not in capsys.readouterr().out


def test_training_on_everything_computes_nothing_and_is_a_training_on_all_images(again, tmp_path, capsys):
    labels, out = again
    assert labels.run(out, "--test-fraction", "0") == 0
    printed = capsys.readouterr().out
    assert computed(printed) == [0] and "taken over: " in printed
    assert f"{out / 'report'} is of the detector that was trained without the test images" in printed
    data = ["--csv", labels.path, "--images", labels.images, "--split", "all"]
    boxes, features = tmp_path / "all.h5", tmp_path / "features"
    limits = QUICK[QUICK.index("--max-boxes") :][:2]
    assert command("propose", *data, "--method", "sliding", *limits, "--out", boxes) == 0
    assert command("extract", *data, "--proposals", boxes, "--crop-size", "32", "--out", features) == 0
    words = ["--svm-C", "0.01", "--pos-loss-weight", "auto", "--out", tmp_path / "model.h5"]
    assert command("train", "--features", features, *words) == 0
    ours, theirs = (Detector.load(path / "model.h5") for path in (out / "everything", tmp_path))
    np.testing.assert_array_equal(ours.W, theirs.W)
    ours, theirs = (Detector.load_history(path / "model.h5") for path in (out / "everything", tmp_path))
    np.testing.assert_array_equal(ours["added"], theirs["added"])
    ours, tested = (Detector.load(path / "detector.h5") for path in (out / "everything", out))
    np.testing.assert_array_equal(ours.thresholds, tested.thresholds)
    assert tested.thresholds_from["of_this_model"] and not ours.thresholds_from["of_this_model"]
    assert labels.run(out, "--test-fraction", "0") == 0
    assert f"done already: {out / 'everything' / 'model.h5'}" in capsys.readouterr().out


def test_everything_is_what_a_fraction_was_drawn_from(again, tmp_path, capsys):
    labels, out = again
    assert labels.run(out, "--test-fraction", "0", "--test-csv", labels.path) == 2
    assert "here the test images are named, so the training has all others already" in capsys.readouterr().err
    assert labels.run(tmp_path / "fresh", "--test-fraction", "0") == 0
    assert "without --test-fraction 0 a quarter of the images is" in capsys.readouterr().out


def test_the_lists_of_the_first_run_may_be_given(again, tmp_path, capsys):
    labels, out = again
    lists = [word for side in ("train", "test") for word in (f"--{side}-ids", tmp_path / f"{side}.txt")]
    for side in ("train", "test"):
        shutil.copy(out / f"{side}_ids.txt", tmp_path / f"{side}.txt")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.h5")}
    assert labels.run(out, *lists) == 0
    assert "train: boxes_train, " in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.h5")} == before


def test_box_regression_follows_the_labels_where_asked(again, capsys):
    labels, out = again
    features = cache_folder(out, "train")
    bbox = ["train-bbox", "--features", features, "--out", out / "bbox.h5"]
    assert command(*bbox) == 0
    digest = BoxRegressor.load(out / "bbox.h5").digest
    row = next(row for row in labels.rows if Path(row[0]).stem == ids(out, "train")[0] and row[5])
    row[1] = str(int(row[1]) + 1)
    labels.write()
    data = ["--csv", labels.path, "--images", labels.images, "--ids", out / "train_ids.txt"]
    proposals = next((out / "proposals").glob("*train*"))
    assert command("extract", *data, "--proposals", proposals, "--crop-size", "32", "--out", features) == 0
    capsys.readouterr()
    assert command(*bbox) == 2
    assert "--update to make again what they change" in capsys.readouterr().err
    assert command(*bbox, "--update") == 0 and BoxRegressor.load(out / "bbox.h5").digest != digest


def test_other_settings_after_the_features_are_made_again_without_computing_any(again, capsys):
    labels, out = again
    for more, told in (
        (["--svm-C", "0.02", "--bbox"], "parameters.svm_C: 0.01 there, 0.02 wanted"),
        (["--calibrate", "--vote"], "model.h5, as settings changed ("),
    ):
        before = {path: path.stat().st_mtime_ns for path in (out / "features").rglob("*.h5")}
        assert labels.run(out, *more) == 0
        printed = capsys.readouterr().out
        assert computed(printed) == [0, 0] and told in printed
        assert {path: path.stat().st_mtime_ns for path in (out / "features").rglob("*.h5")} == before
        detector = Detector.load(out / "detector.h5")
        assert (detector.bbox_regressor is not None) == ("--bbox" in more)
        assert (detector.calibration is not None) == detector.recipe.vote == ("--vote" in more)
        *_, block = printed.split("\n\n")
        lines = block.splitlines()
        assert lines[0].startswith(f"use it: rcnn-svm detect --model {out / 'detector.h5'} IMAGE")
        assert len(lines) <= 15 and all(len(line) <= 80 for line in lines if str(out) not in line)
        assert "reported: scores above " in block and f"report: {out / 'report'} (ap.md, " in block
        assert lines[-1] == "last of all: the same command with --test-fraction 0 trains on all images"


def refused(labels, out, capsys, more, told):
    """Check that a run with more options is refused, and what it says."""
    assert labels.run(out, *more) == 2
    assert told in capsys.readouterr().err


def test_other_settings_and_other_images_are_refused(again, tmp_path, capsys):
    labels, out = again
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for more, told in (
        (["--max-boxes", "21"], "max_boxes: 20 there, 21 wanted); give another --out, or --overwrite"),
        (["--test-fraction", "0.5"], "test_fraction: 0.25 there, 0.5 wanted); give another --out, or --overwrite"),
    ):
        refused(labels, out, capsys, more, told)
    for name in labels.names():
        (labels.images / name).rename(labels.images / f"other-{name}")
    labels.rows = [[f"other-{row[0]}", *row[1:]] for row in labels.rows]
    labels.write()
    assert labels.run(out) == 2
    assert "out holds a run on other images: none of the 14 that train_ids.txt and" in capsys.readouterr().err
    changed = [path.name for path, content in before.items() if path.read_bytes() != content]
    assert set(changed) <= {"train_ids.txt", "test_ids.txt"}


def test_which_split_and_classes_are_settings(again, pipeline, capsys):
    labels, out = again
    for more, told in (
        (["--classes", "ball,star"], "classes: None there, ball,star wanted); give another --out, or --overwrite"),
        (["--train-split", "all"], "split: train there, all wanted); give another --out, or --overwrite"),
        (["--test-split", "all"], "split: test there, all wanted); give another --out, or --overwrite"),
    ):
        refused(labels, out, capsys, more, told)
    before = (pipeline.out / "train_ids.txt").read_text()
    assert command(*pipeline.argv, "--train-split", "test") == 2
    assert "split: trainval there, test wanted); give another --out, or --overwrite" in capsys.readouterr().err
    assert (pipeline.out / "train_ids.txt").read_text() == before


def test_other_images_of_the_same_names_replace_nothing(again, capsys):
    labels, out = again
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    for path in labels.images.iterdir():
        Image.open(path).rotate(180).save(path)
    assert labels.run(out) == 2
    assert f"{out} holds a run on other images: all files differ from the 14" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()} == before
