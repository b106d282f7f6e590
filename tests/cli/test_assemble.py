"""The assemble command: one file that detect needs, and every other stage takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detect import ImageDetector
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.recipe import Recipe
from tests.cli.command import command


@pytest.fixture
def parts(pipeline, tmp_path):
    """The model of the pipeline, a box regressor for it, and where the assembled file goes."""
    detector = Detector.load(pipeline.out / "model.h5")
    given = {"feat_norm_mean": detector.feat_norm_mean, "feature_settings": detector.feature_settings}
    regressor = BoxRegressor.identity(detector.classes, detector.dim, **given)
    regressor.mu[:] = [0.1, 0, 0, 0]
    regressor.save(tmp_path / "bbox.h5")
    return pipeline.out / "model.h5", tmp_path / "bbox.h5", tmp_path / "detector.h5"


def assemble(parts, *options):
    model, bbox, out = parts
    return command("assemble", "--model", model, "--bbox", bbox, "--out", out, *options)


def test_the_file_does_all_without_an_option(pipeline, parts, tmp_path, capsys):
    model, bbox, out = parts
    assert assemble(parts, "--vote", "--again", 7, "--soft-nms") == 0
    image = next((pipeline.voc / "VOC2007" / "JPEGImages").iterdir())
    words = ("detect", image, "--thresh", "-2.5", "--out", tmp_path / "pictures", "--json")
    assert command(*words, tmp_path / "one.json", "--model", out) == 0
    options = ("--bbox", bbox, "--vote", "--again", 7, "--soft-nms")
    assert command(*words, tmp_path / "many.json", "--model", model, *options) == 0
    one, many = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "many"))
    assert one == many and len(one[0]["objects"]) > 1
    found = Detector.load(out).detect(image, thresh=-2.5)
    assert [found.boxes.tolist(), found.scores.tolist()] == [
        [entry[name] for entry in one[0]["objects"]] for name in ("box", "score")
    ]
    assert command(*words, tmp_path / "off.json", "--model", out, "--no-vote", "--again", 0, "--nms", 0.3) == 0
    assert command(*words, tmp_path / "bbox.json", "--model", model, "--bbox", bbox) == 0
    assert (tmp_path / "off.json").read_text() == (tmp_path / "bbox.json").read_text() != json.dumps(one, indent=1)


def test_other_stages_take_it_for_the_detector(pipeline, features, parts, tmp_path, capsys):
    model, _, out = parts
    assert assemble(parts, "--vote") == 0
    words = ("test", "--features", features["test"], "--out", tmp_path / "found.h5", "--model")
    assert command(*words, model) == 0 and command(*words, out) == 0
    assert f"done already: {tmp_path / 'found.h5'}" in capsys.readouterr().out


def test_the_record_of_the_training_stays_and_inspect_shows_the_parts(parts, capsys):
    model, _, out = parts
    assert assemble(parts, "--vote", "--again", 60, "--soft-nms") == 0
    assert "parts: box regressor; recipe: box voting, 60 boxes scored again, soft-NMS" in capsys.readouterr().out
    before, after = Detector.load_history(model), Detector.load_history(out)
    assert before.keys() == after.keys() and len(before) > 5
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
    assert command("inspect", out) == 0
    printed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["parts", "box regressor"] in printed
    assert ["recipe", "box voting, 60 boxes scored again, soft-NMS"] in printed


def test_another_recipe_or_part_is_refused_or_made_again(parts, capsys):
    _, bbox, out = parts
    assert assemble(parts) == 0 and assemble(parts) == 0
    assert f"done already: {out}" in capsys.readouterr().out
    assert assemble(parts, "--vote") == 2
    assert "was made with other settings (recipe.vote: False there, True wanted)" in capsys.readouterr().err
    regressor = BoxRegressor.load(bbox)
    replace(regressor, mu=regressor.mu + np.float32(1)).save(bbox)
    assert assemble(parts) == 2
    assert assemble(parts, "--vote", "--overwrite") == 0
    assert Detector.load(out).bbox_regressor.mu[0, 0] == np.float32(1.1)
    # Parts stay where no others are given.
    assert command("assemble", "--model", out, "--again", 3, "--out", out, "--overwrite") == 0
    assert Detector.load(out).recipe == Recipe(vote=True, again=3)
    assert Detector.load(out).bbox_regressor is not None


def test_what_does_not_fit_is_one_sentence(parts, tmp_path, capsys):
    _, bbox, out = parts
    assert assemble(parts, "--again", "-2") == 2
    assert "again is -2, expected a number of boxes to score again, or 0 for none" in capsys.readouterr().err
    BoxRegressor.identity(("cat",), 5, 1.0).save(bbox)
    assert assemble(parts) == 2
    error = capsys.readouterr().err
    assert f"box regressor {bbox}" in error and error.count("\n") == 1 and not out.exists()


def test_an_image_detector_takes_what_it_is_given_before_what_the_model_holds(parts):
    model, bbox, out = parts
    assert assemble(parts, "--vote", "--again", 5, "--soft-nms") == 0
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    held, plain = Detector.load(out), Detector.load(model)
    for given in ({}, {"vote": False}, {"again": 0}, {"vote": False, "again": 0}, {"soft_nms": False}):
        full = {"vote": True, "again": 5, "soft_nms": True, **given, "bbox_regressor": BoxRegressor.load(bbox)}
        found = ImageDetector(held, **given).detect(image, thresh=-np.inf)
        expected = ImageDetector(plain, **full).detect(image, thresh=-np.inf)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.fixture
def report(pipeline, features, parts, tmp_path):
    """A report of detections that were made with the box regressor and voting."""
    model, bbox, _ = parts
    found, out = tmp_path / "found.h5", tmp_path / "report"
    assert (
        command("test", "--features", features["test"], "--model", model, "--bbox", bbox, "--vote", "--out", found) == 0
    )
    data = ("--voc", pipeline.voc, "--split", "test", "--classes", pipeline.names)
    assert command("evaluate", "--detections", found, *data, "--pictures", 0, "--out", out) == 0
    return out / "results.json"


def test_the_thresholds_of_a_report_are_those_of_detect(pipeline, parts, report, tmp_path, capsys):
    _, _, out = parts
    image = next((pipeline.voc / "VOC2007" / "JPEGImages").iterdir())
    assert assemble(parts, "--vote", "--operating-points", report) == 0
    assert "thresholds: " in capsys.readouterr().out
    detector = Detector.load(out)
    points = {point["class"]: point for point in json.loads(report.read_text())["operating_points"]}
    assert detector.thresholds.tolist() == [points[name]["thresh"] for name in detector.classes]
    assert detector.thresholds_from["borrowed"] == [name for name in detector.classes if points[name]["borrowed"]]

    thresholds = np.linspace(-3, -1, len(detector.classes))
    replace(detector, thresholds=thresholds).save(out)
    words = ("detect", image, "--model", out, "--out", tmp_path / "pictures", "--json", tmp_path / "found.json")

    def scores(*options):
        assert command(*words, *options) == 0
        objects = json.loads((tmp_path / "found.json").read_text())[0]["objects"]
        return [(entry["class"], entry["score"]) for entry in objects]

    everything = scores("--thresh", "-9")
    assert "reported: scores above -9\n" in capsys.readouterr().out
    found = scores()
    own = dict(zip(detector.classes, thresholds, strict=True))
    assert found == [(name, score) for name, score in everything if score > own[name]] and 0 < len(found) < len(
        everything
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert "reported: scores above -3.00 (ball) to -1.00 (ring), the best F1 of each class on 4 images" in printed
    assert Detector.load(out).detect(image).scores.tolist() == [score for _, score in found]
    scores("--no-vote")
    assert (
        "reported: scores above 0, as the thresholds of the model are for its own --vote\n" in capsys.readouterr().out
    )
    assert command("inspect", out) == 0
    assert "thresholds" in capsys.readouterr().out


def test_a_report_of_another_recipe_or_model_is_refused(parts, report, tmp_path, capsys):
    model, bbox, out = parts
    cases = [
        (("--vote", "--again", 5), "boxes scored again"),
        (("--no-vote",), "box voting"),
        (("--vote", "--soft-nms"), "soft-NMS"),
    ]
    for options, told in cases:
        assert assemble(parts, *options, "--operating-points", report) == 2
        error = capsys.readouterr().err
        assert f"{report} is of detections that were not made as this model makes them: {told} differs" in error
    assert command("assemble", "--model", model, "--vote", "--operating-points", report, "--out", out) == 2
    assert "box regression differs" in capsys.readouterr().err
    detector = Detector.load(model)
    identity = detector.training["identity"]
    other = {**identity, "parameters": {**identity["parameters"], "svm_C": 0.5}}
    for training, told in ((identity, "thresholds: "), (other, "training differs")):
        changed = replace(detector, W=2 * detector.W, training={**detector.training, "identity": training})
        changed.save(tmp_path / "changed.h5")
        words = ("assemble", "--model", tmp_path / "changed.h5", "--bbox", bbox, "--vote", "--overwrite")
        command(*words, "--operating-points", report, "--out", tmp_path / "other.h5")
        assert told in "".join(capsys.readouterr())
    assert not Detector.load(tmp_path / "other.h5").thresholds_from["of_this_model"]
    content = json.loads(report.read_text())
    (tmp_path / "old.json").write_text(json.dumps({**content, "operating_points": None}))
    assert assemble(parts, "--vote", "--operating-points", tmp_path / "old.json") == 2
    assert "without operating points; evaluate again" in capsys.readouterr().err
    assert assemble(parts, "--vote", "--operating-points", tmp_path / "none.json") == 2
    assert "none.json" in capsys.readouterr().err and not out.exists()


def test_thresholds_of_other_test_images_are_made_again_on_update(pipeline, parts, capsys):
    model, _, out = parts
    words = ("assemble", "--model", model, "--out", out)
    assert command(*words) == 0
    more = (*words, "--operating-points", pipeline.out / "report" / "results.json")
    assert command(*more) == 2
    assert "--update to make again what they change" in capsys.readouterr().err
    assert command(*more, "--update") == 0
    assert "made again: " in capsys.readouterr().out
    made = Detector.load(pipeline.out / "detector.h5")
    np.testing.assert_array_equal(Detector.load(out).thresholds, made.thresholds)
    assert made.thresholds_from == Detector.load(out).thresholds_from
