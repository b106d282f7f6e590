"""Every stage through the command line, as a user types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli.main import main
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_run_makes_everything(pipeline, features):
    assert sorted(features) == ["test", "trainval"]
    assert FeatureCache.open(features["trainval"]).verify() == []
    results = json.loads((pipeline.out / "report" / "results.json").read_text())
    assert len(results["classes"]) == 5
    assert 0 <= results["map_voc07"] <= 1
    assert list((pipeline.out / "report" / "pictures").iterdir())
    assert len(list((pipeline.out / "report" / "comp4").iterdir())) == 5


def test_run_again_computes_nothing_twice(pipeline, capsys):
    files = list(pipeline.out.rglob("*.h5"))
    before = {path: path.stat().st_mtime_ns for path in files}
    report = (pipeline.out / "report" / "ap.csv").read_text()
    assert main(pipeline.argv) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert (pipeline.out / "report" / "ap.csv").read_text() == report
    assert "computed now: 0 images" in capsys.readouterr().out


def test_run_prints_commands_that_work(pipeline, capsys):
    main(pipeline.argv)
    commands = re.findall(r"^\$ rcnn-svm (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert [command.split()[0] for command in commands] == [
        *("propose", "extract", "propose", "extract", "train", "test", "evaluate", "assemble")
    ]
    assert main(commands[4].split()) == 0


def test_both_solvers_train_the_same_detector(pipeline, features, tmp_path):
    for solver, tolerance in (("dcd", "1e-10"), ("liblinear", "1e-8")):
        argv = ["train", "--features", str(features["trainval"]), "--out", str(tmp_path / f"{solver}.h5")]
        assert main([*argv, "--solver", solver, "--tolerance", tolerance, "--svm-C", "0.01"]) == 0
    ours, theirs = Detector.load(tmp_path / "dcd.h5"), Detector.load(tmp_path / "liblinear.h5")
    np.testing.assert_allclose(ours.W, theirs.W, atol=1e-4 * np.abs(theirs.W).max())
    added = [Detector.load_history(tmp_path / f"{solver}.h5")["added"] for solver in ("dcd", "liblinear")]
    np.testing.assert_array_equal(*added)


def test_detect_finds_what_test_found(pipeline, features, tmp_path):
    """One image from pixels equals the same image through the feature cache."""
    image = sorted((pipeline.voc / "VOC2007" / "JPEGImages").glob("*.jpg"))
    test_ids = (pipeline.voc / "VOC2007" / "ImageSets" / "Main" / "test.txt").read_text().split()
    image = pipeline.voc / "VOC2007" / "JPEGImages" / f"{test_ids[0]}.jpg"
    argv = ["detect", str(image), "--model", str(pipeline.out / "model.h5"), "--thresh", "-1"]
    assert main([*argv, "--out", str(tmp_path / "found"), "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())[0]["objects"]
    detector = Detector.load(pipeline.out / "model.h5")
    regions = FeatureCache.open(features["test"]).regions(0)
    scores = detector.scores(regions.features)[~regions.gt]
    assert found
    for entry in found:
        row = np.flatnonzero((regions.boxes[~regions.gt] == entry["box"]).all(axis=1))[0]
        assert entry["score"] == pytest.approx(scores[row, detector.classes.index(entry["class"])], abs=1e-3)
    assert (tmp_path / "found" / f"{test_ids[0]}.jpg").exists()


def test_inspect_tells_what_everything_is(pipeline, features, capsys):
    cache = features["trainval"]
    image = FeatureCache.open(cache).image_ids[0]
    assert main(["inspect", str(cache), "--verify", "--image", image, "--settings"]) == 0
    out = capsys.readouterr().out
    assert "every checksum matches" in out and "lite0 penultimate" in out and f"image {image}" in out
    assert main(["inspect", str(pipeline.out / "model.h5"), "--class", "ball", "--top", "3"]) == 0
    out = capsys.readouterr().out
    assert "hard negatives" in out and "ball: " in out and "the hardest first" in out
    for path in (pipeline.out / "detections.h5", *(pipeline.out / "proposals").glob("*.h5")):
        assert main(["inspect", str(path)]) == 0
        assert "made by" in capsys.readouterr().out


def test_inspect_verify_fails_on_a_damaged_cache(features, tmp_path, capsys):
    damaged = shutil.copytree(features["test"], tmp_path / "damaged")
    shard = damaged / "shard-00000.h5"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert main(["inspect", str(damaged), "--verify"]) == 1
    assert "does not match its checksum" in capsys.readouterr().out


def test_a_killed_extraction_goes_on(pipeline, tmp_path):
    proposals = next((pipeline.out / "proposals").glob("*trainval*"))
    argv = ["extract", "--voc", str(pipeline.voc), "--split", "trainval", "--classes", pipeline.names]
    argv += ["--proposals", str(proposals), "--crop-size", "64", "--shard-images", "1", "--out", str(tmp_path / "f")]
    process = subprocess.Popen([sys.executable, str(SCRIPTS / "extract.py"), *argv[1:]])
    deadline = time.monotonic() + 60
    while not (tmp_path / "f" / "shard-00001.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "f").glob("shard-*.h5")}
    assert before
    assert main(argv) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert FeatureCache.open(tmp_path / "f").verify() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_an_interrupted_stage_exits_with_130(pipeline, tmp_path):
    proposals = next((pipeline.out / "proposals").glob("*trainval*"))
    argv = ["--voc", str(pipeline.voc), "--split", "trainval", "--classes", pipeline.names, "--crop-size", "96"]
    argv += ["--proposals", str(proposals), "--shard-images", "1", "--out", str(tmp_path / "f")]
    command = [sys.executable, str(SCRIPTS / "extract.py"), *argv]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "f" / "shard-00000.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors and "run the same command to go on" in errors


def test_changed_images_and_labels_are_noticed(pipeline, features, tmp_path, capsys):
    """What was made from other pixels or another ground truth is not taken for done."""
    voc = shutil.copytree(pipeline.voc, tmp_path / "VOCdevkit")
    cache = shutil.copytree(features["trainval"], tmp_path / "cache")
    proposals = shutil.copy(next((pipeline.out / "proposals").glob("*trainval*")), tmp_path / "p.h5")
    data = ["--voc", str(voc), "--split", "trainval", "--classes", pipeline.names]
    extract = ["extract", *data, "--proposals", str(proposals), "--crop-size", "64", "--out", str(cache)]
    propose = ["propose", *data, "--method", "sliding", "--max-boxes", "60", "--out", str(proposals)]
    assert main(extract) == main(propose) == 0
    assert "computed now: 0 images" in capsys.readouterr().out
    fingerprint = FeatureCache.open(cache).fingerprint

    annotation = next(p for p in sorted((voc / "VOC2007" / "Annotations").iterdir()) if "<object>" in p.read_text())
    text = annotation.read_text()
    name = re.search("<name>(.*)</name>", text)[1]
    annotation.write_text(text.replace(f"<name>{name}</name>", f"<name>{'ring' if name == 'ball' else 'ball'}</name>"))
    main(extract)
    changed = FeatureCache.open(cache).fingerprint != fingerprint
    annotation.write_text(text)
    assert changed or annotation.stem not in FeatureCache.open(cache).image_ids

    image = voc / "VOC2007" / "JPEGImages" / f"{FeatureCache.open(cache).image_ids[0]}.jpg"
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    main(extract)
    assert FeatureCache.open(cache).fingerprint != fingerprint
    assert main(propose) == 2
    assert "images' files: " in capsys.readouterr().err


def test_imported_caches_go_all_the_way_to_detections(pipeline, features, tmp_path, capsys):
    """The original's folders have different names for the two splits."""
    for split, cache in features.items():
        folder = tmp_path / f"voc_2007_{split}"
        folder.mkdir()
        for index, image_id in enumerate(FeatureCache.open(cache).image_ids):
            regions = FeatureCache.open(cache).regions(index)
            variables = {name: getattr(regions, name) for name in ("gt", "overlap")}
            variables |= {"boxes": regions.boxes + 1, "feat": regions.features, "class": regions.label}
            scipy.io.savemat(folder / f"{image_id}.mat", variables)
        argv = ["import", "--mat", str(folder), "--classes", pipeline.names, "--out", str(tmp_path / split)]
        assert main([*argv, "--network", "lite0"]) == 0
    model, found = str(tmp_path / "m.h5"), str(tmp_path / "d.h5")
    assert main(["train", "--features", str(tmp_path / "trainval"), "--out", model, "--svm-C", "0.01"]) == 0
    assert main(["test", "--features", str(tmp_path / "test"), "--model", model, "--out", found]) == 0
    ours = Detections.load(pipeline.out / "detections.h5")
    np.testing.assert_allclose(np.sort(Detections.load(found).score), np.sort(ours.score), atol=1e-4)
    np.testing.assert_allclose(Detector.load(model).W, Detector.load(pipeline.out / "model.h5").W, atol=1e-5)
    image = next((pipeline.voc / "VOC2007" / "JPEGImages").iterdir())
    assert main(["detect", str(image), "--model", model]) == 2
    assert "came from arrays" in capsys.readouterr().err
