"""Suspects as CSV: what a reviewer sees, and what is read back as labels."""

from __future__ import annotations

import csv

import numpy as np
from PIL import Image

from rcnn_svm.data.csv_boxes import load_csv
from rcnn_svm.mining.kinds_of_negatives import NegativeKind, NegativeKinds
from rcnn_svm.mining.suspects import Suspects
from rcnn_svm.reports.suspects import save_suspects


def test_a_review_file_is_read_as_labels(tmp_path):
    kinds = [NegativeKind.LOOK_ALIKE, NegativeKind.BACKGROUND]
    suspects = Suspects(
        classes=("cat", "dog"),
        image_ids=("one", "two"),
        keys=np.array([[1, 0, 7], [0, 1, 3]], np.int32),
        box=np.float32([[1.04, 2, 30.26, 40], [0, 0, 9, 9]]),
        suspicion=np.float32([1.25, -0.5]),
        score=np.float32([0.75, 0.125]),
        kinds=NegativeKinds(("bird", "cat"), np.int8(kinds), np.int32([0, -1]), np.float32([0.24, 0])),
    )
    save_suspects(suspects, tmp_path / "suspects.csv")
    with open(tmp_path / "suspects.csv", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert first == {
        **{"image": "one", "x1": "1.0", "y1": "2.0", "x2": "30.3", "y2": "40.0", "class": "dog"},
        **{"suspicion": "1.25", "score": "0.75", "row": "7", "why": "look-alike: bird, IoU 0.24"},
    }
    assert (second["class"], second["why"]) == ("cat", "background")
    (tmp_path / "photos").mkdir()
    for name in suspects.image_ids:
        Image.new("RGB", (60, 50)).save(tmp_path / "photos" / f"{name}.png")
    labels = load_csv(tmp_path / "suspects.csv", tmp_path / "photos")
    assert (labels.classes, labels.image_ids) == (("cat", "dog"), ("one", "two"))
    np.testing.assert_allclose(labels.annotation(0).boxes, [[1, 2, 30.3, 40]], atol=1e-5)
    assert labels.annotation(1).classes.tolist() == [0]
