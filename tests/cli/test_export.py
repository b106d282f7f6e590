"""The export command: a folder that is made once, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.recipe import Recipe
from tests.cli.command import command


@pytest.fixture(scope="module")
def exported(pipeline, tmp_path_factory):
    """The model of the pipeline and the folder of its export."""
    out = tmp_path_factory.mktemp("export") / "exported"
    assert command("export", pipeline.out / "model.h5", "--out", out) == 0
    return pipeline.out / "model.h5", out


def test_the_same_export_is_done_already_and_another_is_refused_until_overwritten(exported, tmp_path, capsys):
    model, out = exported
    written = (out / "detector.json").read_text()
    assert command("export", model, "--out", out) == 0
    assert f"done already: {out / 'detector.json'}" in capsys.readouterr().out
    replace(Detector.load(model), recipe=Recipe(vote=True)).save(tmp_path / "voting.h5")
    assert command("export", tmp_path / "voting.h5", "--out", out) == 2
    assert "recipe: None there" in capsys.readouterr().err
    assert (out / "detector.json").read_text() == written
    assert command("export", tmp_path / "voting.h5", "--out", out, "--overwrite") == 0
    assert json.loads((out / "detector.json").read_text())["recipe"]["vote"]
    assert command("export", model, "--out", out, "--overwrite") == 0


def test_a_damaged_export_is_made_again_with_overwrite(exported, capsys):
    model, out = exported
    (out / "network.onnx").write_bytes(b"")
    assert command("export", model, "--out", out) == 2
    assert "network.onnx is damaged" in capsys.readouterr().err
    assert command("export", model, "--out", out, "--overwrite") == 0
    assert (out / "network.onnx").stat().st_size > 1000


def test_what_cannot_be_exported_is_said_in_a_sentence(tmp_path, capsys):
    W, B = np.zeros((4, 1), np.float32), np.zeros(1, np.float32)
    Detector(("cat",), W, B, feat_norm_mean=20.0).save(tmp_path / "m.h5")
    assert command("export", tmp_path / "m.h5", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == (
        "rcnn-svm export: error: the detector does not record how proposals were made for its training (its features "
        "came from arrays), so it cannot be exported to find objects in images\n"
    )
    assert not (tmp_path / "out").exists()
