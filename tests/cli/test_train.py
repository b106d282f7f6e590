"""The train command on random negatives, and with images to validate on."""

from __future__ import annotations

import numpy as np

from rcnn_svm.detection.detector import Detector
from rcnn_svm.mining.random_negatives import negatives_of_model
from tests.cli.command import command
from tests.toys import few_objects, stored, toy_cache

CLASSES = ("a", "b", "c")


def test_the_stage_draws_as_many_as_mining_ended_with(tmp_path, capsys):
    stored(
        toy_cache([40, 40, 40, 0, 40, 40, 40, 40, 40], classes=CLASSES, objects=1), tmp_path / "cache", shard_images=4
    )
    train = ["train", "--features", str(tmp_path / "cache"), "--svm-C", "0.02", "--jobs", "2"]
    mined, drawn, few = (tmp_path / f"{name}.h5" for name in ("mined", "drawn", "few"))
    assert command(*train, "--out", mined, "--retrain-limit", "30") == 0
    assert command(*train, "--out", drawn, "--random-negatives", mined) == 0
    assert command(*train, "--out", few, "--random-negatives", "7") == 0
    assert "random negatives" in capsys.readouterr().out
    updates = Detector.load_history(mined)["updates"]
    last = [int(updates[updates[:, 0] == c][-1, 4]) for c in range(3)]
    assert negatives_of_model(mined, CLASSES) == last
    for path, counts in ((drawn, last), (few, [7] * 3)):
        np.testing.assert_array_equal(np.bincount(Detector.load_history(path)["negatives"][:, 0]), counts)
        assert Detector.load(path).classes == CLASSES
    assert command(*train, "--out", few, "--random-negatives", "7") == 0  # done already
    assert "done already" in capsys.readouterr().out
    assert command(*train, "--out", few) == 2
    assert "was made with other settings" in capsys.readouterr().err
    for option, value in (("--k-folds", "2"), ("--epochs", "2"), ("--hard-thresh", "-1"), ("--retrain-limit", "9")):
        assert command(*train, "--out", tmp_path / "x.h5", "--random-negatives", "7", option, value) == 2
        assert f"{option} is for mining" in capsys.readouterr().err


def test_the_stage_stops_by_images_to_validate_on(tmp_path, capsys):
    for name, seed in (("train", 0), ("val", 100)):
        stored(few_objects(seed, 14), tmp_path / name, shard_images=4, dtype="float32")
    train = ["train", "--features", tmp_path / "train", "--svm-C", "0.02", "--retrain-limit", "60", "--jobs", "1"]
    train += ["--out", tmp_path / "model.h5", "--epochs", "8"]
    validate = ["--validate", tmp_path / "val", "--patience", "2"]
    assert command(*train, *validate) == 0
    said = capsys.readouterr().out
    assert "held-out AP area" in said and said.count("kept") == 3
    table = Detector.load_history(tmp_path / "model.h5")["validation"]
    assert 0 < table[:, 1].max() < 7 and set(table[:, 0]) == {0, 1, 2}
    assert command(*train, *validate) == 0
    assert "done already" in capsys.readouterr().out
    assert command(*train, "--validate", tmp_path / "val") == 2
    assert "was made with other settings (parameters.patience: 2 there, 1 wanted)" in capsys.readouterr().err
    assert command(*train) == 2
    assert "was made with other settings" in capsys.readouterr().err
    assert command(*train, "--patience", "2") == 2
    assert "--patience is for the stop by --validate" in capsys.readouterr().err
    assert command(*train, *validate, "--random-negatives", "7") == 2
    assert "--validate is for mining" in capsys.readouterr().err
    assert command(*train, "--overwrite", "--validate", tmp_path / "train") == 2
    assert "has images that are trained on" in capsys.readouterr().err
