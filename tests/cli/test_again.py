"""Scoring again by commands: the best boxes found become proposals, what is found in them joins what there was."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.proposals.store import ProposalSet
from tests.cli.command import command


@pytest.fixture
def stages(pipeline, features, tmp_path):
    """Words of the commands that score again, each with its output in a folder of this test."""
    data = ("--voc", pipeline.voc, "--split", "test", "--classes", pipeline.names)
    model, found, again = pipeline.out / "model.h5", pipeline.out / "detections.h5", tmp_path / "again"
    test = ("test", "--model", model, "--vote", "--out", tmp_path / "both.h5", "--features", again)
    return {
        "propose": ("propose", *data, "--detections", found, "--per-image", 9, "--out", tmp_path / "again.h5"),
        "extract": ("extract", *data, "--proposals", tmp_path / "again.h5", "--crop-size", 64, "--out", again),
        "test": (*test, "--also", found),
        "evaluate": ("evaluate", *data, "--detections", tmp_path / "both.h5", "--out", tmp_path / "r", "--pictures", 0),
    }


def test_the_stages_score_again(pipeline, stages, tmp_path, capsys):
    for words in stages.values():
        assert command(*words) == 0
    proposals = ProposalSet.load(tmp_path / "again.h5")
    assert {len(boxes) for boxes in proposals.boxes} == {9}
    found, both = Detections.load(pipeline.out / "detections.h5"), Detections.load(tmp_path / "both.h5")
    assert len(found) < len(both) <= len(found) + 4 * 9 * 5
    assert both.settings["also"].items() <= found.settings.items() and "voting" in both.settings
    content = json.loads((tmp_path / "r" / "results.json").read_text())
    assert content["made_from"]["detections"]["also"] == both.settings["also"]
    capsys.readouterr()
    for stage in ("propose", "extract", "test"):
        assert command(*stages[stage]) == 0
        assert "done already" in capsys.readouterr().out


def test_other_detections_or_limits_are_refused_or_made_again(pipeline, stages, tmp_path, capsys):
    changed = tmp_path / "changed.h5"
    found = Detections.load(pipeline.out / "detections.h5")
    replace(found, box=found.box[::-1].copy()).save(changed)
    words = stages["propose"]
    assert command(*words) == 0
    before = ProposalSet.load(tmp_path / "again.h5")
    assert command(*words, "--per-class", 2) == 2
    assert "was made with other settings (per_class: 5 there, 2 wanted)" in capsys.readouterr().err
    assert command(*words, "--detections", changed) == 2
    assert "--update to make again what they change" in capsys.readouterr().err
    assert command(*words, "--detections", changed, "--update") == 0
    assert "made again" in capsys.readouterr().out
    assert ProposalSet.load(tmp_path / "again.h5").fingerprint != before.fingerprint
    assert command(*words, "--per-class", 2, "--overwrite") == 0


def test_what_another_model_found_is_not_merged(pipeline, features, stages, tmp_path, capsys):
    other = Detector.load(pipeline.out / "model.h5")
    replace(other, B=other.B + np.float32(1)).save(tmp_path / "other.h5")
    words = [features["test"] if str(word).endswith("again") else word for word in stages["test"]]
    assert command(*words, "--model", tmp_path / "other.h5") == 2
    error = capsys.readouterr().err
    assert f"the detections of {pipeline.out / 'detections.h5'} cannot be merged with these: the detectors" in error
    assert error.count("\n") == 1 and not (tmp_path / "both.h5").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--per-image", 5], "--per-image needs --detections; limit others with --max-boxes"),
        (["--detections", "FOUND", "--max-boxes", 5], "--max-boxes does not go with --detections; limit those with"),
        (["--detections", "FOUND", "--split", "trainval"], "the detections are not of 9 of 9 images of voc_2007_"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(pipeline, options, message, tmp_path, capsys):
    words = [pipeline.out / "detections.h5" if word == "FOUND" else word for word in options]
    data = ("--voc", pipeline.voc, "--split", "test", "--classes", pipeline.names, "--out", tmp_path / "p.h5")
    assert command("propose", *data, *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
