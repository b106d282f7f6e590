"""The report as a user types it."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest

from rcnn_svm import Detector, FeatureCache, load_voc
from rcnn_svm.mining import find_suspects
from rcnn_svm.reports.html import read_made_from
from tests.cli.command import command


def crops(path) -> list[str | None]:
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)[1]
    return json.loads(data)["crops"]


def test_the_page_of_a_run_finds_its_features(pipeline, tmp_path, capsys):
    out = tmp_path / "report"
    argv = ["report", pipeline.out / "model.h5", "--voc", pipeline.voc, "--out", out, "--jobs", "1"]
    assert command(*argv) == 0
    said = capsys.readouterr().out
    assert "5 classes, 9 images" in said and f"wrote {out / 'report.html'}" in said and "note" not in said
    assert None not in crops(out / "report.html") and [path.name for path in out.iterdir()] == ["report.html"]
    assert command(*argv) == 0
    assert command("report", pipeline.out / "model.h5", "--out", out) == 2
    assert "was made with other settings (images: voc_2007_trainval there, None wanted)" in capsys.readouterr().err
    assert command("report", pipeline.out / "model.h5", "--out", out, "--overwrite") == 0
    assert "note: There are no crops" in capsys.readouterr().out
    assert read_made_from(out / "report.html")["settings"]["images"] is None


def test_the_page_shows_a_test(pipeline, tmp_path):
    found, out = pipeline.out / "detections.h5", tmp_path / "out"
    assert command("report", pipeline.out / "model.h5", "--detections", found, "--voc", pipeline.voc, "--out", out) == 0
    page = (out / "report.html").read_text()
    results = json.loads((pipeline.out / "report" / "results.json").read_text())
    assert f"mAP {100 * results['map_voc07']:.1f} (VOC07, 11 points) | {100 * results['map_area']:.1f} (area)" in page
    assert read_made_from(out / "report.html")["settings"]["test_images"] == results["image_set"]
    assert str(found) in page and "Best and worst images" in page


def test_suspects_are_written_and_a_reviewed_list_is_kept(pipeline, features, tmp_path, capsys):
    listed = tmp_path / "suspects.csv"
    argv = ["report", pipeline.out / "model.h5", "--out", tmp_path / "out", "--suspects", listed]
    assert command(*argv) == 0 and f"wrote {listed}" in capsys.readouterr().out
    text = listed.read_text()
    header, *rows = csv.reader(text.splitlines())
    assert header == ["image", "x1", "y1", "x2", "y2", "class", "suspicion", "score", "row", "why"]
    detector, record = (load(pipeline.out / "model.h5") for load in (Detector.load, Detector.load_history))
    ranked = find_suspects(detector, record, FeatureCache.open(features["trainval"]))
    keys = [(ranked.classes[cls], ranked.image_ids[image], str(row)) for cls, image, row in ranked.keys.tolist()]
    assert [(row[5], row[0], row[8]) for row in rows] == keys and len(keys) > 3
    values = np.array([[*row[1:5], *row[6:8]] for row in rows], float)
    np.testing.assert_allclose(values[:, :4], ranked.box, atol=0.06)
    np.testing.assert_allclose(values[:, 4:], np.stack([ranked.suspicion, ranked.score], axis=1), atol=1e-4)
    assert [row[9] for row in rows] == ranked.kinds.words
    assert command(*argv) == 0
    listed.write_text(text + "000001,1,1,5,5,ball,,,,reviewed\n")
    assert command(*argv) == 2
    assert "holds something else than these suspects" in capsys.readouterr().err and "reviewed" in listed.read_text()
    assert command(*argv, "--overwrite") == 0 and listed.read_text() == text


def test_test_images_may_have_a_source_of_their_own(pipeline, tmp_path, capsys):
    tested = load_voc(pipeline.voc, "2007", "test", classes=pipeline.names.split(","))
    rows = ["image,x1,y1,x2,y2,class,difficult"]
    for index, image_id in enumerate(tested.image_ids):
        truth = tested.annotation(index)
        for box, cls, difficult in zip(truth.boxes, truth.classes, truth.difficult, strict=True):
            rows.append(
                f"{image_id}.jpg,{','.join(f'{value:g}' for value in box)},{tested.classes[cls]},{int(difficult)}"
            )
        if not len(truth.boxes):
            rows.append(f"{image_id}.jpg,,,,,,")
    (tmp_path / "test.csv").write_text("\n".join(rows))
    argv = ["report", pipeline.out / "model.h5", "--detections", pipeline.out / "detections.h5", "--voc", pipeline.voc]
    argv += ["--test-images", pipeline.voc / "VOC2007" / "JPEGImages", "--out"]
    assert command(*argv, tmp_path / "out") == 2
    assert "--test-images needs --test-coco" in capsys.readouterr().err
    assert command(*argv, tmp_path / "out", "--test-csv", tmp_path / "test.csv") == 0
    assert command(*argv[:6], "--out", tmp_path / "plain") == 0
    pages = [(tmp_path / name / "report.html").read_text() for name in ("out", "plain")]
    said = [re.findall(r"<p>([^<]*mAP[^<]*)</p>", page) for page in pages]
    assert said[0] == said[1] and len(said[0]) > 1


def test_images_that_are_gone_cost_their_crops_only(pipeline, tmp_path, capsys):
    voc = tmp_path / "VOCdevkit"
    shutil.copytree(pipeline.voc, voc)
    ids = (voc / "VOC2007" / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    (voc / "VOC2007" / "JPEGImages" / f"{ids[0]}.jpg").unlink()
    (voc / "VOC2007" / "Annotations" / f"{ids[1]}.xml").unlink()
    assert command("report", pipeline.out / "model.h5", "--voc", voc, "--out", tmp_path / "out") == 0
    assert "have no crop: 2 images could not be used" in capsys.readouterr().out
    found = crops(tmp_path / "out" / "report.html")
    assert None in found and len(set(found)) > 20


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model.h5", "--features", "features/test"], "was mined on the feature cache of fingerprint"),
        (["detections.h5"], "holds detections, expected detector"),
        (["none.h5"], "none.h5 does not exist"),
        (["moved.h5"], "give them with --features DIR"),
        (["model.h5", "--voc", "VOCdevkit", "--train-split", "test"], "none of the 9 training images"),
        (["model.h5", "--csv", "x.csv"], "needs --images"),
        (["model.h5", "--detections", "detections.h5"], "--detections needs the images for their objects"),
        (["model.h5", "--detections", "detections.h5", "--voc", "VOCdevkit", "--test-split", "trainval"], "is not in"),
    ],
)
def test_bad_input_is_told_in_one_sentence(pipeline, features, tmp_path, capsys, words, sentence):
    shutil.copy(pipeline.out / "model.h5", tmp_path / "moved.h5")
    places = {
        "features/test": features["test"],
        "VOCdevkit": pipeline.voc,
        "moved.h5": tmp_path / "moved.h5",
        **{name: pipeline.out / name for name in ("model.h5", "detections.h5", "none.h5")},
    }
    assert command("report", *(places.get(word, word) for word in words), "--out", tmp_path / "out") == 2
    errors = capsys.readouterr().err
    assert sentence in errors and "Traceback" not in errors
    assert not (tmp_path / "out" / "report.html").exists()
