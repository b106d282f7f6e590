"""Data sets in YOLO's format, in the shapes that tools export: what is read, and what is refused with its line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rcnn_svm.data import load_csv, load_yolo, require_annotations, yolo_splits
from rcnn_svm.data.image_folder import unused_images
from rcnn_svm.errors import InputError

WIDTH, HEIGHT = 40, 20
# Columns 10 to 29 and rows 5 to 14, counted from 0.
MIDDLE = "0.5 0.5 0.5 0.5"
MIDDLE_BOX = [10, 5, 29, 14]


def write(root: Path, files: dict[str, str | None]) -> Path:
    """Write text files, and an image where the text is None."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new("RGB", (WIDTH, HEIGHT)).save(path)
        else:
            path.write_text(text, encoding="utf-8")
    return root


def labelled(*lines: str, names: str = "cat\ndog\n") -> dict[str, str | None]:
    """One image with these lines and two class names."""
    return {"classes.txt": names, "a.jpg": None, "a.txt": "\n".join(lines)}


def boxes_of(database) -> dict[str, list]:
    """Class name and box of all objects, by image."""
    found = {}
    for index, image_id in enumerate(database.image_ids):
        truth = database.annotation(index)
        assert truth.boxes.dtype == np.float32 and truth.classes.dtype == np.int64
        assert truth.image_size == (HEIGHT, WIDTH) and not truth.difficult.any() and not truth.truncated.any()
        names = [database.classes[k] for k in truth.classes]
        found[image_id] = [(name, *np.round(box, 2).tolist()) for name, box in zip(names, truth.boxes, strict=True)]
    return found


ULTRALYTICS = {
    "data.yaml": "path: ../datasets/pets  # of another machine\ntrain: images/train\nval: images/val\ntest:\n"
    "names:\n  0: cat\n  1: dog\n",
    "images/train/1.jpg": None,
    "images/train/2.jpg": None,
    "images/val/3.png": None,
    "labels/train/1.txt": f"1 {MIDDLE}\n",
    "labels/train/2.txt": "",
    "labels/val/3.txt": f"0 {MIDDLE}\n",
}
ROBOFLOW = {
    "README.roboflow.txt": "pets - v1",
    "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['cat', 'dog']\n"
    "\nroboflow:\n  workspace: me\n  version: 1\n",
    "train/images/a_jpg.rf.0f.jpg": None,
    "train/labels/a_jpg.rf.0f.txt": f"1 {MIDDLE}\n",
    "valid/images/b_jpg.rf.1f.jpg": None,
    "valid/labels/b_jpg.rf.1f.txt": f"0 {MIDDLE}\n",
    "test/images/c_jpg.rf.2f.jpg": None,
    "test/labels/c_jpg.rf.2f.txt": "",
}


def test_a_data_set_of_ultralytics(tmp_path):
    folder = write(tmp_path / "pets", ULTRALYTICS)
    expected = {"train/1": [("dog", *MIDDLE_BOX)], "train/2": [], "val/3": [("cat", *MIDDLE_BOX)]}
    for path in (folder, folder / "data.yaml"):
        database = load_yolo(path)
        assert (database.name, database.classes) == ("pets", ("cat", "dog"))
        assert boxes_of(database) == expected and database.notes.lines() == []
        assert database.image_path(2) == folder / "images/val/3.png"
        assert yolo_splits(path) == {"train": ("train/1", "train/2"), "val": ("val/3",)}
    assert load_yolo(folder, ids=["val/3"]).image_ids == ("val/3",)
    assert load_yolo(folder, classes=["dog"]).classes == ("dog",)


def test_an_export_of_roboflow(tmp_path):
    folder = write(tmp_path / "pets", ROBOFLOW)
    train, val, test = "train/a_jpg.rf.0f", "valid/b_jpg.rf.1f", "test/c_jpg.rf.2f"
    assert yolo_splits(folder) == {"train": (train,), "val": (val,), "test": (test,), "trainval": (train, val)}
    of_split = load_yolo(folder, split="val")
    # Classes are those of the whole data set, so that those of all splits are the same.
    assert (of_split.name, of_split.classes, boxes_of(of_split)) == (
        "pets_val",
        ("cat", "dog"),
        {val: [("cat", *MIDDLE_BOX)]},
    )
    with pytest.raises(InputError, match=r"has no split 'dev'; its splits are train, val, test, trainval, and all"):
        load_yolo(folder, split="dev")


