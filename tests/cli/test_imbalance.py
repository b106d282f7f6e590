"""The imbalance stage as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli.main import main
from rcnn_svm.detection.detector import Detector
from tests.toys import stored, toy_cache


@pytest.fixture
def artefacts(tmp_path) -> tuple[Path, Path]:
    """A feature cache and a model."""
    rng = np.random.default_rng(0)
    label = np.zeros(60, int)
    label[[0, 30]] = [1, 2]
    overlap = np.zeros((60, 2), np.float32)
    overlap[[0, 30], [0, 1]] = 1
    given = {"label": label, "overlap": overlap, "features": rng.standard_normal((60, 4))}
    cache = stored(toy_cache([30, 30], classes=("cat", "dog"), **given), tmp_path / "cache")
    W = rng.standard_normal((4, 2)).astype(np.float32) / 20
    Detector(("cat", "dog"), W, np.array([-1, -1], np.float32), 2.0, feature_settings=cache.settings).save(
        tmp_path / "model.h5"
    )
    return tmp_path / "cache", tmp_path / "model.h5"


def test_the_stage_prints_and_writes(artefacts, tmp_path, capsys):
    cache, model = artefacts
    argv = ["imbalance", "--features", str(cache), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "all classes" in out and "hardest 0.1 %" in out and f"wrote {tmp_path / 'out'}" in out
    content = json.loads((tmp_path / "out" / "imbalance.json").read_text())
    assert content["overall"]["positives"] == 2 and content["overall"]["negatives"] == 118
    assert content["settings"]["features"] == FeatureCache.open(cache).fingerprint
    assert content["settings"]["gamma"] == 2 and content["fingerprint"] and content["provenance"]["command"]
    assert len((tmp_path / "out" / "imbalance.csv").read_text().splitlines()) == 4
    assert (tmp_path / "out" / "imbalance.png").exists()
    assert main([*argv, "--gamma", "1"]) == 0
    assert json.loads((tmp_path / "out" / "imbalance.json").read_text())["fingerprint"] != content["fingerprint"]


def test_bad_input_is_told_in_one_sentence(artefacts, tmp_path, capsys):
    cache, model = artefacts
    other = tmp_path / "other.h5"
    Detector(("cat",), np.zeros((3, 1), np.float32), np.zeros(1, np.float32), 1.0).save(other)
    for argv, told in (
        (["--features", cache, "--model", other], "expects 3-d features"),
        (["--features", cache, "--model", tmp_path / "none.h5"], "does not exist"),
        (["--features", tmp_path, "--model", model], "not a feature cache"),
        (["--features", cache, "--model", model, "--neg-overlap", "2"], "between 0 and 1"),
        (["--features", cache, "--model", model, "--out", model], "cannot write"),
    ):
        assert main(["imbalance", *map(str, argv)]) == 2
        errors = capsys.readouterr().err
        assert told in errors and "Traceback" not in errors
