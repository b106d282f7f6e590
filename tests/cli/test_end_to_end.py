"""The train-head and test commands on images: Fast R-CNN end to end, with a small network on the CPU."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.detections import Detections
from rcnn_svm.fast_rcnn.model import FastRCNN
from rcnn_svm.fast_rcnn.targets import roi_targets
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES
from tests.cli.command import command

NAMES = ",".join(SYNTHETIC_CLASSES)


pytestmark = pytest.mark.usefixtures("small_roi_network")


def test_the_stages_train_and_test_on_images(devkit, tmp_path, capsys):
    words = ["train-head", "--end-to-end", "--voc", devkit / "VOCdevkit", "--classes", NAMES, "--backbone", "alexnet"]
    words += ["--proposals", devkit / "trainval.h5", "--short-side", "96", "--iterations", "3", "--device", "cpu"]
    out, found = tmp_path / "net.h5", tmp_path / "found.h5"
    assert command(*words, "--out", out) == 0
    assert command(*words, "--out", out) == 0
    assert "done already" in capsys.readouterr().out and out.with_name("net.loss.png").exists()
    words = ["test", "--model", out, "--voc", devkit / "VOCdevkit", "--classes", NAMES]
    words += ["--proposals", devkit / "test.h5", "--out", found, "--device", "cpu"]
    assert command(*words) == 0
    detections, model = Detections.load(found), FastRCNN.load(out)
    database = load_voc(devkit / "VOCdevkit", "2007", "test", classes=SYNTHETIC_CLASSES)
    boxes = ProposalSet.load(devkit / "test.h5").boxes_of(database.image_ids[0])
    image = torch.from_numpy(database.load_image(0).transpose(2, 0, 1).copy())
    targets = roi_targets(boxes, np.empty((0, 4)), np.empty(0))
    with torch.inference_mode():
        logits, _ = model.network.of_rows([image], [targets])([torch.arange(len(boxes))])
    p = torch.softmax(logits, 1)[:, 1:].numpy()
    mine = detections.image == 0
    rows = detections.row[mine] - len(database.annotation(0).boxes)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-detections.score[mine])), p[rows, detections.cls[mine]], rtol=1e-4, atol=1e-6
    )
    assert (detections.box[mine] != boxes[rows]).any()
    capsys.readouterr()
    for argv, told in (
        (["test", "--model", out], "--features is missing"),
        ([*words[:-4], "--bbox", out], "--bbox does not go with"),
        (["train-head", "--end-to-end"], "--end-to-end needs --voc"),
        (["test", "--features", devkit, "--model", out], f"{out} holds Fast R-CNN network, expected detector"),
    ):
        assert command(*argv) == 2
        assert told in capsys.readouterr().err


def test_an_image_that_cannot_be_read_is_one_sentence(devkit, tmp_path, capsys):
    root = tmp_path / "VOCdevkit"
    shutil.copytree(devkit / "VOCdevkit", root)
    for path in (root / "VOC2007" / "JPEGImages").glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:200])
    words = ["train-head", "--end-to-end", "--voc", root, "--classes", NAMES, "--backbone", "alexnet"]
    words += ["--proposals", devkit / "trainval.h5", "--short-side", "96", "--iterations", "1", "--device", "cpu"]
    assert command(*words, "--out", tmp_path / "net.h5") == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and ".jpg" in error
