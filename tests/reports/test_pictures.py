"""Pictures of detections: what is drawn where, and which images are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.errors import InputError
from rcnn_svm.reports.picture_names import picture_names
from rcnn_svm.reports.pictures import (
    class_colour,
    contact_sheet,
    crop_with_context,
    draw_detections,
    evenly_spaced,
    save_detection_pictures,
)

CLASSES = ("cat", "dog")
GREY = np.full((600, 800, 3), 128, np.uint8)


def found(*rows):
    """Detections from (class, box, score)."""
    return ImageDetections(
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.float32),
    )


def objects(*rows, size=(600, 800)):
    """Ground truth from (class, box, difficult)."""
    return Annotation(
        size,
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[0] for row in rows], np.int64),
        np.array([row[2] for row in rows], bool),
        np.zeros(len(rows), bool),
    )


def test_box_lies_on_its_pixels_in_its_colour():
    picture = np.array(draw_detections(GREY, found((1, [100, 200, 299, 399], 1.5)), CLASSES))
    coloured = (picture == class_colour(1)).all(axis=2)
    assert coloured[200:400, 100].all()
    assert coloured[200:400, 299].all()
    assert coloured[399, 100:300].all()
    inside = picture[210:390, 110:290]
    assert (inside == 128).all()
    np.testing.assert_array_equal(picture[500:], GREY[500:])


def test_nothing_found_leaves_the_image():
    np.testing.assert_array_equal(np.array(draw_detections(GREY, found(), CLASSES)), GREY)


def test_label_is_written_above_the_box():
    with_label = np.array(draw_detections(GREY, found((0, [100, 200, 299, 399], 1.5)), CLASSES))
    assert (with_label[185:198, 102:140] == class_colour(0)).all(axis=2).mean() > 0.4
    other_score = np.array(draw_detections(GREY, found((0, [100, 200, 299, 399], 7.5)), CLASSES))
    assert (with_label[180:200] != other_score[180:200]).any()
    np.testing.assert_array_equal(with_label[201:], other_score[201:])


@given(st.integers(0, 39), st.integers(0, 39), st.integers(0, 60), st.integers(0, 60))
def test_any_box_can_be_drawn(x, y, width, height):
    image = np.zeros((40, 40, 3), np.uint8)
    box = [x, y, x + width, y + height]
    picture = draw_detections(image, found((0, box, 0.1)), CLASSES, objects((1, box, True), size=(40, 40)))
    assert picture.size == (480, 480)


def test_ground_truth_is_dashed():
    box = [100, 200, 299, 399]
    edge = np.array(draw_detections(GREY, found(), CLASSES, objects((1, box, False))))[200, 120:280]
    coloured = (edge == class_colour(1)).all(axis=1)
    white = (edge == 255).all(axis=1)
    assert coloured.sum() > 50
    assert white.sum() > 50
    assert (coloured | white).all()


def test_difficult_objects_are_labelled_differently():
    box = [100, 200, 299, 399]
    plain, difficult = (
        np.array(draw_detections(GREY, found(), CLASSES, objects((1, box, flag)))) for flag in (False, True)
    )
    assert (plain != difficult).any()


def test_colours_of_twenty_classes_differ():
    colours = np.array([class_colour(index) for index in range(20)], float)
    distance = np.abs(colours[:, None] - colours[None]).sum(axis=2)
    assert distance[~np.eye(20, dtype=bool)].min() > 40


def test_contact_sheet_holds_every_picture():
    pictures = [Image.new("RGB", (300, 200 + 50 * n), class_colour(n)) for n in range(5)]
    sheet = np.array(contact_sheet(pictures, list("abcde"), "note", columns=2))
    for n in range(5):
        assert (sheet == class_colour(n)).all(axis=2).sum() > 10_000


@given(st.integers(1, 50), st.integers(1, 200))
def test_evenly_spaced_is_different_indices_with_even_gaps(count, total):
    indices = evenly_spaced(count, total)
    assert len(indices) == min(count, total)
    assert all(0 <= index < total for index in indices)
    gaps = np.diff(indices)
    assert (gaps >= 1).all()
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@pytest.fixture
def database(tmp_path):
    for number in range(5):
        Image.fromarray(np.full((60, 80, 3), 40 * number, np.uint8)).save(tmp_path / f"{number}.png")
    return ImageDatabase(
        "toy",
        CLASSES,
        tuple("01234"),
        lambda image_id: Path(tmp_path / f"{image_id}.png"),
        lambda image_id: objects((0, [10, 10, 50, 50], False), size=(60, 80)),
    )


def test_pictures_and_contact_sheet_are_written(tmp_path, database):
    detections = Detections(
        tuple("43210"),
        ("dog", "cat"),
        np.array([0, 1]),
        np.array([0, 1]),
        np.array([[10, 10, 50, 50], [10, 10, 50, 50]]),
        np.array([0.5, -0.5]),
    )
    paths = save_detection_pictures(database, detections, tmp_path / "out", count=2, score_thresh=-1)
    assert [path.name for path in paths] == ["1.jpg", "3.jpg", "contact_sheet.jpg"]
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
    hidden = save_detection_pictures(database, detections, tmp_path / "none", count=2, score_thresh=0)
    assert paths[1].read_bytes() != hidden[1].read_bytes()
    assert paths[0].read_bytes() == hidden[0].read_bytes()


def test_pictures_of_one_name_are_numbered():
    assert picture_names(["a", "A", "a-2", "b/c"]) == ["a.jpg", "A-2.jpg", "a-2-2.jpg", "b%2Fc.jpg"]
    assert picture_names(["Contact_Sheet"], taken=["contact_sheet"]) == ["Contact_Sheet-2.jpg"]


def test_an_image_called_contact_sheet_has_a_picture_of_its_own(tmp_path):
    Image.fromarray(np.full((60, 80, 3), 40, np.uint8)).save(tmp_path / "contact_sheet.png")
    database = ImageDatabase(
        "toy",
        CLASSES,
        ("contact_sheet",),
        lambda image_id: tmp_path / f"{image_id}.png",
        lambda _: objects(size=(60, 80)),
    )
    empty = np.empty(0)
    detections = Detections(database.image_ids, CLASSES, empty, empty, np.empty((0, 4)), empty)
    paths = save_detection_pictures(database, detections, tmp_path / "out")
    assert [path.name for path in paths] == ["contact_sheet-2.jpg", "contact_sheet.jpg"]
    assert Image.open(paths[0]).size == (480, 360)


def test_detections_of_other_images_are_refused(tmp_path, database):
    empty = np.empty(0)
    detections = Detections(("0", "1"), CLASSES, empty, empty, np.empty((0, 4)), empty)
    with pytest.raises(InputError, match="image 2 of toy was not tested"):
        save_detection_pictures(database, detections, tmp_path / "out")


@pytest.mark.parametrize("box", [[0, 0, 799, 599], [5, 5, 5, 5], [799, 0, 799, 599], [0, 599, 799, 599]])
def test_a_crop_of_any_box_has_the_size_asked_for_and_stays_within_the_image(box):
    picture = crop_with_context(GREY, np.array(box), side=100)
    assert max(picture.size) == 100 and min(picture.size) >= 1
    assert (np.array(picture) != 128).any()  # the outline
