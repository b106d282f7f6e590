"""The train command with more negatives: background, what was mined, and what it says of before and after."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rcnn_svm.detection.detector import Detector
from rcnn_svm.mining.mined_regions import FEATURES, MANIFEST
from tests.cli.command import command
from tests.toys import few_objects, stored, toy_cache


@pytest.fixture
def folder(tmp_path):
    """Caches of photos to train and to test on, of background to mine and to test on, and a manifest."""
    for name, seed in (("train", 0), ("test", 100)):
        stored(few_objects(seed, 14), tmp_path / name, shard_images=4, dtype="float32")
    dim = few_objects(0, 14).dim
    for name, seed in (("empty", 1), ("other", 2)):
        cache = toy_cache([15] * 5, classes=("none",), objects=0, dim=dim, seed=seed)
        stored(cache, tmp_path / name, dtype="float32")
    overlap = np.ones((4, 3), np.float32)
    overlap[:, 0] = 0
    mined = toy_cache([4], label=np.zeros(4, int), overlap=overlap, dim=dim, classes=few_objects(0, 14).classes)
    stored(mined, tmp_path / "mined" / FEATURES)
    first = few_objects(0, 14).classes[0]
    lines = [{"id": n, "source": "a", "box": [0, 0, 9, 9], "class": first, "score": 1} for n in range(4)]
    (tmp_path / "mined" / MANIFEST).write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def train(folder, *words):
    return command("train", "--features", folder / "train", "--svm-C", "0.02", "--retrain-limit", "60", *words)


def test_negatives_are_further_images_of_the_training(folder, capsys):
    plain, more = folder / "plain.h5", folder / "more.h5"
    assert train(folder, "--out", plain) == 0
    capsys.readouterr()
    words = ["--negatives", folder / "empty", "--mined", folder / "mined" / MANIFEST, "--out", more]
    tests = ["--background-test", folder / "other", "--test-features", folder / "test", "--before", plain]
    assert train(folder, *words, *tests) == 0
    told = capsys.readouterr().out
    assert "background: toy, 5 images, 75 regions" in told
    assert f"mined: {folder / 'mined' / MANIFEST}, 4 regions" in told
    [before, after] = [line.split() for line in told.splitlines() if line.startswith(("before", "after"))]
    # False positives at equal recall, and how many of those of before.
    assert float(before[3]) == 1
    assert float(after[2]) == pytest.approx(float(after[3]) * float(before[2]), abs=0.02)
    assert max(map(len, told.splitlines())) <= 80 + len(str(folder))
    history = Detector.load_history(more)
    assert len(history["image_ids"]) == 14 + 5 + 1
    mined = history["added"][history["added"][:, 2] == 19]
    assert {*mined[:, 0].tolist()} == {0}
    assert train(folder, *words) == 0
    assert "done already" in capsys.readouterr().out
    page = ["report", more, "--features", folder / "train", "--out", folder / "page"]
    assert command(*page, *words[:4]) == 0
    assert "20 images" in capsys.readouterr().out
    assert command(*page, *words[:2], "--overwrite") == 2
    assert "what was trained on beside it with --negatives and --mined" in capsys.readouterr().err
    assert train(folder, "--out", more) == 2
    assert "was made with other settings" in capsys.readouterr().err


def test_what_cannot_be_used_is_one_sentence(folder, capsys):
    assert train(folder, "--negatives", folder / "test", "--out", folder / "x.h5") == 2
    assert "is not background" in capsys.readouterr().err
    assert train(folder, "--before", folder / "x.h5", "--out", folder / "x.h5") == 2
    assert "--before is compared on" in capsys.readouterr().err
    assert not (folder / "x.h5").exists()
