"""The rank stage, and proposals in the order that it learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rcnn_svm.artefacts.model_file import load_model
from rcnn_svm.data.images import load_image
from rcnn_svm.detection.detect import ImageDetector
from rcnn_svm.detection.detector import Detector
from rcnn_svm.proposals import ranker_training
from rcnn_svm.proposals.ranker import ProposalRanker
from rcnn_svm.proposals.store import ProposalSet
from tests.cli.command import command


@pytest.fixture
def words(pipeline):
    return ("--voc", pipeline.voc, "--classes", pipeline.names)


@pytest.fixture(autouse=True)
def _few_objects_will_do(monkeypatch):
    # The tiny set has fewer than the 50 objects that are asked for, and more would take longer to draw.
    monkeypatch.setattr(ranker_training, "MIN_OBJECTS", 5)


def test_a_ranker_is_learnt_and_makes_proposals(words, tmp_path, capsys):
    out, boxes = tmp_path / "ranker.h5", tmp_path / "p.h5"
    rank = ("rank", *words, "--weights", "random", "--out", out, "--jobs", 2)
    assert command(*rank) == 0
    assert "learnt from" in capsys.readouterr().out and not list(tmp_path.glob("*.checkpoint"))
    assert isinstance(load_model(out), ProposalRanker)
    assert command(*rank) == 0
    assert "done already" in capsys.readouterr().out
    assert command(*rank, "--seed", 4) == 2
    assert "was made with other settings" in capsys.readouterr().err
    propose = ("propose", *words, "--split", "test", "--ranker", out, "--max-boxes", 30, "--out", boxes)
    assert command(*propose) == 0
    assert "all + difficult" in capsys.readouterr().out
    proposals = ProposalSet.load(boxes)
    assert {len(found) for found in proposals.boxes} == {30}
    assert proposals.settings["ranker"] == load_model(out).digest
    assert command(*propose) == 0
    assert "done already" in capsys.readouterr().out


def test_a_detector_makes_the_proposals_of_an_image_as_its_training_had_them(words, pipeline, tmp_path, capsys):
    ranker, other, boxes, features = (tmp_path / name for name in ("r.h5", "other.h5", "p.h5", "f"))
    assert command("rank", *words, "--weights", "random", "--out", ranker) == 0
    learnt = ProposalRanker.load(ranker)
    replace(learnt, B=learnt.B + np.float32(1)).save(other)
    assert command("propose", *words, "--ranker", ranker, "--max-boxes", 20, "--out", boxes) == 0
    assert command("extract", *words, "--proposals", boxes, "--crop-size", 64, "--out", features) == 0
    model, whole = tmp_path / "model.h5", tmp_path / "detector.h5"
    assert command("train", "--features", features, "--out", model) == 0
    photo = next((pipeline.voc / "VOC2007" / "JPEGImages").iterdir())
    assert command("detect", "--model", model, photo, "--out", tmp_path / "d") == 2
    assert "assemble --ranker FILE" in capsys.readouterr().err
    assert command("assemble", "--model", model, "--ranker", other, "--out", whole) == 2
    assert "were not made by" in capsys.readouterr().err
    assert command("assemble", "--model", model, "--ranker", ranker, "--out", whole) == 0
    assert "parts: proposal ranker" in capsys.readouterr().out
    assert command("detect", "--model", whole, photo, "--out", tmp_path / "d", "--thresh", -9) == 0
    finder = ImageDetector(Detector.load(whole))
    stored = ProposalSet.load(boxes)
    for image_id, expected in zip(stored.image_ids[:2], stored.boxes, strict=False):
        image = load_image(pipeline.voc / "VOC2007" / "JPEGImages" / f"{image_id}.jpg")
        np.testing.assert_array_equal(finder._proposer(image), expected)


def test_weights_without_a_ranker_and_too_few_objects_are_one_sentence(words, tmp_path, monkeypatch, capsys):
    assert command("propose", *words, "--weights", tmp_path / "w.pt", "--out", tmp_path / "p.h5") == 2
    assert "--weights needs --ranker" in capsys.readouterr().err
    monkeypatch.setattr(ranker_training, "MIN_OBJECTS", 5000)
    assert command("rank", *words, "--weights", "random", "--out", tmp_path / "r.h5") == 2
    assert "learnt from 5000 or more; take selective search" in capsys.readouterr().err
