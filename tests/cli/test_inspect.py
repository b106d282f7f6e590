"""`rcnn-svm inspect`: every option, on a finished run."""

from __future__ import annotations

import json
import shutil

import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from tests.cli.command import command
from tests.toys import flip


def printed(capsys, *words: object) -> str:
    capsys.readouterr()
    assert command("inspect", *words) == 0
    return capsys.readouterr().out


def strict(text: str) -> dict:
    return json.loads(text, parse_constant=pytest.fail)


def test_a_run(pipeline, capsys):
    out = printed(capsys, pipeline.out)
    for name in ("model.h5", "detections.h5", "report/results.json"):
        assert f"\n{name}" in out
    assert "9 in train_ids.txt, 4 in test_ids.txt" in out and out.index("\nmodel.h5") < out.index("\ndetections.h5")
    content = strict(printed(capsys, pipeline.out, "--json"))
    kinds = [artefact["kind"] for artefact in content["artefacts"]]
    assert kinds == [*["proposals"] * 2, *["feature cache"] * 2, "detector", "detections", "detector", "report"]
    names = [artefact["name"] for artefact in content["artefacts"]]
    assert ["trainval" in name for name in names[:4]] == [True, False, True, False]


def test_a_cache_as_json(pipeline, features, capsys):
    image = FeatureCache.open(features["test"]).image_ids[1]
    content = strict(printed(capsys, features["test"], "--json", "--image", image, "--top", "2", "--verify"))
    assert content["problems"] == [] and content["shards"]["missing"] == []
    assert (content["image"]["id"], len(content["image"]["rows"])) == (image, 2)
    assert content["settings"] == FeatureCache.open(features["test"]).settings


def test_a_damaged_cache_is_json_too(features, tmp_path, capsys):
    damaged = shutil.copytree(features["test"], tmp_path / "damaged")
    flip(damaged / "shard-00000.h5", (damaged / "shard-00000.h5").stat().st_size // 2)
    assert command("inspect", damaged, "--verify", "--json") == 1
    content = strict(capsys.readouterr().out)
    assert ["does not match its checksum" in problem for problem in content["problems"]] == [True]
    assert ["does not match its checksum" in problem for problem in content["features"]["damaged"]] == [True]
    assert command("inspect", damaged) == 0
    assert "does not match its checksum" in " ".join(capsys.readouterr().out.split())


def test_the_hardest_negatives_as_json(pipeline, capsys):
    model = pipeline.out / "model.h5"
    content = strict(printed(capsys, model, "--json", "--class", "ball", "--top", "3"))
    history = Detector.load_history(model)
    scores = sorted(history["support_scores"][history["support"][:, 0] == 0].tolist(), reverse=True)
    assert [found["score"] for found in content["hardest"]["ball"]] == pytest.approx(scores[:3])
    out = printed(capsys, model, "--top", "2")
    assert "and 3 more classes" in out


def test_settings_are_printed_below(pipeline, capsys):
    out = printed(capsys, pipeline.out / "detections.h5", "--settings")
    assert strict(out[out.index("\n{") :])["image_set"].startswith("voc_2007_test")


@pytest.mark.parametrize("option", [["--verify"], ["--image", "1"], ["--layer", "fc6"]])
def test_options_of_a_cache_need_one(pipeline, option, capsys):
    for path in (pipeline.out, pipeline.out / "model.h5"):
        assert command("inspect", path, *option) == 2
        assert "needs a feature cache folder" in capsys.readouterr().err
