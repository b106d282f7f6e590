"""The test and detect commands: what they write, what they refuse, what they leave alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.detection.detect import ImageDetector
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.proposals.sliding_window import SlidingWindow
from tests.cli.colours import CAT, DOG, save_image
from tests.cli.command import command
from tests.toys import stored, toy_cache

SETTINGS = {"backbone": {"name": "lite0", "layer": "penultimate"}, "proposals": {"method": "fast"}}


@pytest.fixture
def features(tmp_path):
    """A cache of 3 images with 10 regions each, the first of them ground truth."""
    features = np.random.default_rng(0).normal(size=(30, 4))
    given = {"features": features, "image_ids": ("a", "b", "c"), "image_size": [(60, 80)] * 3, "settings": SETTINGS}
    folder = tmp_path / "toy.lite0"
    stored(toy_cache([10] * 3, classes=("cat", "dog"), objects=1, **given), folder)
    return folder


def save_model(path, dim=4, settings=SETTINGS, seed=1):
    W = np.random.default_rng(seed).normal(size=(dim, 2)).astype(np.float32)
    Detector(("cat", "dog"), W, np.zeros(2, np.float32), 2.0, settings).save(path)
    return path


def test_detections_are_written_once(features, tmp_path, capsys):
    model, out = save_model(tmp_path / "model.h5"), tmp_path / "found.h5"
    assert command("test", "--features", features, "--model", model, "--out", out) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {out}"
    assert len(Detections.load(out)) == 2 * 3 * 9
    before = out.stat().st_mtime_ns
    assert command("test", "--features", features, "--model", model, "--out", out) == 0
    assert "already" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["limit", "model"])
def test_other_settings_or_another_model_are_tested_anew_on_request(features, tmp_path, change, capsys):
    model, out = save_model(tmp_path / "model.h5"), tmp_path / "found.h5"
    command("test", "--features", features, "--model", model, "--out", out)
    before = Detections.load(out)
    if change == "model":
        save_model(model, seed=2)
    limit = ["--max-per-image", 5] if change == "limit" else []
    words = ("test", "--features", features, "--model", model, "--out", out, *limit)
    assert command(*words) == 2
    what = "max_per_image: 100 there, 5 wanted" if change == "limit" else "detector.digest: "
    assert f"{out} was made with other settings ({what}" in capsys.readouterr().err
    assert (Detections.load(out).score == before.score).all()
    assert command(*words, "--overwrite") == 0
    after = Detections.load(out)
    assert len(after) != len(before) or (after.score != before.score).any()


def test_a_model_of_another_dimension_is_one_sentence(features, tmp_path, capsys):
    model = save_model(tmp_path / "alexnet.h5", 9, {"backbone": {"name": "alexnet", "layer": "fc7"}})
    out = tmp_path / "found.h5"
    assert command("test", "--features", features, "--model", model, "--out", out) == 2
    error = capsys.readouterr().err
    assert f"model {model} expects 9-d alexnet fc7 features, cache {features} holds 4-d lite0 penultimate" in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_another_artefact_is_not_overwritten(features, tmp_path, capsys):
    model = save_model(tmp_path / "model.h5")
    before = model.read_bytes()
    assert command("test", "--features", features, "--model", model, "--out", model) == 2
    assert "holds detector, expected detections" in capsys.readouterr().err
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "what", "step", "told"),
    [
        ("--vote", "voting", Detections.after_voting, "before non-maximum suppression"),
        ("--soft-nms", "soft_nms", Detections.after_soft_nms, "after soft-NMS"),
    ],
)
def test_boxes_are_voted_or_suppressed_softly_on_request(features, tmp_path, capsys, option, what, step, told):
    model, out, plain = save_model(tmp_path / "model.h5"), tmp_path / "other.h5", tmp_path / "plain.h5"
    words = ("test", "--features", features, "--model", model, "--out")
    assert command(*words, plain) == 0
    capsys.readouterr()
    assert command(*words, out, option) == 0
    assert f"boxes kept, {told}\n" in capsys.readouterr().out
    found, expected = Detections.load(out), step(Detections.load(plain))
    assert found.settings == expected.settings
    np.testing.assert_array_equal(found.box, expected.box)
    np.testing.assert_array_equal(found.score, expected.score)
    assert command(*words, out, option) == 0
    assert "done already" in capsys.readouterr().out
    assert command(*words, out) == 2
    assert f"was made with other settings ({what}: {{" in capsys.readouterr().err


def test_detect_prints_draws_and_lists(tmp_path, capsys, seeing):
    model, image = seeing, save_image(tmp_path / "photo.png")
    words = ("--model", model, "--out", tmp_path / "out", "--json", tmp_path / "found.json")
    assert command("detect", image, *words) == 0
    printed = capsys.readouterr().out
    assert "reported: scores above 0\n" in printed and "photo.png: 1 found\n" in printed
    assert ["cat", "0.700", *map(str, CAT)] in [line.split() for line in printed.splitlines()]
    assert printed.splitlines()[-1] == f"wrote {tmp_path / 'out'}"
    Image.open(tmp_path / "out" / "photo.jpg").load()
    (entry,) = json.loads((tmp_path / "found.json").read_text())
    assert entry["image"] == str(image)
    assert entry["objects"] == [{"class": "cat", "score": pytest.approx(0.7), "box": CAT}]


def test_detect_votes_on_request(tmp_path, seeing):
    """The window and its neighbour, which overlap by more than half, meet; the neighbour is suppressed."""
    detector = Detector.load(seeing)
    windows = SlidingWindow(scales=[0.5], aspect_ratios=[1], stride=0.25).settings
    feature_settings = {**detector.feature_settings, "proposals": windows}
    replace(detector, feature_settings=feature_settings).save(seeing)
    image, found = save_image(tmp_path / "photo.png"), tmp_path / "found.json"
    words = ("detect", image, "--model", seeing, "--out", tmp_path / "out", "--json", found)
    boxes = []
    for vote in ([], ["--vote"]):
        assert command(*words, *vote) == 0
        boxes.append(json.loads(found.read_text())[0]["objects"][0]["box"])
    expected = ImageDetector(Detector.load(seeing), vote=True).detect(image, thresh=0.0)
    assert boxes[0] == CAT and boxes[1] == expected.boxes[0].tolist() != CAT


def test_detect_suppresses_softly_on_request_and_as_the_model_says(tmp_path, capsys, seeing):
    detector = Detector.load(seeing)
    windows = SlidingWindow(scales=[0.5], aspect_ratios=[1], stride=0.25).settings
    detector = replace(detector, feature_settings={**detector.feature_settings, "proposals": windows})
    detector.save(seeing)
    replace(detector, recipe=Recipe(soft_nms=True)).save(tmp_path / "soft.h5")
    image, found = save_image(tmp_path / "photo.png"), tmp_path / "found.json"

    def objects(model, *options):
        words = ("detect", image, "--model", model, "--thresh", "-3", "--out", tmp_path / "out", "--json", found)
        assert command(*words, *options) == 0
        return json.loads(found.read_text())[0]["objects"]

    hard = objects(seeing)
    soft = objects(seeing, "--soft-nms")
    assert len(soft) > len(hard) and hard[0] == soft[0]
    expected = ImageDetector(detector, soft_nms=True).detect(image, thresh=-3)
    assert [entry["score"] for entry in soft] == expected.scores.tolist()
    assert objects(tmp_path / "soft.h5") == soft
    assert objects(tmp_path / "soft.h5", "--no-soft-nms") == objects(tmp_path / "soft.h5", "--nms", 0.3) == hard
    assert command("detect", image, "--model", seeing, "--nms", 0.3, "--soft-nms") == 2
    assert "--nms and --soft-nms are two suppressions; give one of them" in capsys.readouterr().err


def test_detect_names_the_best_when_nothing_passes(tmp_path, capsys, seeing):
    model, image = seeing, save_image(tmp_path / "photo.png")
    assert command("detect", image, "--model", model, "--out", tmp_path / "out", "--thresh", 2) == 0
    assert "the best below is cat at 0.700" in capsys.readouterr().out


def test_detect_goes_on_after_a_bad_image_and_counts_it(tmp_path, capsys, seeing):
    images = [save_image(tmp_path / "photo.png"), tmp_path / "missing.png", tmp_path / "page.png"]
    images[2].write_text("<html>")
    images.append(save_image(tmp_path / "last.png"))
    words = ("--model", seeing, "--out", tmp_path / "out", "--json", tmp_path / "found.json")
    assert command("detect", *images, *words) == 2
    *told, last = capsys.readouterr().err.splitlines()
    assert "missing.png does not exist" in told[0] and "page.png is not an image" in told[1] and len(told) == 2
    assert last == f"rcnn-svm detect: error: 2 of 4 images could not be read, the first is {images[1]}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["last.jpg", "photo.jpg"]
    assert [entry["image"] for entry in json.loads((tmp_path / "found.json").read_text())] == [
        str(images[0]),
        str(images[3]),
    ]


def test_detect_takes_folders_and_files_and_keeps_pictures_of_one_name_apart(tmp_path, capsys, seeing):
    folder = tmp_path / "photos"
    for name in ("photo.png", "day/photo.png", "day/Photo.BMP", "._photo.png", "out/photo.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(folder / name)
    (folder / "notes.txt").write_text("sunny")
    single = save_image(tmp_path / "one" / "photo.png")
    words = ("--model", seeing, "--out", folder / "out", "--json", tmp_path / "found.json")
    assert command("detect", folder, single, folder / "photo.png", *words) == 0
    entries = json.loads((tmp_path / "found.json").read_text())
    expected = [folder / "day" / "Photo.BMP", folder / "day" / "photo.png", folder / "photo.png", single]
    assert [entry["image"] for entry in entries] == list(map(str, expected))
    pictures = ["Photo.jpg", "photo-2.jpg", "photo-3.jpg", "photo-4.jpg"]
    assert [entry["picture"] for entry in entries] == [str(folder / "out" / name) for name in pictures]
    assert {*pictures} <= {path.name for path in (folder / "out").iterdir()}
    before = (folder / "out" / "photo.jpg").read_bytes()
    assert command("detect", folder / "out", "--model", seeing, "--out", folder / "out") == 2
    assert "is one of the images, and a picture would replace it; give another --out" in capsys.readouterr().err
    assert (folder / "out" / "photo.jpg").read_bytes() == before
    (tmp_path / "empty").mkdir()
    assert command("detect", tmp_path / "empty", *words) == 2
    assert f"folder {tmp_path / 'empty'} holds no image or video (.bmp, " in capsys.readouterr().err


def calibrate(path, sigmoids):
    replace(Detector.load(path), calibration=np.array(sigmoids, float)).save(path)


def test_detect_tells_probabilities_of_a_calibrated_model(tmp_path, capsys, seeing):
    """A dog at -0.4 is more probable than a cat at 0.7 if the model says so."""
    model, image = seeing, save_image(tmp_path / "photo.png")
    calibrate(model, [[1, -0.7], [2, 2.8]])
    words = ("--model", model, "--out", tmp_path / "out", "--json", tmp_path / "found.json")
    assert command("detect", image, *words) == 0
    printed = capsys.readouterr().out
    assert "reported: probabilities above 0.5\n" in printed and "photo.png: 1 found\n" in printed
    assert ["dog", "0.881", *map(str, DOG)] in [line.split() for line in printed.splitlines()]
    (entry,) = json.loads((tmp_path / "found.json").read_text())
    assert entry["objects"] == [{"class": "dog", "probability": pytest.approx(0.8808, abs=1e-4), "box": DOG}]
    assert command("detect", image, *words, "--thresh", 0.45) == 0
    assert "photo.png: 2 found\n" in capsys.readouterr().out
    assert command("detect", image, *words, "--thresh", 0.9) == 0
    assert "the best below is dog at 0.881" in capsys.readouterr().out
    assert command("detect", image, *words, "--thresh", -0.5) == 2
    assert "--thresh -0.5 must be between 0 and 1" in capsys.readouterr().err


def test_detect_looks_as_low_as_the_probability_asks(tmp_path, monkeypatch):
    asked = []

    def detect(self, image, *, thresh, nms_threshold):
        asked.append(thresh)
        none = np.empty(0, np.int32), np.empty((0, 4), np.float32), np.empty(0, np.float32)
        return ImageDetections(*none, classes=("cat", "dog"), image=image)

    # A detector that looks lower than it has to finds the same and takes longer: that shows nowhere.
    monkeypatch.setattr(ImageDetector, "detect", detect)
    model, image = save_model(tmp_path / "model.h5"), save_image(tmp_path / "photo.png")
    calibrate(model, [[1, 0], [1, 3]])
    for thresh in (0, 0.5, 1):
        assert command("detect", image, "--model", model, "--out", tmp_path / "out", "--thresh", thresh) == 0
    np.testing.assert_array_equal(asked, [[-np.inf, -np.inf], [-1, -3], [-1, -1]])


def test_a_calibration_leaves_the_detections_of_the_test_command(features, tmp_path):
    model = save_model(tmp_path / "model.h5")
    command("test", "--features", features, "--model", model, "--out", tmp_path / "plain.h5")
    calibrate(model, [[3, 1], [2, 0]])
    command("test", "--features", features, "--model", model, "--out", tmp_path / "calibrated.h5")
    plain, calibrated = (Detections.load(tmp_path / f"{name}.h5") for name in ("plain", "calibrated"))
    np.testing.assert_array_equal(plain.score, calibrated.score)
