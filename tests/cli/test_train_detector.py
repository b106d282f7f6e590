"""A detector from labels in one call, from a path or an image set; what it does not take."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rcnn_svm import InputError, load_csv, train_detector
from rcnn_svm.cli.train_detector import _kind, _write_csv
from rcnn_svm.detection.detector import Detector

QUICK = {"preset": "paper", "method": "sliding", "max_boxes": 20, "crop_size": 32, "svm_C": 0.01, "pictures": 0}


def test_labels_become_a_detector(own_data, tmp_path, capsys):
    out = tmp_path / "out"
    database = load_csv(own_data.csv, own_data.images)
    named = {"classes": ",".join(database.classes)}
    detector = train_detector(own_data.csv, images=own_data.images, out=out, **QUICK, **named)
    assert "$ rcnn-svm train " in capsys.readouterr().out
    saved = Detector.load(out / "detector.h5")
    np.testing.assert_array_equal(detector.W, saved.W)
    assert detector.thresholds is not None and detector.recipe.vote is False
    found = detector.detect(next(own_data.images.iterdir()))
    assert all(one.score > detector.thresholds[detector.classes.index(one.name)] for one in found)
    # The same as an image set: nothing is left to do.
    again = train_detector(database, out=out, **QUICK)
    printed = capsys.readouterr().out
    assert "made again" not in printed and printed.count("done already") >= 7
    np.testing.assert_array_equal(again.W, detector.W)
    assert json.loads((out / "report" / "results.json").read_text())["operating_points"]


def test_an_image_set_is_written_as_it_is(own_data, tmp_path):
    database = load_csv(own_data.csv, own_data.images)
    assert _write_csv(database, tmp_path / "boxes.csv") == own_data.images.absolute()
    read = load_csv(tmp_path / "boxes.csv", own_data.images, classes=database.classes)
    assert read.image_ids == database.image_ids and read.classes == database.classes
    for index in range(len(read)):
        for name, values in vars(database.annotation(index)).items():
            np.testing.assert_array_equal(getattr(read.annotation(index), name), values)


def test_paths_say_what_they_are(tmp_path):
    for name, kind in (("a.csv", "csv"), ("a.json", "coco"), ("data.YAML", "yolo"), ("folder", "yolo")):
        assert _kind(tmp_path / name) == kind
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "a.xml").touch()
    (tmp_path / "devkit" / "VOC2012" / "ImageSets").mkdir(parents=True)
    assert _kind(tmp_path / "xml") == "xml" and _kind(tmp_path / "devkit") == "voc"


def test_what_it_does_not_take_is_one_sentence(own_data, tmp_path, capsys):
    with pytest.raises(InputError, match=r"run does not take these options: .*--no-such 3"):
        train_detector(own_data.csv, images=own_data.images, out=tmp_path / "out", no_such=3)
    with pytest.raises(InputError, match="knows its images"):
        train_detector(load_csv(own_data.csv, own_data.images), images=own_data.images)
    with pytest.raises(InputError, match=r"none\.csv"):
        train_detector(tmp_path / "none.csv", images=tmp_path)