@pytest.mark.parametrize(
    ("files", "image_id"),
    [
        pytest.param({"classes.txt": "cat\ndog\n", "a.jpg": None, "a.txt": f"1 {MIDDLE}"}, "a", id="labelImg"),
        pytest.param(
            {
                "classes.txt": "cat\ndog",
                "notes.json": "{}",
                "images/a.jpg": None,
                "labels/a.txt": f"1 {MIDDLE}\n",
            },
            "a",
            id="Label Studio",
        ),
        pytest.param(
            {
                "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
                "obj.names": "cat\ndog\n",
                "train.txt": "data/obj_train_data/a.jpg\n",
                "obj_train_data/a.jpg": None,
                "obj_train_data/a.txt": f"1 {MIDDLE}\r\n",
            },
            "obj_train_data/a",
            id="CVAT, YOLO 1.1",
        ),
        pytest.param(
            {"classes.txt": "cat\ndog", "images/a.jpg": None, "a.txt": f"1 {MIDDLE}"}, "a", id="beside images"
        ),
        pytest.param({"yolo.names": "cat\ndog", "a.JPG": None, "labels/a.txt": f"1.0 {MIDDLE}"}, "a", id="by hand"),
        pytest.param(
            {"data.yaml": "names: [cat, dog]\nnc: 2", "images/x/a.jpg": None, "labels/x/a.txt": f"\ufeff1 {MIDDLE}"},
            "x/a",
            id="names alone",
        ),
    ],
)
def test_a_folder_without_splits(tmp_path, files, image_id):
    database = load_yolo(write(tmp_path, files))
    assert boxes_of(database) == {image_id: [("dog", *MIDDLE_BOX)]} and database.classes == ("dog",)
    assert database.notes.lines() == [] and yolo_splits(tmp_path) == {}


@pytest.mark.parametrize("line", ["./images/1.jpg", "images/1.jpg", "data/pets/images/1.jpg", "/home/me/images/1.jpg"])
def test_lists_of_images(tmp_path, line):
    files = {"images/1.jpg": None, "labels/1.txt": f"0 {MIDDLE}", "images/2.jpg": None, "labels/2.txt": ""}
    files |= {"train.txt": f"{line}\n\n", "val.txt": "./images/2.jpg", "data.yml": "train: [train.txt]\nval: val.txt\n"}
    write(tmp_path, {**files, "classes.txt": "cat"})
    assert yolo_splits(tmp_path) == {"train": ("1",), "val": ("2",)}
    assert boxes_of(load_yolo(tmp_path)) == {"1": [("cat", *MIDDLE_BOX)], "2": []}


def test_images_in_another_folder_than_labels(tmp_path):
    write(tmp_path, {"labels/classes.txt": "cat\ndog", "labels/x/a.txt": f"1 {MIDDLE}", "photos/x/a.jpg": None})
    assert boxes_of(load_yolo(tmp_path / "labels", tmp_path / "photos")) == {"x/a": [("dog", *MIDDLE_BOX)]}


def test_paths_of_another_machine(tmp_path):
    text = "train: /content/pets-1/train/images\nval: C:\\pets\\valid\\images\nnames: [cat, dog]\n"
    folder = write(tmp_path, {**ROBOFLOW, "data.yaml": text})
    assert yolo_splits(folder) == {"train": ("train/a_jpg.rf.0f",), "val": ("valid/b_jpg.rf.1f",)}
    (told,) = load_yolo(folder).notes.lines()
    assert told.startswith("paths of another place, found in the data set's folder: 2, the first is /content/pets-1")


def test_splits_that_are_no_others_are_left_out_with_a_note(tmp_path):
    text = "train: images/train\nval: images/train\ntest: images/test\nnames: [cat, dog]\n"
    folder = write(tmp_path, {**ULTRALYTICS, "data.yaml": text})
    notes = load_yolo(folder).notes.lines()
    assert yolo_splits(folder) == {}
    assert [line.partition(":")[0] for line in notes] == [
        "splits left out, because their files are not there",
        "splits left out, because their images are those of train",
    ]


def test_an_empty_file_is_an_image_without_objects_and_none_is_an_unused_image(tmp_path):
    files = {"images/empty.jpg": None, "images/none.jpg": None, "images/a.jpg": None, "images/sub/none.jpg": None}
    write(tmp_path, {**files, "labels/empty.txt": "\n", "labels/a.txt": f"0 {MIDDLE}", "classes.txt": "cat"})
    write(tmp_path, {"labels/lost.txt": f"0 {MIDDLE}"})
    database = load_yolo(tmp_path)
    assert boxes_of(database) == {"a": [("cat", *MIDDLE_BOX)], "empty": []}
    assert unused_images(database, tmp_path, below=True) == ["images/none.jpg", "images/sub/none.jpg"]
    (told,) = database.notes.lines()
    assert told.startswith("label files not used, because there is no image of their name: 1, the first is")


def test_names_stay_as_they_are_written(tmp_path):
    write(tmp_path, {"data.yaml": "names: [no, 007, 1.0, null]", "a.jpg": None})
    write(tmp_path, {"a.txt": "\n".join(f"{k} {MIDDLE}" for k in range(4))})
    assert load_yolo(tmp_path).classes == ("no", "007", "1.0", "null")


