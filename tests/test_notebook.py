"""Objects in a notebook: one short line, and a table of HTML in which all text is escaped."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from rcnn_svm import Detections, Detector, FeatureCache, HardNegativeMiner
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.evaluation.voc import VocResult, evaluate_class
from rcnn_svm.mining.engine.history import MiningHistory
from rcnn_svm.notebook import html_table, sparkline
from rcnn_svm.proposals.store import ProposalSet
from tests.toys import toy_cache

EVIL = "<b>'x' &\"y</b>"


class Cells(HTMLParser):
    """Collects the text of cells, row by row, every kind of element, and the points of lines."""

    def __init__(self, text: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.kinds: set[str] = set()
        self.lines: list[np.ndarray] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.kinds.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "polyline":
            self.lines.append(np.array([point.split(",") for point in dict(attrs)["points"].split()], float))

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def cache() -> FeatureCache:
    return toy_cache([20, 30, 25], classes=("cat", EVIL, "cow"), dim=5)


@pytest.fixture(scope="module")
def miner(cache) -> HardNegativeMiner:
    return HardNegativeMiner(svm_C=0.1, retrain_limit=15, n_jobs=1).fit(cache)


@pytest.fixture(scope="module")
def found() -> Detections:
    box = np.tile([0, 0, 9, 9], (3, 1))
    settings = {"nms": 0.3}
    return Detections(("a", "b"), ("cat", EVIL), [0, 1, 1], [1, 1, 1], box, [1, 2, 4], settings=settings)


def test_every_object_is_one_short_line(cache, miner, found):
    proposals = ProposalSet(("a",), [np.zeros((2, 4))], {"method": "fast", "database": "toy"})
    one, box = np.zeros(1, int), np.float64([[0, 0, 9, 9]])
    curve = evaluate_class(one, box, np.ones(1), one, box, np.zeros(1, bool), name="cat")
    nothing = evaluate_class(one, box, np.ones(1), one[:0], box[:0], np.zeros(0, bool), name="dog")
    result = VocResult("toy", 2, 0.5, None, (curve, nothing))
    lines = {
        repr(cache): "FeatureCache('toy', 3 images, 75 rows, 5-d, 3 classes)",
        repr(cache.regions(1)): "RegionSet('1', 10 x 10 pixels, 2 objects, 28 proposals, 5-d features)",
        repr(found): "Detections(3 boxes of 2 classes in 2 images, suppressed above IoU 0.3)",
        repr(replace(found, settings={})): "Detections(3 boxes of 2 classes in 2 images, not suppressed)",
        repr(proposals): "ProposalSet(1 image, 2 boxes, toy, fast)",
        repr(result): "VocResult('toy', 2 images, 2 classes, mAP 100.0 11-point, 100.0 area)",
        repr(replace(result, classes=(nothing,))): "VocResult('toy', 2 images, 1 class, no AP)",
        repr(BoxRegressor.identity(("cat", "dog"), 3, 1.0)): "BoxRegressor(2 classes: cat, dog)",
        repr(MiningHistory()): "MiningHistory(0 hard negatives added, 0 updates, 0 evicted)",
    }
    assert [*lines] == [*lines.values()]
    history = miner.history_
    counts = f"{history.num_added} hard negatives added, {history.num_updates} updates"
    assert repr(history).startswith(f"MiningHistory({counts}, ")


def test_a_detector_of_many_classes_with_long_names_is_short():
    classes = tuple(f"{number:02d} of a class with a rather long name" for number in range(80))
    backbone = {"backbone": {"name": "lite0", "layer": "multi"}}
    detector = Detector(classes, np.zeros((4, 80), np.float32), np.zeros(80, np.float32), 20.0, backbone)
    line = repr(detector)
    assert len(line) < 140 and "\n" not in line and line.startswith("Detector(80 classes: 00 of a cla")
    assert line.endswith(" and 77 more, 4-d lite0 multi)")


def test_parts_of_a_detector_are_named():
    detector = Detector(
        ("cat",),
        np.zeros((2, 1), np.float32),
        np.zeros(1, np.float32),
        20.0,
        calibration=np.float64([[1, 2]]),
        bbox_regressor=BoxRegressor.identity(("cat",), 2, 1.0),
    )
    assert repr(detector) == "Detector(1 class: cat, 2-d, calibrated, box regressor)"
    assert Cells(detector._repr_html_()).rows == [
        ["class", "norm of W", "bias", "score of probability 0.5"],
        ["cat", "0", "0", "-2"],
    ]


@pytest.mark.parametrize("name", ["cache", "detector", "history", "detections"])
def test_text_is_escaped(name, cache, miner, found):
    shown = {"cache": cache, "detector": miner.detector_, "history": miner.history_, "detections": found}[name]
    page = Cells(shown._repr_html_())
    assert page.kinds <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "svg", "title", "polyline"}
    if name != "history":
        assert any(EVIL in cell for row in page.rows for cell in row)


def test_figures_of_classes(miner, found):
    history = miner.history_
    rows = Cells(history._repr_html_()).rows[1:]
    for index, row in enumerate(rows):
        assert int(row[2]) == (history.table("added")[:, 0] == index).sum()
        assert int(row[4]) == (history.table("updates")[:, 0] == index).sum()
    assert sum(int(row[3]) for row in rows) == len(history.table("evicted"))
    assert Cells(found._repr_html_()).rows[1:] == [
        ["cat", "0", "0", "", "", ""],
        [EVIL, "3", "2", "4.000", "2.000", "1.000"],
    ]


def test_lines_of_a_history_are_its_sets_and_objectives(miner):
    history = miner.history_
    updates, loss = history.table("updates"), history.table("update_loss")[:, 3]
    lines = Cells(history._repr_html_()).lines
    assert len(lines) == 6
    for index in range(3):
        own = updates[:, 0] == index
        for line, values in zip(lines[2 * index :], (updates[own, 4], loss[own]), strict=False):
            assert len(line) == own.sum() > 1 and np.ptp(np.diff(line[:, 0])) < 0.2
            # Pixels count from the top.
            np.testing.assert_allclose(
                (line[:, 1].max() - line[:, 1]) / 20, (values - values.min()) / values.max(), atol=0.01
            )


def test_a_class_without_a_training_has_no_line():
    history = MiningHistory()
    history.record("added", [[1, 0, 0, 5]])
    page = Cells(history._repr_html_())
    assert page.lines == [] and [row[-1] for row in page.rows[1:]] == ["not trained", "not trained"]
    assert "<polyline" in sparkline([0, 0], EVIL) and EVIL not in sparkline([], EVIL)


def test_a_long_table_says_how_many_more():
    text = html_table("many", ["n"], [[number] for number in range(100)], "numbers")
    assert len(Cells(text).rows) == 41 and "and 60 more numbers" in text
