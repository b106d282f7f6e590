"""What is said of a detector whose training chose C, was validated, tested for convergence and short of memory."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.engine.history import MiningHistory
from rcnn_svm.reports import inspect_artefact, mining_table
from rcnn_svm.reports.inspection.detector import with_hardest


def save(path, num_classes: int, history: dict | None = None, **changed):
    classes = tuple(f"class{k}" for k in range(num_classes))
    weights = np.ones((2, num_classes), np.float32)
    Detector(classes, weights, np.zeros(num_classes, np.float32), 20.0, **changed).save(path, history)
    return path


def history_of_two_classes() -> dict[str, np.ndarray]:
    history = MiningHistory()
    history.record("added", [(0, 0, 0, 3), (1, 0, 0, 4)])
    history.record("updates", [(0, 0, 0, 5, 1, 1, 1, 9), (1, 0, 0, 6, 1, 1, 1, 9)])
    history.record("update_loss", [(1, 2, 3, 6), (1, 2, 3, 6)])
    history.record("update_gap", [1e-7, 1e-7])
    history.record("selection", [(0.001, 0.25, 1), (0.01, 0.1, 1)])
    history.record("validation", [(0, 0, 0.5), (1, 0, 0.25), (0, 1, 0.75), (1, 1, 0.125)])
    history.record("convergence", [(0, 0, 2.0, 2.5), (1, 0, 4.0, 4.0)])
    history.record("budget", [(0, 0, 0, 3, 2), (1, 0, 0, 0, 1)])
    return {**history.tables(), "negatives": np.array([[0, 0, 3], [1, 0, 4]], np.int32)}


def test_what_a_training_was_asked_for_is_told(tmp_path):
    training = {"identity": {"parameters": {"pos_loss_weight": "auto"}}, "pos_loss_weight": [2.5, 3]}
    path = save(tmp_path / "model.h5", 2, history_of_two_classes(), training=training)
    facts = inspect_artefact(path).facts
    assert facts["validation"] == "2 passes judged, best held-out AP 75.0 (area)"
    assert facts["convergence"] == "objective on all data 1.000 to 1.250 of that on the cache"
    assert facts["choice of C"] == "0.001 of 2 values, held-out mAP 25.0 (area)"
    assert facts["memory budget"] == (
        "the memory budget bound for class0: 2 negatives evicted that were not easy, 3 hard ones left out "
        "(and for 1 more classes)"
    )
    table = mining_table(path)
    assert "1.250" in table and "weight of a positive: class0 2.5, class1 3.0" in table
    kept = [line.split() for line in table.splitlines() if line.endswith("kept")]
    assert kept == [["class0", "2", "75.0", "kept"], ["class1", "1", "25.0", "kept"]]


def test_a_detector_without_a_record_says_so(tmp_path):
    path = save(tmp_path / "model.h5", 2)
    assert inspect_artefact(path).facts["classes"] == "class0, class1 (without a record of the training)"
    assert mining_table(path) == "2 classes: class0, class1 (without a record of the training)"
    with pytest.raises(InputError, match="no record of its training"):
        with_hardest(inspect_artefact(path), path, "class0", 3)
    with pytest.raises(InputError, match=r"class 'cat' is not in .*; it has class0, class1"):
        with_hardest(inspect_artefact(path), path, "cat", 3)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([2, 2], "2 for every class"),
        ([2, 3], "2 (class0), 3 (class1)"),
        ([5, 9, 2, 3, 4, 5, 6], "2 (class2) to 9 (class1)"),
    ],
)
def test_what_a_positive_weighs_is_told_of_few_classes_each_and_of_many_from_to(tmp_path, weights, told):
    path = save(tmp_path / "model.h5", len(weights), training={"pos_loss_weight": weights})
    assert inspect_artefact(path).facts["positives weigh"] == told
