"""The evaluate stage on a small devkit: perfect detections there and back through every format."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.cli.main import run_command
from rcnn_svm.data.coco import load_coco
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.detections import Detections
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc
from tests.cli.command import command


@pytest.fixture(scope="module")
def devkit(tmp_path_factory):
    root = tmp_path_factory.mktemp("devkit")
    write_synthetic_voc(root, num_train=1, num_test=4)
    return root


def perfect_detections(root):
    """Every object found where it is, twice."""
    database = load_voc(root, "2007", "test", classes=SYNTHETIC_CLASSES)
    annotations = [database.annotation(index) for index in range(len(database))]
    boxes = np.concatenate([annotation.boxes for annotation in annotations])
    image = np.repeat(np.arange(len(annotations)), [len(annotation.boxes) for annotation in annotations])
    cls = np.concatenate([annotation.classes for annotation in annotations])
    return Detections(
        database.image_ids,
        database.classes,
        np.tile(image, 2),
        np.tile(cls, 2),
        np.tile(boxes, (2, 1)),
        np.repeat([1.0, 0.5], len(boxes)),
    )


def evaluate(*words):
    return run_command("evaluate", [*map(str, words), "--classes", ",".join(SYNTHETIC_CLASSES)])


def test_report_of_perfect_detections(devkit, tmp_path, capsys):
    detections = perfect_detections(devkit)
    detections.save(tmp_path / "found.h5")
    out = tmp_path / "report"
    assert evaluate("--detections", tmp_path / "found.h5", "--voc", devkit, "--pictures", 2, "--out", out) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"wrote {out}"
    mean = next(line.split() for line in printed.splitlines() if line.startswith("mean"))
    assert mean[-2:] == ["100.0", "100.0"]

    assert "mAP lost (TIDE): Cls 0.0" in printed and "precision 100.0, recall 100.0, 0.00 false" in printed
    with open(out / "errors.csv", newline="") as stream:
        assert all(row["f1"] == "1.0" and row["wrong"] == row["missed"] == "0" for row in csv.DictReader(stream))
    table = np.loadtxt(out / "confusion.csv", int, delimiter=",", skiprows=1, usecols=range(1, 7))
    assert (np.diag(table)[:5] > 0).all() and table.sum() == np.trace(table) == len(detections) // 2
    assert (out / "errors.md").read_text().count("\n|") >= 2 * (len(SYNTHETIC_CLASSES) + 2)

    content = json.loads((out / "results.json").read_text())
    assert content["map_voc07"] == pytest.approx(1)
    assert len(json.loads((out / "coco_results.json").read_text())) == len(detections) // 2
    assert (out / "ap.csv").read_text().count("\n") == 1 + len(SYNTHETIC_CLASSES)
    assert (out / "ap.md").exists()
    for picture in (out / "precision_recall.png", out / "pictures" / "contact_sheet.jpg"):
        Image.open(picture).load()

    # The files it wrote, read back as somebody else's results, say the same.
    comp4 = ("--comp4", out / "comp4", "--pictures", 0, "--out", tmp_path / "again")
    assert evaluate(*comp4, "--voc", devkit) == 0
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    assert again["classes"] == content["classes"]
    assert again["nms"] is None
    assert not (tmp_path / "again" / "pictures").exists()


def test_without_any_object_nothing_is_called_wrong(devkit, tmp_path, capsys):
    """As with test images whose annotations are secret."""
    shutil.copytree(devkit, tmp_path / "VOCdevkit")
    for path in (tmp_path / "VOCdevkit/VOC2007/Annotations").iterdir():
        path.write_text(re.sub(r"<object>.*</object>", "", path.read_text(), flags=re.DOTALL))
    perfect_detections(devkit).save(tmp_path / "found.h5")
    words = ("--detections", tmp_path / "found.h5", "--voc", tmp_path / "VOCdevkit", "--pictures", 0)
    assert evaluate(*words, "--out", tmp_path / "report") == 0
    assert "TIDE" not in capsys.readouterr().out
    assert (tmp_path / "report" / "errors.csv").read_text().count("\n") == 1 + len(SYNTHETIC_CLASSES)


def test_boxes_are_voted_before_they_are_suppressed(devkit, tmp_path, capsys):
    """Every object is found twice, two pixels to the left and two to the right."""
    detections = perfect_detections(devkit)
    box = detections.box + np.where(detections.score[:, None] == 1, 2, -2) * [1, 0, 1, 0]
    replace(detections, box=box, score=np.ones(len(detections))).save(tmp_path / "found.h5")
    words = ("--detections", tmp_path / "found.h5", "--voc", devkit, "--iou", "0.999", "--pictures", 0, "--out")
    assert evaluate(*words, tmp_path / "report") == 0 and evaluate(*words, tmp_path / "voted", "--vote") == 0
    plain, voted = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("report", "voted"))
    assert (plain["map_voc07"], voted["map_voc07"]) == (pytest.approx(0), pytest.approx(1))
    assert voted["made_from"]["detections"]["voting"] == {
        "iou": 0.5,
        "offset": 1.3,
        "support": 0.6,
        "floor": 0.1,
        "typical": 12.5,
    }
    assert evaluate(*words, tmp_path / "voted") == 2
    comp4 = ("--comp4", tmp_path / "report" / "comp4", "--voc", devkit, "--vote", "--out", tmp_path / "again")
    assert evaluate(*comp4) == 2
    assert "--vote needs --detections: results files hold what survived" in capsys.readouterr().err


def test_soft_nms_keeps_every_box_and_lowers_what_overlaps_a_better_one(devkit, tmp_path, capsys):
    """A right box that overlaps a better one of its class by half counts again, after the better one."""
    detections = perfect_detections(devkit)
    detections.save(tmp_path / "found.h5")
    words = ("--detections", tmp_path / "found.h5", "--voc", devkit, "--pictures", 0, "--out")
    assert evaluate(*words, tmp_path / "soft", "--soft-nms") == 0
    assert "soft-NMS with sigma 0.3." in " ".join(capsys.readouterr().out.split())
    results = json.loads((tmp_path / "soft" / "results.json").read_text())
    assert (results["nms"], results["soft_nms_sigma"]) == (None, 0.3)
    assert sum(entry["detections"] for entry in results["classes"]) == len(detections)
    assert results["made_from"]["detections"]["soft_nms"] == {"sigma": 0.3}
    detections.after_soft_nms().save(tmp_path / "lowered.h5")
    again = ("--detections", tmp_path / "lowered.h5", *words[2:], tmp_path / "again")
    assert evaluate(*again) == 0
    assert json.loads((tmp_path / "again" / "results.json").read_text())["map_voc07"] == results["map_voc07"]
    for refused in ((*again, "--nms", 0.5), (*words, tmp_path / "soft", "--soft-nms", "--nms", 0.5)):
        assert evaluate(*refused) == 2
        assert "--nms drops boxes and soft-NMS lowers their scores" in capsys.readouterr().err
    comp4 = ("--comp4", tmp_path / "soft" / "comp4", "--voc", devkit, "--soft-nms", "--out", tmp_path / "other")
    assert evaluate(*comp4) == 2
    assert "--soft-nms needs --detections" in capsys.readouterr().err


def test_a_report_holds_nothing_of_classes_and_images_that_are_gone(devkit, tmp_path):
    perfect_detections(devkit).save(tmp_path / "found.h5")
    words = ["evaluate", "--detections", tmp_path / "found.h5", "--voc", devkit, "--out", tmp_path / "report"]
    assert command(*words, "--classes", ",".join(SYNTHETIC_CLASSES), "--pictures", 4) == 0
    for name in ("notes.txt", "pictures/mine.jpg", "comp4/comp4_det_test_mine.txt"):
        (tmp_path / "report" / name).write_text("mine")
    assert command(*words, "--classes", SYNTHETIC_CLASSES[0], "--pictures", 1, "--overwrite") == 0
    names = {
        folder: [path.name for path in (tmp_path / "report" / folder).iterdir()] for folder in ("comp4", "pictures")
    }
    assert set(names["comp4"]) == {f"comp4_det_test_{SYNTHETIC_CLASSES[0]}.txt", "comp4_det_test_mine.txt"}
    assert len(names["pictures"]) == 3 and {"contact_sheet.jpg", "mine.jpg"} < set(names["pictures"])
    assert (tmp_path / "report" / "notes.txt").exists()


def test_coco_results_fit_the_coco_file(own_data, tmp_path):
    """Its image and category numbers have gaps and its first category no objects; pycocotools agrees with us."""
    content = json.loads(own_data.coco.read_text())
    for image in content["images"]:
        image["id"] = 1000 - 3 * image["id"]
    for entry in content["annotations"]:
        entry["image_id"] = 1000 - 3 * entry["image_id"]
        entry["area"] = entry["bbox"][2] * entry["bbox"][3]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    database = load_coco(tmp_path / "boxes.json", own_data.images)
    random = np.random.default_rng(0)
    annotations = [database.annotation(index) for index in range(len(database))]
    boxes = np.concatenate([annotation.boxes for annotation in annotations])
    image = np.repeat(np.arange(len(annotations)), [len(annotation.boxes) for annotation in annotations])
    cls = np.concatenate([annotation.classes for annotation in annotations])
    # Objects shifted by up to 12 pixels, some of them taken for another class.
    boxes = boxes + np.tile(random.integers(-12, 13, (len(boxes), 2)), 2)
    cls = np.where(random.random(len(cls)) < 0.2, random.permutation(cls), cls)
    score = random.permutation(len(cls)) / 1024
    Detections(database.image_ids, database.classes, image, cls, boxes, score).save(tmp_path / "found.h5")
    out = tmp_path / "report"
    words = ["--detections", tmp_path / "found.h5", "--coco", tmp_path / "boxes.json", "--images", own_data.images]
    words += ["--nms", "1", "--pictures", "0", "--out", out]
    assert command("evaluate", *words) == 0

    entries = json.loads((out / "coco_results.json").read_text())
    file_names = {entry["id"]: entry["file_name"] for entry in content["images"]}
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    written = [(file_names[e["image_id"]], names[e["category_id"]], e["score"]) for e in entries]
    found = zip(image.tolist(), cls.tolist(), score.round(6).tolist(), strict=True)
    assert sorted(written) == sorted((f"{database.image_ids[i]}.jpg", database.classes[c], s) for i, c, s in found)

    pytest.importorskip("pycocotools", reason="it comes with the extra rcnn-svm[coco]")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(tmp_path / "boxes.json"))
    official = COCOeval(truth, truth.loadRes(str(out / "coco_results.json")), "bbox")
    official.evaluate()
    official.accumulate()
    official.summarize()
    assert command("evaluate", *words, "--protocol", "coco") == 0
    ours = json.loads((out / "coco_ap.json").read_text())["means"]
    assert 0.1 < ours["ap50"] < 0.95
    assert ours["ap50"] == pytest.approx(official.stats[1], abs=1e-6)
    assert ours["ap"] == pytest.approx(official.stats[0], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "trainval"), "is not in voc_2007_trainval|was not tested"),
        (("--iou", "1.5"), r"\(0, 1\], not 1.5"),
        (("--nms", "-1"), r"\[0, 1\], not -1"),
    ],
)
def test_bad_input_is_one_sentence(devkit, tmp_path, capsys, options, message):
    perfect_detections(devkit).save(tmp_path / "found.h5")
    out = tmp_path / "report"
    assert evaluate("--detections", tmp_path / "found.h5", "--voc", devkit, "--out", out, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("rcnn-svm evaluate: error: ")
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not out.exists()
