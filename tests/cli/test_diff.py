"""`rcnn-svm diff`: where two artefacts differ first, and the exit code."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.cli.command import command


@pytest.fixture(scope="module")
def other(pipeline, tmp_path_factory):
    """A model trained with another C on the features of the run."""
    out = tmp_path_factory.mktemp("diff") / "model.h5"
    (features,) = (pipeline.out / "features").glob("*trainval*")
    assert command("train", "--features", features, "--out", out, "--svm-C", "0.1", "--jobs", "1") == 0
    return out


def test_equal_artefacts(pipeline, capsys):
    assert command("diff", pipeline.out, pipeline.out) == 0
    out = capsys.readouterr().out
    assert "equal: all that was compared is the same" in out and "DIFFERENT" not in out
    assert out.index("proposals/") < out.index("features/") < out.index("model.h5") < out.index("detections.h5")


def test_a_setting_explains_the_first_difference(pipeline, other, capsys):
    assert command("diff", pipeline.out / "model.h5", other) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "explained by C (training.identity.parameters.svm_C): 0.01 in A, 0.1 in B" in out


def test_json(pipeline, other, capsys):
    assert command("diff", pipeline.out / "model.h5", other, "--json") == 1
    content = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert content["explained_by"] == ["training.identity.parameters.svm_C"] and not content["equal"]
    names = [step["name"] for step in content["steps"]]
    assert content["first_difference"] in names and names[:4] == ["images", "classes", "features", "scale"]


def test_a_run_with_another_model(pipeline, other, tmp_path, capsys):
    run = shutil.copytree(pipeline.out, tmp_path / "run")
    shutil.copy(other, run / "model.h5")
    assert command("diff", pipeline.out, run) == 1
    assert " of model.h5\n" in capsys.readouterr().out


def test_bad_input(pipeline, tmp_path, capsys):
    for b, said in (
        (tmp_path / "none.h5", "does not exist"),
        (tmp_path, "holds nothing that a stage of rcnn-svm writes"),
        (pipeline.out / "detections.h5", "holds folder"),
    ):
        assert command("diff", pipeline.out, b) == 2
        assert said in capsys.readouterr().err
