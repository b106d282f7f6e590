"""An evaluation by VOC as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from rcnn_svm.evaluation.voc import PrecisionRecall, VocResult
from rcnn_svm.reports.voc_tables import voc_csv, voc_json, voc_table


@pytest.fixture
def result():
    nan = float("nan")
    curve = (np.array([2.0, 1.0]), np.array([0.25, 0.5]), np.array([1.0, 1.0]))
    none = (np.array([0.5]), np.array([nan]), np.array([0.0]))
    return VocResult(
        "toy_test",
        7,
        0.5,
        0.3,
        (
            PrecisionRecall("cat", 4, 1, *curve, ap11=6 / 11, ap_area=0.5),
            PrecisionRecall("hippopotamus", 0, 2, *none, ap11=nan, ap_area=nan),
        ),
    )


def test_text_says_what_is_left_out_of_the_mean(result):
    text = voc_table(result).text()
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line[:1].isalpha()}
    assert rows["cat"] == ["4", "1", "2", "50.0", "54.5", "50.0"]
    assert rows["hippopotamus"] == ["0", "2", "1", "-", "-", "-"]
    assert rows["mean"] == ["4", "3", "3", "54.5", "50.0"]
    filled = " ".join(text.split())
    assert "No object of hippopotamus: no AP there, the mean is over the other 1 of 2 classes." in filled
    assert "7 images, a hit at IoU >= 0.5, non-maximum suppression at IoU > 0.3." in filled


def test_markdown_has_the_same_cells(result):
    lines = voc_table(result).markdown().splitlines()
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert "| cat | 4 | 1 | 2 | 50.0 | 54.5 | 50.0 |" in lines


def test_csv_has_full_precision_and_empty_cells(result):
    cat, hippo = csv.DictReader(io.StringIO(voc_csv(result)))
    assert float(cat["ap_voc07"]) == 6 / 11
    assert (hippo["ap_voc07"], hippo["ap_area"], hippo["max_recall"]) == ("", "", "")


def test_json_is_strict(result):
    content = json.loads(voc_json(result, {"detections": "d.h5"}), parse_constant=pytest.fail)
    assert content["map_voc07"] == 6 / 11
    assert content["map_area"] == 0.5
    assert [entry["ap_area"] for entry in content["classes"]] == [0.5, None]
    assert content["made_from"] == {"detections": "d.h5"}
