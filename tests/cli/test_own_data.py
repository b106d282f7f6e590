"""Data of one's own through the command line: every source to the same result, and what is refused."""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli.run import _constants
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES
from tests.cli.command import command

NAMES = ",".join(SYNTHETIC_CLASSES)
QUICK = [
    "--preset",
    "paper",
    "--method",
    "sliding",
    "--max-boxes",
    "30",
    "--crop-size",
    "32",
    "--svm-C",
    "0.01",
    "--pictures",
    "0",
]


def run(out, *words) -> None:
    assert command("run", *words, *QUICK, "--out", out) == 0


def report(out) -> list[dict]:
    return json.loads((out / "report" / "results.json").read_text())["classes"]


def refused(capsys, argv, *told: str) -> None:
    """Run a command that must fail with one sentence holding the texts in `told`."""
    capsys.readouterr()
    assert command(*argv) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    for text in told:
        assert re.search(text, errors[0]), errors[0]


@pytest.fixture(scope="module")
def split_run(own_data, tmp_path_factory) -> Path:
    """A run on CSV with an automatic split."""
    out = tmp_path_factory.mktemp("split") / "out"
    run(out, "--csv", own_data.csv, "--images", own_data.images, "--split-seed", "4")
    return out


@pytest.fixture(scope="module")
def separate_run(own_data, tmp_path_factory) -> Path:
    """A run on CSV with test images of a file of the same name, in which one class does not occur."""
    root = tmp_path_factory.mktemp("separate")
    rows = list(csv.reader((own_data.root / "test.csv").open()))
    with (root / "trainval.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(row for row in rows if row[5] != "ring")
    files = ["--csv", own_data.root / "trainval.csv", "--test-csv", root / "trainval.csv"]
    run(root / "out", *files, "--images", own_data.images, "--classes", NAMES, "--bbox")
    return root / "out"


@pytest.fixture(scope="module")
def devkit_run(own_data, tmp_path_factory) -> list[dict]:
    """The figures of a run on the devkit."""
    out = tmp_path_factory.mktemp("devkit") / "out"
    run(out, "--voc", own_data.voc, "--classes", NAMES)
    return report(out)


@pytest.mark.parametrize("source", ["coco", "csv", "xml"])
def test_a_run_gives_the_figures_of_the_devkit(own_data, devkit_run, tmp_path, source):
    data = [f"--{source}", getattr(own_data, source), "--images", own_data.images, "--classes", NAMES]
    for side, split in (("train", "trainval"), ("test", "test")):
        (tmp_path / f"{side}.txt").write_text("\n".join(own_data.splits[split]))
        data += [f"--{side}-ids", tmp_path / f"{side}.txt"]
    run(tmp_path / "out", *data, "--pos-loss-weight", "2")
    assert any(entry["ap_area"] > 0 for entry in devkit_run)
    assert len(devkit_run) == len(SYNTHETIC_CLASSES)
    for ours, theirs in zip(report(tmp_path / "out"), devkit_run, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            # The sums of a training depend on the order of an image's objects, which the file decides.
            assert ours[key] == (value if isinstance(value, str) else pytest.approx(value, abs=1e-4)), key


def test_constants_are_the_papers_with_a_devkit_and_by_number_without(own_data, capsys):
    database = load_voc(own_data.voc, classes=SYNTHETIC_CLASSES)

    def chosen(**given):
        return _constants(
            argparse.Namespace(**{"preset": "paper", "voc": None, "svm_C": None, "pos_loss_weight": None, **given}),
            database,
        )

    assert chosen(voc=own_data.voc) == (1e-3, 2) and chosen(pos_loss_weight=3.0) == (1e-3, 3)
    assert not capsys.readouterr().out
    assert chosen() == chosen(voc=own_data.voc, preset="standard") == (1e-3, "auto")
    assert "C is the paper's, as --svm-C auto takes several trainings" in " ".join(capsys.readouterr().out.split())
    assert chosen(svm_C=0.1) == (0.1, "auto")
    assert "C is the paper's" not in " ".join(capsys.readouterr().out.split())


def test_run_corrects_boxes_where_asked(separate_run, split_run):
    corrected, plain = (Detections.load(out / "detections.h5") for out in (separate_run, split_run))
    assert BoxRegressor.load(separate_run / "bbox.h5").digest == corrected.settings["bbox"]["digest"]
    assert "bbox" not in plain.settings


def test_features_are_those_of_the_devkit(own_data, separate_run, tmp_path):
    argv = ["extract", "--voc", own_data.voc, "--classes", NAMES, "--crop-size", "32", "--out", tmp_path / "f"]
    proposals = separate_run / "proposals" / "trainval_train.sliding.h5"
    assert command(*argv, "--proposals", proposals) == 0
    caches = [FeatureCache.open(path) for path in (tmp_path / "f", separate_run / "features" / "trainval_train.lite0")]
    assert caches[0].image_ids == caches[1].image_ids
    for i in range(caches[0].num_images):
        for field in ("boxes", "features", "label", "overlap", "difficult"):
            np.testing.assert_array_equal(*(getattr(cache.regions(i), field) for cache in caches))


@pytest.mark.parametrize("source", ["coco", "csv", "xml"])
def test_evaluation_is_that_of_the_devkit(own_data, tmp_path, source):
    database = load_voc(own_data.voc, split="test", classes=SYNTHETIC_CLASSES)
    rng = np.random.default_rng(0)
    annotations = [database.annotation(i) for i in range(len(database))]
    image = np.repeat(np.arange(len(database)), [3 * len(a.boxes) for a in annotations])
    boxes = np.concatenate([np.repeat(a.boxes, 3, axis=0) for a in annotations])
    cls = np.concatenate([np.repeat(a.classes, 3) for a in annotations])
    boxes[:, 2:] += rng.integers(0, 30, (len(boxes), 2))
    found = Detections(database.image_ids, database.classes, image, cls, boxes, rng.random(len(boxes)))
    found.save(tmp_path / "d.h5")
    (tmp_path / "ids.txt").write_text("\n".join(own_data.splits["test"]))
    results = []
    own = [f"--{source}", getattr(own_data, source), "--images", own_data.images, "--ids", tmp_path / "ids.txt"]
    for name, words in {"voc": ["--voc", own_data.voc], "own": own}.items():
        argv = ["evaluate", *words, "--classes", NAMES, "--detections", tmp_path / "d.h5", "--pictures", "0"]
        assert command(*argv, "--out", tmp_path / name) == 0
        results.append(json.loads((tmp_path / name / "results.json").read_text()))
    assert results[0]["classes"] == results[1]["classes"]
    assert 0 < results[0]["map_area"] < 1


def test_automatic_split_is_told_and_recorded(own_data, split_run, capsys):
    sides = [(split_run / f"{name}_ids.txt").read_text().splitlines() for name in ("train", "test")]
    assert all(re.match(r"# .*--split-seed 4 --split (train|test); rcnn-svm", lines[0]) for lines in sides)
    train, test = (set(lines[1:]) for lines in sides)
    assert (len(train), len(test)) == (12, 4) and len(train | test) == 16
    before = {path: path.stat().st_mtime_ns for path in split_run.rglob("*.h5")}
    run(split_run, "--csv", own_data.csv, "--images", own_data.images, "--split-seed", "4")
    printed = capsys.readouterr().out
    assert "train: boxes_train, 12 images" in printed and "test: boxes_test, 4 images" in printed
    assert {path: path.stat().st_mtime_ns for path in split_run.rglob("*.h5")} == before
    chosen = re.search(r"chosen: --svm-C 0\.01 --pos-loss-weight auto, because a class has (\d+) objects", printed)
    training = Detector.load(split_run / "model.h5").training
    assert chosen and training["svm_C"] == 0.01
    updates = Detector.load_history(split_run / "model.h5")["updates"]
    objects = [updates[updates[:, 0] == k][0, 3] for k in range(len(training["pos_loss_weight"]))]
    assert int(chosen[1]) == int(np.median(objects))
    assert np.argmax(training["pos_loss_weight"]) == np.argmin(objects) and min(training["pos_loss_weight"]) > 2


def test_stages_by_hand_take_what_the_run_made(own_data, split_run, tmp_path, capsys):
    data = ["--csv", own_data.csv, "--images", own_data.images]
    detections = ["--detections", split_run / "detections.h5", "--pictures", "0", "--out", tmp_path / "r"]
    by_split = ["evaluate", *data, "--split", "test", "--split-seed", "4", *detections]
    assert command(*by_split) == 0
    assert report(split_run) == json.loads((tmp_path / "r" / "results.json").read_text())["classes"]
    assert len(list((tmp_path / "r" / "comp4").glob("comp4_det_test_*.txt"))) == 5
    by_ids = ["evaluate", *data, "--ids", split_run / "test_ids.txt", *detections, "--overwrite"]
    assert command(*by_ids) == 0
    assert report(split_run) == json.loads((tmp_path / "r" / "results.json").read_text())["classes"]
    # Without --split, a stage takes all images.
    argv = ["propose", *data, "--method", "sliding", "--max-boxes", "5", "--out", tmp_path / "p.h5"]
    assert command(*argv) == 0
    assert sorted(ProposalSet.load(tmp_path / "p.h5").image_ids) == sorted(itertools.chain(*own_data.splits.values()))


def test_test_images_may_have_a_file_of_the_same_name_and_lack_a_class(own_data, separate_run, tmp_path, capsys):
    assert sorted(path.name for path in (separate_run / "features").iterdir()) == [
        *("trainval_test.lite0", "trainval_train.lite0")
    ]
    found = {entry["class"]: entry for entry in report(separate_run)}
    assert found["ring"]["objects"] == 0 and found["ring"]["ap_area"] is None and len(found) == 5
    data = ["--csv", own_data.csv, "--images", own_data.images, "--classes", "ball,unicorn", "--out", tmp_path / "p.h5"]
    assert command("propose", "--method", "sliding", "--max-boxes", "5", *data) == 0
    assert "note: class 'unicorn' has no objects in boxes: none of" in capsys.readouterr().err


def test_images_on_both_sides_are_told(own_data, tmp_path, capsys):
    argv = ["run", "--csv", own_data.csv, "--images", own_data.images, "--train-split", "all", "--out", tmp_path / "o"]
    argv += ["--merge-iou", "7"]  # ends the run at its first stage
    assert command(*argv) == 2
    assert "warning: 4 images are on both sides" in capsys.readouterr().out


def test_names_with_a_hash_are_no_comments_in_lists_of_ids(own_data, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    text = own_data.csv.read_text()
    for number, image_id in enumerate(sorted(itertools.chain(*own_data.splits.values()))):
        name = f"{'#' if number % 2 else 'photo #'}{number}.jpg"
        shutil.copy(own_data.images / f"{image_id}.jpg", photos / name)
        text = text.replace(f"{image_id}.jpg", name)
    (tmp_path / "boxes.csv").write_text(text)
    argv = ["run", "--csv", tmp_path / "boxes.csv", "--images", photos, "--out", tmp_path / "o"]
    for _ in range(2):  # the second time, the lists that the first has written are compared
        refused(capsys, [*argv, "--merge-iou", "7"], "merge.iou")
    ids = tmp_path / "o" / "test_ids.txt"
    words = ["--csv", tmp_path / "boxes.csv", "--images", photos, "--ids", ids, "--out", tmp_path / "p.h5"]
    assert command("propose", "--method", "sliding", "--max-boxes", "5", *words) == 0
    assert list(ProposalSet.load(tmp_path / "p.h5").image_ids) == ids.read_text().splitlines()[1:]


def test_unused_images_are_told(own_data, tmp_path, capsys):
    photos = shutil.copytree(own_data.images, tmp_path / "photos")
    (photos / "notes.txt").write_text("no image")
    data = ["--csv", own_data.root / "test.csv", "--images", photos, "--out", tmp_path / "p.h5"]
    assert command("propose", "--method", "sliding", "--max-boxes", "5", *data) == 0
    told = f"note: not used, because test has no annotation of it: 12 of the images in {photos}, the first is 000001"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("source", ["csv", "coco", "xml", "voc"])
def test_bad_images_are_left_out_if_that_is_said(own_data, tmp_path, capsys, source):
    root = shutil.copytree(own_data.root, tmp_path / "data")
    given = getattr(own_data, source)
    words = [f"--{source}", root / given.relative_to(own_data.root)]
    if source == "voc":
        words += ["--classes", NAMES, "--split", "trainval"]
        photos, ids = root / "VOCdevkit" / "VOC2007" / "JPEGImages", sorted(own_data.splits["trainval"])
    else:
        photos, ids = (
            root / own_data.images.relative_to(own_data.root),
            sorted(itertools.chain(*own_data.splits.values())),
        )
        words += ["--images", photos]
    (photos / f"{ids[1]}.jpg").unlink()
    (photos / f"{ids[2]}.jpg").write_text("<html></html>")
    (photos / f"{ids[3]}.jpg").write_bytes((photos / f"{ids[3]}.jpg").read_bytes()[:3000])
    argv = ["propose", "--method", "sliding", "--max-boxes", "5", *words, "--out", tmp_path / "p.h5"]
    assert command(*argv) == 2
    assert f"3 of {len(ids)} images cannot be used; correct them, or leave them" in capsys.readouterr().err
    assert command(*argv, "--skip-bad-images") == 0
    assert capsys.readouterr().err.count("note: images left out of") == 1
    assert sorted(ProposalSet.load(tmp_path / "p.h5").image_ids) == [ids[0], *ids[4:]]


def test_images_left_out_are_missing_in_lists_and_classes_too(own_data, tmp_path, capsys):
    (tmp_path / "a.csv").write_text(
        "image,x1,y1,x2,y2,class\n"
        + "".join(f"{name}.jpg,1,1,20,20,{label}\n" for name, label in zip("abcdef", "xxxxyz", strict=True))
    )
    for name in "abcde":
        shutil.copy(own_data.images / f"{own_data.splits['test'][0]}.jpg", tmp_path / f"{name}.jpg")
    (tmp_path / "ids.txt").write_text("f\na\n")
    argv = ["propose", "--csv", tmp_path / "a.csv", "--images", tmp_path, "--method", "sliding", "--skip-bad-images"]
    argv += ["--ids", tmp_path / "ids.txt", "--max-boxes", "5", "--out", tmp_path / "p.h5"]
    assert command(*argv) == 0
    captured = capsys.readouterr()
    assert "note: classes left out, because no image that is used has an object of them: 'z'" in captured.err
    assert "y" in captured.out and "z " not in captured.out
    assert list(ProposalSet.load(tmp_path / "p.h5").image_ids) == ["a"]


def test_coco_protocol(own_data, split_run, tmp_path, capsys):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed; it comes with the extra rcnn-svm[coco]")
    argv = ["evaluate", "--protocol", "coco", "--csv", own_data.csv, "--images", own_data.images]
    argv += ["--ids", split_run / "test_ids.txt", "--detections", split_run / "detections.h5", "--pictures", "0"]
    assert command(*argv, "--out", tmp_path) == 0
    told = capsys.readouterr().out
    # Wider than 80 columns, the table stands in blocks, which all begin with the classes.
    blocks = [block for block in told.split("\n\n") if re.search(r"^class ", block, re.M)]
    assert len(blocks) == 2 and max(map(len, told.splitlines())) <= 80
    titles = " ".join(block.partition("\n---")[0] for block in blocks)
    assert {"AP", "AR", "objects", "small", "medium", "large"} <= {*titles.split()}
    content = json.loads((tmp_path / "coco_ap.json").read_text())
    assert 0 <= content["means"]["ap"] <= content["means"]["ap50"] <= 1
    assert [entry["objects"] for entry in content["classes"]] == [entry["objects"] for entry in report(split_run)]
    assert (tmp_path / "coco_ap.csv").exists() and (tmp_path / "coco_ap.md").exists()


def test_coco_protocol_without_its_extra(own_data, split_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    argv = ["evaluate", "--protocol", "coco", "--csv", own_data.csv, "--images", own_data.images, "--out", tmp_path]
    argv += ["--ids", split_run / "test_ids.txt", "--detections", split_run / "detections.h5"]
    refused(capsys, argv, r"needs pycocotools, which is not installed; install it with: pip install 'rcnn-svm\[coco\]'")


def test_sources_that_do_not_fit_together(own_data, tmp_path, capsys):
    propose, out = ["propose", "--method", "sliding"], ["--out", tmp_path / "p.h5"]
    refused(capsys, [*propose, "--csv", own_data.csv, *out], "--csv needs --images DIR")
    refused(capsys, [*propose, "--coco", own_data.coco, *out], "--coco needs --images DIR")
    voc = ["--voc", own_data.voc, "--images", own_data.images]
    refused(capsys, [*propose, *voc, *out], "--images is for --coco, --csv, --xml and --yolo")
    data = ["--csv", own_data.csv, "--images", own_data.images]
    refused(
        capsys,
        [*propose, *data, "--split", "val", *out],
        "split 'val' exists only in VOC devkits and data.yaml",
        "train, test or all",
    )
    refused(capsys, [*propose, *data, "--split", "test", "--test-fraction", "1.5", *out], "between 0 and 1, not 1.5")
    refused(capsys, [*propose, *data, "--split", "test", "--split-seed", "-3", *out], "seed of the split is -3")
    refused(capsys, [*propose, *data, "--classes", "dragon", *out], r"boxes\.csv is called 'dragon'", r"ball \(")
    for argv in ([*propose, *out], [*propose, *data, "--xml", own_data.xml, *out]):
        with pytest.raises(SystemExit) as stop:
            command(*argv)
        assert stop.value.code == 2
    assert not (tmp_path / "p.h5").exists()


def test_class_without_ground_truth_tells_what_was_read(own_data, tmp_path, capsys):
    rows = len((own_data.root / "trainval.csv").read_text().splitlines()) - 1
    empty = sum(line.endswith(",,,,,,") for line in (own_data.root / "trainval.csv").read_text().splitlines())
    told = rf"'dragon' has no ground truth in trainval: none of {rows - empty} rows of .*trainval\.csv names it"
    data = ["--images", own_data.images, "--classes", "ball,dragon", "--out", tmp_path / "run"]
    separate = ["--csv", own_data.root / "trainval.csv", "--test-csv", own_data.root / "test.csv"]
    refused(capsys, ["run", *separate, *data], told, r"they name \w+ \(\d+\), .*ball \(\d+\)")
    refused(capsys, ["run", "--coco", own_data.coco, *data], "boxes_train: none of .* annotations of .*boxes.json")
    refused(capsys, ["run", "--xml", own_data.xml, *data], "annotations_train: none of 12 annotation files names it")
    assert not (tmp_path / "run").exists(), "told before hours are spent"


def test_a_class_in_one_image_cannot_be_calibrated_which_is_told_first(own_data, tmp_path, capsys):
    rows = list(csv.reader((own_data.root / "trainval.csv").open()))
    first = next(row[0] for row in rows if row[5] == "ring")
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(row for row in rows if row[5] != "ring" or row[0] == first)
    files = ["--csv", tmp_path / "boxes.csv", "--test-csv", own_data.root / "test.csv", "--images", own_data.images]
    told = "'ring' cannot be calibrated: 1 of the .* images of boxes shows it, expected 2 at least"
    refused(capsys, ["run", *files, "--calibrate", "--out", tmp_path / "run"], told)
    assert not (tmp_path / "run").exists()


def test_a_network_that_cannot_be_had_is_told_before_the_proposals(own_data, tmp_path, capsys):
    argv = ["run", "--csv", own_data.csv, "--images", own_data.images, "--out", tmp_path / "run"]
    refused(
        capsys,
        [*argv, "--backbone", "lite9"],
        "backbone 'lite9' is neither lite0, lite1, lite2 nor a classifier of torchvision",
    )
    refused(capsys, [*argv, "--layer", "fc7"], "fc7")
    refused(capsys, [*argv, "--weights", tmp_path / "none.pt"], r"none\.pt does not exist")
    assert not (tmp_path / "run").exists()


def test_a_bad_box_names_its_file_and_row(own_data, tmp_path, capsys):
    out = ["--method", "sliding", "--out", tmp_path / "p.h5", "--images", own_data.images]
    text = own_data.csv.read_text().splitlines()
    (tmp_path / "b.csv").write_text("\n".join([*text, "000001.jpg,5,5,5000,6,ball,0"]))
    line = len(text) + 1
    refused(
        capsys,
        ["propose", "--csv", tmp_path / "b.csv", "--strict", *out],
        rf"b\.csv, line {line} \(ball\): box .*x2=5000",
    )
    content = json.loads(own_data.coco.read_text())
    content["annotations"][0]["bbox"][2] = 5000
    (tmp_path / "b.json").write_text(json.dumps(content))
    number = content["annotations"][0]["id"]
    refused(
        capsys, ["propose", "--coco", tmp_path / "b.json", "--strict", *out], rf"b\.json, annotation {number} .*5000"
    )
    broken = shutil.copytree(own_data.xml, tmp_path / "xml")
    path = next(p for p in sorted(broken.iterdir()) if "<object>" in p.read_text())
    path.write_text(re.sub(r"<xmax>\d+</xmax>", "<xmax>5000</xmax>", path.read_text(), count=1))
    refused(capsys, ["propose", "--xml", broken, "--strict", *out], rf"{path.name}, object 1 .*xmax=5000")
    (tmp_path / "p.h5").unlink(missing_ok=True)
    assert command("propose", "--xml", broken, *out) == 0
    assert re.search(rf"note: boxes cut .*: 1, .*{path.name}, object 1 .*xmax=5000", capsys.readouterr().err)


@pytest.mark.parametrize("source", ["coco", "csv", "xml"])
def test_files_that_are_missing_or_damaged(own_data, tmp_path, capsys, source):
    argv = ["propose", "--images", own_data.images, "--out", tmp_path / "p.h5", f"--{source}"]
    refused(capsys, [*argv, tmp_path / "none"], "none does not exist")
    place = tmp_path / "damaged"
    if source == "xml":
        shutil.copytree(own_data.xml, place)
        next(place.iterdir()).write_text("<annotation>")
    else:
        place.write_text("no such format")
    refused(capsys, [*argv, place], "damaged.*(malformed|no column)")
    images = ["propose", f"--{source}", getattr(own_data, source), "--images", tmp_path / "nowhere"]
    refused(capsys, images, "image folder .*nowhere does not exist")


def test_a_run_on_other_images_leaves_the_record(own_data, split_run, capsys):
    before = {path: path.read_text() for path in split_run.glob("*_ids.txt")}
    argv = ["run", "--csv", own_data.csv, "--images", own_data.images, "--split-seed", "5", "--out", split_run]
    refused(capsys, argv, r"out/train_ids\.txt was made with other settings \(split_seed: 4 there, 5 wanted\)")
    assert {path: path.read_text() for path in split_run.glob("*_ids.txt")} == before
    argv = ["run", "--csv", own_data.csv, "--images", own_data.images, "--test-images", own_data.images]
    refused(capsys, argv, "--test-images needs --test-coco, --test-xml, --test-csv or --test-yolo")


def test_categories_need_ids_of_their_own_and_boxes_numbers(own_data, tmp_path, capsys):
    whole = json.loads(own_data.coco.read_text())
    argv = ["propose", "--coco", tmp_path / "c.json", "--images", own_data.images, "--out", tmp_path / "p.h5"]
    content = {**whole, "categories": [{**entry, "id": 1} for entry in whole["categories"][:2]]}
    (tmp_path / "c.json").write_text(json.dumps(content))
    refused(capsys, argv, "c.json: categories '.*' and '.*' share an id")
    content = json.loads(own_data.coco.read_text())
    content["annotations"][0]["bbox"] = [10**400, 0, 5, 5]
    (tmp_path / "c.json").write_text(json.dumps(content))
    refused(capsys, argv, "expected four numbers")
