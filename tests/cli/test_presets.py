"""Presets of `run`: what they fill in, what goes before them, and a run of the standard one up to a detector."""

from __future__ import annotations

import argparse
import json
import re

import pytest

from rcnn_svm.cli.presets import PRESETS, PURPOSES, take_preset
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.proposals import methods, ranker_training
from tests.cli.command import command

NOT_GIVEN = dict.fromkeys(
    ("method", "max_boxes", "backbone", "layer", "context", "scene", "bbox", "vote", "again", "soft_nms"), None
)


def _taken(preset, objects=1000, **given):
    args = argparse.Namespace(preset=preset, **{**NOT_GIVEN, **given})
    return args, take_preset(args, objects)


def test_a_preset_fills_in_what_was_not_given():
    args, told = _taken("standard")
    assert (args.method, args.max_boxes, args.layer, args.again) == ("ranked", 100, "multi", 60)
    assert args.bbox is args.vote is args.soft_nms is True and args.context is args.scene is False
    assert told == (
        "--preset standard: --method ranked --max-boxes 100 --backbone lite0 --layer multi --bbox --vote --again 60 "
        "--soft-nms"
    )
    args, told = _taken("standard", max_boxes=7, vote=False, again=0, backbone="resnet18")
    assert (args.max_boxes, args.vote, args.again, args.backbone) == (7, False, 0, "resnet18")
    assert "--vote" not in told and "--again" not in told


def test_the_papers_settings_are_those_of_the_single_stages():
    args, told = _taken("paper")
    assert vars(args) == {**NOT_GIVEN, "preset": "paper", "method": "fast", "backbone": "lite0"} | {
        "context": False,
        "scene": False,
        "bbox": False,
        "vote": False,
        "again": 0,
        "soft_nms": False,
    }
    assert told == "--preset paper: --method fast --backbone lite0"


def test_few_objects_are_searched_for_in_the_order_of_selective_search():
    args, told = _taken("best", objects=methods.MIN_OBJECTS - 1)
    assert (args.method, args.max_boxes) == ("fast", 400)
    assert "there are 49 objects to learn from" in told
    args, told = _taken("best", objects=methods.MIN_OBJECTS)
    assert args.method == "ranked" and "\n" not in told
    assert _taken("best", objects=3, method="ranked")[0].method == "ranked"


def test_every_preset_says_what_it_is_for():
    assert PRESETS.keys() == PURPOSES.keys()


@pytest.fixture
def few_will_do(monkeypatch):
    # The toy set has fewer objects than are asked for, and more would take longer to draw.
    monkeypatch.setattr("rcnn_svm.cli.presets.MIN_OBJECTS", 5)
    monkeypatch.setattr(ranker_training, "MIN_OBJECTS", 5)


@pytest.mark.slow
def test_own_images_become_one_detector_that_finds_as_the_stages_did(own_data, few_will_do, tmp_path, capsys):
    argv = ["run", "--csv", own_data.csv, "--images", own_data.images, "--out", tmp_path / "o", "--pictures", "0"]
    argv += ["--crop-size", "32", "--max-boxes", "30", "--again", "9", "--scene"]
    assert command(*argv) == 0
    told = capsys.readouterr().out
    assert "--preset standard: --method ranked --max-boxes 30" in told and "--scene" in told
    detector = Detector.load(tmp_path / "o" / "detector.h5")
    assert detector.ranker is not None and detector.bbox_regressor is not None
    assert detector.recipe.vote and detector.recipe.soft_nms and detector.recipe.again == 9
    assert command(*argv) == 0
    again = capsys.readouterr().out
    assert again.count("done already") >= 9 and "rcnn-svm rank" not in again
    # Other settings after the features: only boxes that are scored again and were not before get features.
    assert command(*argv, "--no-bbox") == 0
    computed = [int(number) for number in re.findall(r"computed now: (\d+) images", capsys.readouterr().out)]
    assert computed[:2] == [0, 0] and len(computed) == 3
    assert Detector.load(tmp_path / "o" / "detector.h5").bbox_regressor is None
    found = Detections.load(tmp_path / "o" / "detections.h5").after_nms()
    photo = own_data.images / f"{found.image_ids[0]}.jpg"
    words = ("detect", "--model", tmp_path / "o" / "detector.h5", photo, "--thresh", "-2")
    assert command(*words, "--json", tmp_path / "d.json", "--out", tmp_path / "d") == 0
    (entry,) = json.loads((tmp_path / "d.json").read_text())
    of_stages = found.of_image(0)
    above = of_stages.scores > -2
    assert len(entry["objects"]) == above.sum() > 0
    for thing, score, box in zip(entry["objects"], of_stages.scores[above], of_stages.boxes[above], strict=True):
        # The stages kept features in half precision.
        assert thing["score"] == pytest.approx(score, abs=2e-2) and thing["box"] == pytest.approx(box, abs=2)
