"""A class without ground truth, and images that cannot be read, are told before anything is computed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from rcnn_svm.data.checks import require_ground_truth, require_usable, without_bad_images
from rcnn_svm.data.csv_boxes import load_csv
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.mended import Notes
from rcnn_svm.errors import InputError


def database_of(classes, *labels_per_image, difficult=False) -> ImageDatabase:
    def read(image_id):
        labels = np.array(labels_per_image[int(image_id)], np.int64)
        boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (len(labels), 1))
        return Annotation((10, 10), boxes, labels, np.full(len(labels), difficult), np.zeros(len(labels), bool))

    return ImageDatabase("toy_train", classes, [str(i) for i in range(len(labels_per_image))], Path, read)


def test_names_the_class_and_what_there_is():
    with pytest.raises(InputError) as caught:
        require_ground_truth(database_of(["bicycle", "chair", "person"], [1, 2], [2], []))
    assert str(caught.value) == (
        "class 'bicycle' has no ground truth in toy_train: none of the annotations of 3 images names it; "
        "they name person (2), chair (1); pass --classes with the ones you want"
    )


def test_silent_when_every_class_has_an_object():
    require_ground_truth(database_of(["dog", "cat"], [0], [], [1, 1]))


def test_difficult_objects_count():
    require_ground_truth(database_of(["dog"], [0], difficult=True))


def test_names_all_empty_classes():
    with pytest.raises(InputError, match=r"classes 'a', 'b' have no ground truth .* they name nothing"):
        require_ground_truth(database_of(["a", "b"], [], []))


def test_says_that_objects_were_left_out_where_they_were():
    database = database_of(["dog", "cat"], [0], [])
    counted = ImageDatabase(
        "toy_train",
        database.classes,
        database.image_ids,
        Path,
        lambda image_id: database.annotation(int(image_id)),
        lambda image_ids: ("4 rows of a.csv", Counter(dog=1, cat=3)),
    )
    with pytest.raises(InputError, match=r"train: all 3 objects called 'cat' were left out, as notes say; they"):
        require_ground_truth(counted)


@pytest.fixture
def photos(tmp_path) -> ImageDatabase:
    """Eight images of 8 x 6 pixels with an object each."""
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).save(tmp_path / f"{number}.jpg")
    rows = [f"{number}.jpg,1,1,4,4,dog" for number in range(8)]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,x1,y1,x2,y2,class", *rows]))
    return load_csv(tmp_path / "boxes.csv", tmp_path)


def test_headers_find_all_but_damage_that_decoding_finds(tmp_path, photos):
    (tmp_path / "0.jpg").unlink()
    (tmp_path / "1.jpg").write_bytes(b"")
    (tmp_path / "2.jpg").write_text("<html></html>")
    whole = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(whole[:-40])
    for read, number in (("headers", 3), ("pixels", 4)):
        with pytest.raises(InputError) as caught:
            require_usable([photos], read, switch="--leave-out")
        first, *lines = str(caught.value).splitlines()
        assert first == f"{number} of 8 images cannot be used; correct them, or leave them out with --leave-out:"
        assert len(lines) == number and "0.jpg does not exist" in lines[0]
    (tmp_path / "3.jpg").write_bytes(whole)
    for number in (1, 2):
        (tmp_path / f"{number}.jpg").write_bytes(whole)
    with pytest.raises(InputError, match=r"^image file .*0\.jpg does not exist.*file$"):
        require_usable([photos])


def test_bad_images_are_left_out_with_one_note(tmp_path, photos):
    (tmp_path / "0.jpg").unlink()
    Image.new("RGB", (80, 60)).save(tmp_path / "1.jpg")
    assert photos.annotation(1).image_size == (60, 80)  # CSV has no sizes of its own
    (tmp_path / "2.jpg").write_bytes(b"")
    kept = without_bad_images(photos, notes := Notes())
    assert (kept.name, kept.image_ids) == ("boxes", ("1", *"34567"))
    assert notes.lines() == [
        "images left out of 8, because they cannot be used: 2, the first is image file "
        f"{tmp_path / '0.jpg'} does not exist; correct the path or restore the file"
    ]
    for path in tmp_path.glob("*.jpg"):
        path.unlink()
    with pytest.raises(InputError, match=r"^8 images are all that boxes has, and none can be used:"):
        without_bad_images(photos, Notes())


def test_images_whose_boxes_may_be_of_either_reading_are_noted(tmp_path, photos):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3  # upside down: the size does not tell
    Image.new("RGB", (8, 6)).save(tmp_path / "4.jpg", exif=exif)
    (line,) = require_usable([photos], "headers").lines()
    assert "taken for labelled upright (if not, read them with --ignore-exif): 1" in line and "4.jpg" in line
    stored = load_csv(tmp_path / "boxes.csv", tmp_path, ignore_exif=True)
    assert not require_usable([stored], "headers").lines()
