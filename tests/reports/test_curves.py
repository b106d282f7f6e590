"""The precision-recall figure: one plot per class, also for classes without objects or detections."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from PIL import Image

from rcnn_svm.evaluation.voc import PrecisionRecall, VocResult
from rcnn_svm.reports.curves import precision_recall_figure, save_precision_recall


def toy_result(num_classes=7):
    nan, empty = float("nan"), np.empty(0)
    curve = (np.array([2.0, 1.0]), np.array([0.25, 0.5]), np.array([1.0, 0.5]))
    entries = [PrecisionRecall(f"class{number}", 4, 0, *curve, 0.3, 0.375) for number in range(num_classes - 2)]
    entries.append(PrecisionRecall("unseen", 0, 0, empty, empty, empty, nan, nan))
    entries.append(PrecisionRecall("undetected", 3, 0, empty, empty, empty, 0.0, 0.0))
    return VocResult("toy", 9, 0.5, 0.3, tuple(entries))


def test_every_class_has_its_plot():
    figure = precision_recall_figure(toy_result())
    titles = [axis.get_title() for axis in figure.axes if axis.axison]
    assert titles == [*(f"class{n}  30.0 | 37.5" for n in range(5)), "unseen: no objects", "undetected  0.0 | 0.0"]
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), [[0.25, 1.0], [0.5, 0.5]])


def test_shaded_area_is_the_ap():
    (shade,) = precision_recall_figure(toy_result()).axes[0].collections
    x, y = shade.get_paths()[0].vertices.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area == 0.375


def test_file_is_a_picture(tmp_path):
    save_precision_recall(toy_result(), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


def test_a_name_with_dollars_is_no_formula(tmp_path):
    curve = (np.array([2.0]), np.array([0.5]), np.array([1.0]))
    entries = (PrecisionRecall("$a_{$", 4, 0, *curve, 0.3, 0.375), PrecisionRecall("$b^^$", 0, 0, *curve, 0.0, 0.0))
    save_precision_recall(VocResult("5$ or 6$^^", 9, 0.5, 0.3, entries), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


def test_latex_is_not_run_for_names(tmp_path, monkeypatch):
    """A `matplotlibrc` of the working folder may ask for it; where it cannot be started, matplotlib raises."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    with pytest.raises(RuntimeError, match="latex could not be found"):
        precision_recall_figure(toy_result()).savefig(tmp_path / "careless.png")
    save_precision_recall(toy_result(), tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").format == "PNG"
