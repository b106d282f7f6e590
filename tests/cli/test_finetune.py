"""From images to the mAP of the softmax, as a user types it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.detections import Detections
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc
from tests.cli.command import command
from tests.interrupt import ctrl_c_at

DATA = ("--classes", ",".join(SYNTHETIC_CLASSES))
STEPS = ("--iterations", 5, "--batch-size", 12, "--foreground", 4, "--device", "cpu", "--crop-size", 32)


@pytest.fixture
def voc(tmp_path):
    """Eight training images and a test image, with the objects shifted and some boxes elsewhere as proposals."""
    write_synthetic_voc(tmp_path / "VOCdevkit", num_train=8, num_test=1, seed=1)
    random = np.random.default_rng(0)
    for split in ("trainval", "test"):
        database = load_voc(tmp_path / "VOCdevkit", split=split, classes=SYNTHETIC_CLASSES)
        boxes = []
        for i in range(len(database)):
            truth = database.annotation(i)
            corners = random.integers(0, 60, (10, 2))
            far = np.hstack([corners, corners + random.integers(10, 60, corners.shape)])
            limit = np.tile(truth.image_size[::-1], 2) - 1
            boxes.append(np.clip(np.concatenate([truth.boxes + random.integers(-3, 4, 4), far]), 0, limit))
        ProposalSet(database.image_ids, boxes, {"method": "test"}).save(tmp_path / f"{split}.h5")
    return tmp_path


def finetune(voc, out, *words):
    data = ("--voc", voc / "VOCdevkit", *DATA, "--proposals", voc / "trainval.h5")
    return command("finetune", *data, *STEPS, "--out", out, *words)


def test_fine_tuned_extracted_and_tested(voc, capsys):
    out = voc / "lite0"
    assert finetune(voc, out) == 0
    printed = capsys.readouterr().out
    assert "5 steps of 12 windows: loss" in printed and printed.splitlines()[-1] == f"wrote {out}"
    assert sorted(path.name for path in out.iterdir()) == ["finetune.json", "loss.png", "weights.pt"]
    Image.open(out / "loss.png").verify()
    record = json.loads((out / "finetune.json").read_text())
    assert [line["iteration"] for line in record["log"]] == [1, 2, 3, 4, 5]
    assert record["identity"]["parameters"]["momentum"] == 0.9

    before = {path: path.stat().st_mtime_ns for path in out.glob("[fw]*")}
    assert finetune(voc, out) == 0
    assert "done already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.glob("[fw]*")} == before
    assert finetune(voc, out, "--lr", "0.01") == 2
    assert "was made with other settings (parameters.lr: 0.001 there, 0.01 wanted)" in capsys.readouterr().err

    data = ("--voc", voc / "VOCdevkit", *DATA, "--split", "test", "--proposals", voc / "test.h5", "--crop-size", 32)
    weights, features = out / "weights.pt", voc / "features"
    assert command("extract", *data, "--weights", weights, "--out", features) == 0
    words = ("--features", features, "--model", weights, "--scores", "softmax", "--out", voc / "found.h5")
    assert command("test", *words) == 0
    found = Detections.load(voc / "found.h5")
    assert len(found) == len(SYNTHETIC_CLASSES) * (len(ProposalSet.load(voc / "test.h5").boxes[0]))
    assert command("extract", *data, "--out", voc / "published") == 0
    capsys.readouterr()
    words = ("--features", voc / "published", "--model", weights, "--scores", "softmax", "--out", voc / "none.h5")
    assert command("test", *words) == 2
    assert "weights_digest" in capsys.readouterr().err
    assert command("test", "--features", features, "--model", weights, "--out", voc / "none.h5") == 2
    assert (
        "weights.pt holds the weights of a network, no SVMs; test it with --scores softmax" in capsys.readouterr().err
    )
    assert not (voc / "none.h5").exists()


def test_interrupted_and_run_again(voc, capsys):
    assert finetune(voc, voc / "whole") == 0
    with ctrl_c_at(2, torch.nn.Linear) as steps:
        assert finetune(voc, voc / "parts") == 130
        assert "run the same command to go on" in capsys.readouterr().err
        assert [path.name for path in (voc / "parts").iterdir()] == ["checkpoint.h5"]
        assert finetune(voc, voc / "parts") == 0
    assert len(steps) == 5
    whole, parts = (torch.load(voc / name / "weights.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole.keys() | parts.keys())
    records = [json.loads((voc / name / "finetune.json").read_text()) for name in ("whole", "parts")]
    assert records[0]["log"] == records[1]["log"]


def test_bad_input_is_one_sentence(voc, capsys):
    out = voc / "out"
    for words, told in (
        (("--foreground", 12), "foreground = 12 must be less than batch_size = 12"),
        (("--padding", 16), "leaves no room for the box"),
        (("--weights", voc / "none.pt"), "does not exist"),
        (("--backbone", "squeezenet1_0", "--weights", "random"), "does not end in a linear layer"),
        (("--proposals", voc / "test.h5"), "the proposals have no boxes"),
        (("--classes", "star,aeroplane"), "no ground truth"),
    ):
        assert finetune(voc, out, *words) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("error:") == 1 and "Traceback" not in error
    assert not out.exists()
