"""Files of other tools: VOC results text there and back, COCO results."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.data.database import CocoIds
from rcnn_svm.data.mended import Notes
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.formats import coco_image_ids, read_comp4, write_coco_results, write_comp4

IDS = ("000005", "000012")
CLASSES = ("cat", "dog")


def toy(count=40, whole_pixels=False):
    random = np.random.default_rng(3)
    corner = random.uniform(0, 300, (count, 2))
    box = np.hstack([corner, corner + random.uniform(0, 200, (count, 2))])
    return Detections(
        image_ids=IDS,
        classes=CLASSES,
        image=random.integers(0, 2, count),
        cls=random.integers(0, 2, count),
        box=box.round() if whole_pixels else box,
        score=random.normal(size=count),
    )


def test_comp4_lines_are_the_original_s_for_whole_pixels(tmp_path):
    detections = Detections(IDS, CLASSES, np.array([1]), np.array([0]), np.array([[0, 9, 99, 499]]), np.array([-0.25]))
    cat, dog = write_comp4(detections, tmp_path, "test")
    assert cat.name == "comp4_det_test_cat.txt"
    assert cat.read_text() == "000012 -0.250000 1 10 100 500\n"
    assert dog.read_text() == ""


@pytest.mark.parametrize("whole_pixels", [True, False])
def test_comp4_there_and_back(tmp_path, whole_pixels):
    detections = toy(whole_pixels=whole_pixels)
    write_comp4(detections, tmp_path / "results", "test")
    found = read_comp4(tmp_path / "results", CLASSES, IDS)
    np.testing.assert_array_equal(found.image, detections.image)
    np.testing.assert_array_equal(found.cls, detections.cls)
    np.testing.assert_allclose(found.score, detections.score, atol=6e-7)
    np.testing.assert_allclose(found.box, detections.box, atol=0 if whole_pixels else 1e-3)


def test_comp4_of_names_that_mean_something_to_a_search(tmp_path):
    detections = Detections(IDS, ("cat [old]", "*"), np.array([1]), np.array([1]), np.array([[0, 9, 99, 499]]), [0.5])
    write_comp4(detections, tmp_path, "test")
    assert read_comp4(tmp_path, ["cat [old]"], IDS).cls.tolist() == []


def test_comp4_by_pattern(tmp_path):
    for name in CLASSES:
        (tmp_path / f"mine_{name}.txt").write_text("000012 0.5 1 1 10 20\n\n000005 0.25 2 2 3 3\n")
    found = read_comp4(tmp_path / "mine_%s.txt", CLASSES, IDS)
    assert found.image.tolist() == [1, 0, 1, 0]
    assert found.box[0].tolist() == [0, 0, 9, 19]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("000012 0.5 1 1 10", r"line 2: 5 fields instead of 6; expected `image score x1 y1 x2 y2`"),
        ("000012 0.5 1 1 ten 20", r"line 2: could not convert string to float: 'ten'"),
        ("000012 nan 1 1 10 20", r"line 2: a number is not finite"),
        ("000012 0.5 10 1 9 20", r"line 2: the box ends before it begins"),
        ("000013 0.5 1 1 10 20", r"line 2: image 000013 is not among the 2 images"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    (tmp_path / "comp4_det_test_cat.txt").write_text(f"000005 0.5 1 1 10 20\n{line}\n")
    with pytest.raises(InputError, match=r"comp4_det_test_cat\.txt, " + message):
        read_comp4(tmp_path, ("cat",), IDS)


def test_missing_and_ambiguous_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no results file for class 'cat'"):
        read_comp4(tmp_path, ("cat",), IDS)
    for split in ("val", "test"):
        (tmp_path / f"comp4_det_{split}_cat.txt").write_text("")
    with pytest.raises(InputError, match=r"several results files \(comp4_det_test_cat\.txt, comp4_det_val_cat\.txt"):
        read_comp4(tmp_path, ("cat",), IDS)
    with pytest.raises(InputError, match="neither a folder"):
        read_comp4(tmp_path / "nowhere", ("cat",), IDS)
    with pytest.raises(InputError, match="cannot read the results of class 'cat'"):
        read_comp4(tmp_path / "x_%s.txt", ("cat",), IDS)


def test_a_class_without_file_has_no_detections_and_other_images_are_left_out(tmp_path):
    """Tools write no file for a class of which they found nothing, and detect in images that nobody labelled."""
    (tmp_path / "comp4_det_test_cat.txt").write_text("000005 0.5 1 1 10 20\nzz 0.5 1 1 10 20\nzy 0.5 1 1 10 20\n")
    notes = Notes()
    found = read_comp4(tmp_path, CLASSES, IDS, notes)
    assert (found.image.tolist(), found.cls.tolist(), found.box.tolist()) == ([0], [0], [[0, 0, 9, 19]])
    missing, others = notes.lines()
    assert missing.startswith("classes taken to have no detections") and "no results file for class 'dog'" in missing
    assert "images are not evaluated: 2" in others and "cat.txt, line 2: image zz" in others


def test_results_of_nothing_that_is_evaluated_are_refused(tmp_path):
    """A wrong folder, or ids of another spelling, would be an AP of 0 without a word."""
    with pytest.raises(InputError, match="no results file for class 'cat'"):
        read_comp4(tmp_path, CLASSES, IDS, Notes())
    (tmp_path / "comp4_det_test_cat.txt").write_text("5 0.5 1 1 10 20\n12 0.5 1 1 10 20\n")
    with pytest.raises(InputError, match="image 5 is not among the 2 images to evaluate; nor is that of any other"):
        read_comp4(tmp_path, CLASSES, IDS, Notes())


def test_a_class_name_leads_to_no_other_folder_and_is_not_too_long(tmp_path):
    classes = ("../../dog", "a%2Fb", "a/b", "x" * 250, "x" * 251)
    detections = Detections(IDS, classes, np.arange(5) % 2, np.arange(5), np.tile([0, 9, 99, 499], (5, 1)), np.ones(5))
    paths = write_comp4(detections, tmp_path / "results", "test")
    assert sorted(paths) == sorted((tmp_path / "results").iterdir()) and len(set(paths)) == 5
    assert paths[2].name == "comp4_det_test_a%2Fb.txt"
    for source in (tmp_path / "results", tmp_path / "results/comp4_det_test_%s.txt"):
        np.testing.assert_array_equal(read_comp4(source, classes, IDS).cls, np.arange(5))


def test_coco_results(tmp_path):
    detections = toy()
    write_coco_results(detections, tmp_path / "coco.json")
    entries = json.loads((tmp_path / "coco.json").read_text())
    assert len(entries) == len(detections)
    for row, entry in enumerate(entries):
        assert set(entry) == {"image_id", "category_id", "bbox", "score"}
        assert entry["image_id"] == int(IDS[detections.image[row]])
        assert entry["category_id"] == detections.cls[row] + 1
        x1, y1, x2, y2 = detections.box[row].tolist()
        np.testing.assert_allclose(entry["bbox"], [x1, y1, x2 - x1 + 1, y2 - y1 + 1], atol=6e-4)
        assert entry["score"] == pytest.approx(float(detections.score[row]), abs=6e-7)


def test_coco_results_have_the_numbers_of_the_coco_file(tmp_path):
    detections = toy()
    coco_ids = CocoIds({"000012": 7, "other": 5, "000005": 900}, {"dog": 4, "cow": 31})
    write_coco_results(detections, tmp_path / "coco.json", coco_ids)
    entries = json.loads((tmp_path / "coco.json").read_text())
    assert [entry["image_id"] for entry in entries] == [(900, 7)[image] for image in detections.image]
    # The file has no cats, and 31 is a cow.
    assert [entry["category_id"] for entry in entries] == [(32, 4)[cls] for cls in detections.cls]
    write_coco_results(detections, tmp_path / "coco.json", CocoIds(coco_ids.images, {}))
    assert {entry["category_id"] for entry in json.loads((tmp_path / "coco.json").read_text())} == {1, 2}


def test_coco_results_of_images_without_number(tmp_path):
    with pytest.raises(InputError, match="image 000012 of the detections is not among the 1 images"):
        write_coco_results(toy(), tmp_path / "coco.json", CocoIds({"000005": 1}, {"cat": 1, "dog": 2}))
    assert not list(tmp_path.iterdir())


def test_coco_results_of_nothing(tmp_path):
    write_coco_results(toy(count=0), tmp_path / "coco.json")
    assert json.loads((tmp_path / "coco.json").read_text()) == []


@given(st.lists(st.text("0123456789_a²", min_size=1, max_size=4), min_size=1, unique=True))
@settings(max_examples=50, deadline=None)
def test_coco_image_ids_are_different_numbers(image_ids):
    numbers = coco_image_ids(image_ids)
    assert all(isinstance(number, int) for number in numbers)
    assert len(set(numbers)) == len(image_ids)


def test_coco_image_ids_keep_numbers_where_they_can():
    assert coco_image_ids(["000005", "12"]) == [5, 12]
    assert coco_image_ids(["2008_000001", "2008_000002"]) == [0, 1]
    assert coco_image_ids(["5", "05"]) == [0, 1]


def test_class_names_and_splits_lead_to_no_other_folder(tmp_path):
    """`../x` wrote beside the folder of the report, and a name of 250 characters stopped it."""
    names = ("../../x", "a/b", "..", "y" * 250)
    detections = Detections(
        image_ids=("000005",),
        classes=names,
        image=np.zeros(4, np.int32),
        cls=np.arange(4, dtype=np.int32),
        box=np.tile(np.float32([0, 0, 9, 9]), (4, 1)),
        score=np.float32([4, 3, 2, 1]),
        settings={},
    )
    paths = write_comp4(detections, tmp_path / "out/comp4", "../../test")
    assert [path.parent for path in tmp_path.rglob("*.txt")] == [tmp_path / "out/comp4"] * 4
    assert len(set(paths)) == 4
    assert read_comp4(tmp_path / "out/comp4", names, ("000005",)).cls.tolist() == [0, 1, 2, 3]
