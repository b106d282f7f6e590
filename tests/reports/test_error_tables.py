"""What a detector gets wrong, as tables, CSV and lines: the figures are those of the analysis."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from rcnn_svm.evaluation.at_threshold import errors_at
from rcnn_svm.evaluation.tide import error_costs
from rcnn_svm.reports.error_tables import (
    COST_HEADER,
    WORK_HEADER,
    confusion_csv,
    cost_table,
    error_lines,
    errors_csv,
    work_table,
)
from tests.evaluation.test_errors import CAT, DOG, OBJECT, SOFA, analysed, beside


@pytest.fixture(scope="module")
def analysis():
    """A cat that is found, a dog that is not, a box on the background and one on each without objects."""
    images = [[(CAT, OBJECT), (DOG, [50, 50, 59, 59])], []]
    found = [(0, CAT, beside(1), 3.0), (0, SOFA, beside(1), 2.0), (1, CAT, OBJECT, 2.5), (1, DOG, OBJECT, 1.0)]
    errors = analysed(images, found)
    return error_costs(errors), errors_at(errors, np.array([0.5, 2.0, 0.5]))


def test_tables_have_a_line_per_class(analysis):
    costs, at = analysis
    table = cost_table(costs)
    cat, dog, sofa = (dict(zip(COST_HEADER, row, strict=True)) for row in table.rows)
    assert (cat["AP area"], cat["Bkg"], dog["AP area"], dog["Missed"], sofa["Cls"]) == (
        "100.0",
        "0.0",
        "0.0",
        "0.0",
        "-",
    )
    assert table.footer[:2] == ["mean", "50.0"]
    work = work_table(at)
    cat, dog, sofa = (dict(zip(WORK_HEADER, row, strict=True)) for row in work.rows)
    assert (cat["precision"], cat["recall"], cat["background"]) == ("50.0", "100.0", "1")
    assert (cat["an image"], cat["without the class"], cat["without objects"]) == ("0.50", "1.00", "1.00")
    assert (dog["precision"], dog["recall"], dog["F1"]) == ("-", "0.0", "0.0")
    assert (sofa["other class"], sofa["recall"]) == ("1", "-")
    assert work.footer == ["all", "", "50.0", "50.0", "33.3", "0", "0", "1", "1", "1.00", "", "1.00"]
    for text in (table.text(), work.markdown()):
        assert text.splitlines()[0].split()


def test_csv_has_all_figures_in_full(analysis):
    costs, at = analysis
    cat, dog, sofa = csv.DictReader(io.StringIO(errors_csv(costs, at)))
    assert (cat["class"], float(cat["f1"]), cat["tide_bkg"], cat["hoiem_background"]) == ("cat", 2 / 3, "1", "1")
    assert (dog["missed"], dog["wrong"], dog["precision"]) == ("1", "0", "")
    assert (sofa["ap_area"], sofa["tide_cls"], sofa["hoiem_other_class"], sofa["f1"]) == ("", "1", "1", "")
    rows = list(csv.reader(io.StringIO(confusion_csv(at))))
    assert rows == [
        ["object", "cat", "dog", "sofa", "missed"],
        ["cat", "1", "0", "1", "0"],
        ["dog", "0", "0", "0", "1"],
        ["sofa", "0", "0", "0", "0"],
        ["no object", "1", "0", "0", "0"],
    ]


def test_lines_name_what_costs_most_first_and_fit_a_terminal(analysis):
    lines = error_lines(*analysis).splitlines()
    assert lines == [
        "mAP lost (TIDE): Cls 0.0, Loc 0.0, Both 0.0, Dupe 0.0, Bkg 0.0, Missed 0.0.",
        "At the best F1: precision 50.0, recall 50.0, 1.00 false positives an image.",
        "Of these 0 % localisation, 0 % similar class, 50 % other class, 50 % background.",
        "On images without objects (1 of 2): 1.00 an image.",
    ]
    images = [[(CAT, OBJECT), (CAT, [50, 50, 59, 59])]]
    missed = analysed(images, [(0, CAT, [80, 80, 89, 89], 2.0), (0, CAT, OBJECT, 1.0), (0, DOG, OBJECT, 1.0)])
    lines = error_lines(error_costs(missed), errors_at(missed, 1.5)).splitlines()
    assert lines[0] == "mAP lost (TIDE): Bkg 25.0, Missed 25.0, Cls 0.0, Loc 0.0, Both 0.0, Dupe 0.0."
    nothing = errors_at(missed, 9.0)
    assert error_lines(error_costs(missed), nothing).splitlines()[1:] == [
        "At the best F1: precision -, recall 0.0, 0.00 false positives an image."
    ]