def test_classes_without_names_are_called_by_their_numbers(tmp_path):
    write(tmp_path, {"a.jpg": None, "a.txt": f"11 {MIDDLE}\n2 {MIDDLE}"})
    database = load_yolo(tmp_path)
    assert database.classes == ("2", "11")
    assert "without a list of class names" in database.notes.lines()[0]


def test_numbers_of_one_name_are_joined(tmp_path):
    database = load_yolo(write(tmp_path, labelled(f"0 {MIDDLE}", f"2 {MIDDLE}", names="cat\ndog\ncat")))
    assert database.classes == ("cat",) and len(database.annotation(0).boxes) == 2
    assert database.notes.lines()[0].startswith("class numbers of one name, joined: 1")


@pytest.mark.parametrize(
    "corners",
    [
        "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75",
        "0.5 0.25 0.25 0.5 0.5 0.75 0.75 0.5 0.75 0.5",
        "0.25 0.25 .75 .75 .3 .3",
    ],
)
def test_a_polygon_becomes_the_box_around_it(tmp_path, corners):
    database = load_yolo(write(tmp_path, labelled(f"0 {corners}")))
    assert boxes_of(database) == {"a": [("cat", *MIDDLE_BOX)]}
    (told,) = database.notes.lines()
    assert told.startswith("polygons, read as the upright boxes around them: 1, the first is") and "line 1" in told


def test_key_points_are_no_polygon(tmp_path):
    write(tmp_path, {"data.yaml": "names: [cat]\nkpt_shape: [2, 3]", "a.jpg": None})
    write(tmp_path, {"a.txt": f"0 {MIDDLE} 0.1 0.1 2 0.9 0.9 1"})
    assert boxes_of(load_yolo(tmp_path)) == {"a": [("cat", *MIDDLE_BOX)]}


def test_what_is_wrong_is_said_at_once_with_its_line(tmp_path):
    lines = {
        f"0 {MIDDLE} 0.9": "line 1 has 6 columns, as detections with a score have; expected 5",
        "0 0.5 0.5 1": "line 2 has 4 columns; expected 5",
        "0 20 0.5 0.5 0.5": "line 3: x is '20', expected a share of the image, from 0 to 1",
        "0 0.5 0.5 -0.5 0.5": "line 4: width is '-0.5', expected a share",
        "0 0.5 0.5 0.5 nan": "line 5: height is 'nan', expected a share",
        f"2 {MIDDLE}": "line 6: the class is 2, and .*classes.txt names 2, 0 to 1; name all classes",
        f"cat {MIDDLE}": "line 7: the class is 'cat', expected a number from 0",
        "0 0.1 0.1 0.2 7 0.1 0.2": "line 8: y of corner 2 is '7'",
    }
    with pytest.raises(InputError, match=r"^8 things are wrong") as refused:
        load_yolo(write(tmp_path, labelled(*lines)))
    message = str(refused.value)
    for told in lines.values():
        assert any(re.search(rf"a\.txt, {told}|a\.txt {told}", line) for line in message.splitlines()), told


def test_boxes_that_are_empty_or_reach_outside(tmp_path):
    database = load_yolo(write(tmp_path, labelled("0 0.5 0.5 0 0.5", "0 0.9 0.5 0.5 0.5", f"1 {MIDDLE}")))
    assert boxes_of(database) == {"a": [("cat", 26, 5, 39, 14), ("dog", *MIDDLE_BOX)]}
    assert [line.partition(":")[0] for line in database.notes.lines()] == [
        "objects left out, because their box is empty",
        "boxes cut to their images, because they reach outside",
    ]
    with pytest.raises(InputError, match=r"a\.txt, line 2 \(cat\): box x=0\.9 y=0\.5 .* \(boxes cut to their images"):
        require_annotations(load_yolo(tmp_path), strict=True)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"a.txt": "0 1 1 1 1"}, "holds no image .*--images"),
        (
            {"a.jpg": None, "classes.txt": "cat"},
            r"none of the 1 images of .* has a label file; that of .*a\.jpg is look",
        ),
        ({"data.yaml": "names: [a\n"}, r"data\.yaml, line \d: malformed YAML"),
        ({"data.yaml": "- a"}, "does not describe a data set"),
        ({"data.yaml": "names: {1: a, 2: b}", "a.jpg": None}, "names are numbered 1, 2, expected 0, 1, 2"),
        ({"data.yaml": "names: [[a]]", "a.jpg": None}, "names are no list of class names"),
        ({"data.yaml": "names: cat", "a.jpg": None}, "names are no list of class names"),
        ({"data.yaml": "names: [a, b]\nnc: 3", "a.jpg": None}, "nc is 3 with 2 names"),
        ({"data.yaml": "train: photos\nval: a", "a.jpg": None}, "there is no photos, which train names"),
        ({"data.yaml": "train: {a: b}", "a.jpg": None}, "train is no path or list of paths"),
        ({"data.yaml": "train: a.jpg", "a.jpg": None}, "a.jpg is an image; expected a folder of images"),
        ({"a.yaml": "", "b.yaml": ""}, "holds a.yaml and b.yaml; give the one"),
        ({"a.jpg": None, "a.png": None, "a.txt": ""}, "could both be the image"),
        ({"classes.txt": "cat", "a.jpg": None, "a.txt": ""}, "has no objects, so its classes are unknown"),
    ],
)
def test_a_data_set_that_cannot_be_used(tmp_path, files, sentence):
    with pytest.raises(InputError, match=sentence):
        load_yolo(write(tmp_path, files))


