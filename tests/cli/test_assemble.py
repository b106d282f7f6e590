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
