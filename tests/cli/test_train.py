"""The train command on random negatives."""

from __future__ import annotations

import numpy as np

from rcnn_svm.detection.detector import Detector
from rcnn_svm.mining.random_negatives import negatives_of_model
from tests.cli.command import command
from tests.toys import stored, toy_cache

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