def test_paths_that_are_no_data_set(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_yolo(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("0 1 1 1 1")
    with pytest.raises(InputError, match=r"no folder and no data\.yaml"):
        load_yolo(tmp_path / "a.txt")
    write(tmp_path, labelled(f"0 {MIDDLE}"))
    with pytest.raises(InputError, match=r"image folder .* does not exist"):
        load_yolo(tmp_path, tmp_path / "photos")


@given(
    st.lists(
        st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, WIDTH), st.integers(0, HEIGHT)),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=30, deadline=None)
def test_boxes_come_back_from_shares_of_six_digits(tmp_path_factory, drawn):
    expected, lines = [], []
    for x1, y1, w, h in drawn:
        x2, y2 = min(x1 + w, WIDTH - 1), min(y1 + h, HEIGHT - 1)
        expected.append([x1, y1, x2, y2])
        area = (x1 + x2 + 1) / 2 / WIDTH, (y1 + y2 + 1) / 2 / HEIGHT, (x2 - x1 + 1) / WIDTH, (y2 - y1 + 1) / HEIGHT
        lines.append("0 " + " ".join(f"{value:.6f}" for value in area))
    folder = write(tmp_path_factory.mktemp("shares"), labelled(*lines))
    np.testing.assert_allclose(load_yolo(folder).annotation(0).boxes, expected, atol=1e-3)


def test_annotations_are_those_of_the_same_csv(own_data):
    expected = load_csv(own_data.csv, own_data.images)
    found = load_yolo(own_data.yolo, own_data.images)
    assert sorted(found.classes) == sorted(expected.classes) and sorted(found.image_ids) == sorted(expected.image_ids)
    for index, image_id in enumerate(found.image_ids):
        ours, theirs = found.annotation(index), expected.annotation(expected.image_ids.index(image_id))
        assert [found.classes[k] for k in ours.classes] == [expected.classes[k] for k in theirs.classes]
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3)


def test_a_list_that_holds_itself_many_times_is_said_in_a_short_sentence(tmp_path):
    """YAML's aliases make ten lines a list of 9 ** 9 texts, which costs nothing until it is written out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    for shape in ("*a8", "[*a8, *a8]"):
        write(tmp_path, {"data.yaml": "\n".join(["names: [cat]", *lines, f"kpt_shape: {shape}"]), "a.jpg": None})
        write(tmp_path, {"a.txt": f"0 {MIDDLE}"})
        with pytest.raises(InputError, match=r"kpt_shape is a list, expected two numbers such as \[17, 3\]$"):
            load_yolo(tmp_path)


def test_a_number_of_classes_of_five_thousand_digits_is_none(tmp_path):
    write(tmp_path, {**labelled(f"0 {MIDDLE}"), "data.yaml": f"names: [cat]\nnc: {'1' * 5_000}"})
    assert boxes_of(load_yolo(tmp_path)) == {"a": [("cat", *MIDDLE_BOX)]}


@pytest.mark.parametrize("line", ["x" * 300, "a/" * 3000])
def test_a_list_that_names_what_no_file_can_be_called_names_a_missing_image(tmp_path, line):
    write(tmp_path, {**labelled(f"0 {MIDDLE}"), "data.yaml": "names: [cat]\ntrain: train.txt\n"})
    (tmp_path / "train.txt").write_text(f"a.jpg\n{line}\n")
    assert boxes_of(load_yolo(tmp_path)) == {"a": [("cat", *MIDDLE_BOX)]}


@pytest.mark.parametrize("line", [".", "images/..", "images"])
def test_a_list_that_names_a_folder_is_refused(tmp_path, line):
    (tmp_path / "images").mkdir()
    (tmp_path / "data.yaml").write_text("names: [cat]\ntrain: train.txt\n")
    (tmp_path / "train.txt").write_text(f"{line}\n")
    with pytest.raises(InputError, match="which is a folder; expected the path of an image a line"):
        load_yolo(tmp_path)
