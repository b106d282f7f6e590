"""The tables say what the results say."""

from __future__ import annotations

import csv
import io

from rcnn_svm.experiments.reproduce.published import published_figures
from rcnn_svm.experiments.reproduce.table import summary_text, table_csv, table_markdown, times_csv

CLASSES = list(published_figures()["AlexNet fc7"].classes)


def result(title, ap, **changes):
    return {
        "row": title.replace(" ", "-"),
        "title": title,
        "map_voc07": ap,
        "map_area": ap / 2,
        "classes": {name: ap + 0.001 * index for index, name in enumerate(CLASSES)},
        "seconds": {"propose": 7200.0, "extract": 90.0, "train": 5.0},
        "deviations": ["other boxes"],
        "note": "",
        **changes,
    }


RESULTS = [
    result("AlexNet fc7", 0.4, deviations=["other boxes", "fewer images"]),
    {"row": "vgg", "title": "VGG16 fine-tuned fc7", "error": "cannot download the weights"},
    result("mine", 0.1, note="to compare with AlexNet fc7", map_area=None),
]


def cells(markdown, first):
    """Return the cells of all table lines that begin so."""
    lines = [line for line in markdown.splitlines() if line.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_markdown():
    text = table_markdown(RESULTS, published_figures(), "About 3 images.")
    summary, ours, theirs = cells(text, "AlexNet fc7")
    assert summary[1:5] == ["40.0", "44.7", "-4.7", "20.0"]
    header = cells(text, "row")
    assert header[1][2:-1] == CLASSES
    assert ours[1] == "ours" and ours[2:4] == ["40.0", "40.1"] and ours[-1] == "40.0"
    assert theirs[1:4] == ["published", "57.6", "57.9"] and theirs[-1] == "44.7"
    (summary, ours) = cells(text, "mine")
    assert summary[1:5] == ["10.0", "", "", "-"]
    assert "not run: cannot download the weights" in text and "About 3 images." in text
    assert "- all rows: other boxes" in text and "**AlexNet fc7**: fewer images" in text
    assert "**mine**: to compare with AlexNet fc7" in text


def test_csv():
    lines = list(csv.DictReader(io.StringIO(table_csv(RESULTS, published_figures()))))
    assert [(line["row"], line["source"]) for line in lines] == [
        *(("AlexNet-fc7", "ours"), ("AlexNet-fc7", "published"), ("vgg", "ours"), ("vgg", "published")),
        ("mine", "ours"),
    ]
    assert (lines[0]["mAP"], lines[0]["bicycle"]) == ("40.0000", "40.1000")
    assert (lines[1]["mAP"], lines[1]["aeroplane"], lines[1]["mAP_area"]) == ("44.7", "57.6", "")
    assert lines[2]["error"] == "cannot download the weights" and lines[2]["mAP"] == ""
    assert lines[3]["mAP"] == "62.2"


def test_tables_are_the_same_in_a_slower_run_and_times_have_their_own_file():
    slower = [
        {**made, "seconds": {stage: 2 * value for stage, value in made.get("seconds", {}).items()}} for made in RESULTS
    ]
    published = published_figures()
    assert table_csv(slower, published) == table_csv(RESULTS, published)
    assert table_markdown(slower, published, "") == table_markdown(RESULTS, published, "")
    lines = list(csv.DictReader(io.StringIO(times_csv(RESULTS))))
    assert [line["row"] for line in lines] == ["AlexNet-fc7", "mine"]
    assert (lines[0]["propose_s"], lines[0]["extract_s"], lines[0]["finetune_s"]) == ("7200.0", "90.0", "")


def test_summary():
    text = summary_text(RESULTS, published_figures())
    assert "vgg: not run: cannot download the weights" in text
    assert text.splitlines()[2].split() == ["AlexNet", "fc7", "40.0", "44.7", "-4.7", "20.0"]
    assert summary_text(RESULTS[1:2], {}) == "vgg: not run: cannot download the weights"
