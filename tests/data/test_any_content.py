"""Whatever annotations say, their boxes are inside their images and of a class, or one sentence says why not."""

from __future__ import annotations

import contextlib
import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rcnn_svm.data import load_coco, load_csv, load_xml_folder, load_yolo
from rcnn_svm.errors import InputError
from rcnn_svm.matlab import read_mat_arrays

WIDTH, HEIGHT = 40, 30
# What may stand in the place of anything.
ODD = st.one_of(
    *(st.integers(-2, 45), st.floats(), st.integers(-(10**30), 10**30), st.text(max_size=4), st.none(), st.booleans())
)
OBJECT = st.tuples(
    *(st.sampled_from(["cat", "dog"]), st.integers(0, 15), st.integers(0, 12)),
    *(st.floats(16, WIDTH - 1), st.integers(13, HEIGHT - 1)),
)


@st.composite
def annotations(draw) -> tuple[list[list], list]:
    """Return objects as name and corners x1 y1 x2 y2, and the size of their image, of which one value may be odd."""
    objects, sides = [list(found) for found in draw(st.lists(OBJECT, max_size=4))], [WIDTH, HEIGHT]
    if draw(st.booleans()):
        place = draw(st.sampled_from([*objects, sides]))
        place[draw(st.integers(0, len(place) - 1))] = draw(ODD)
    return objects, sides


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6


def text_of(value: object) -> str:
    """Return a value as a tool would write it, without what no XML file may have."""
    return "".join(sign for sign in str(value) if sign.isprintable())


def write_xml(folder: Path, objects: list, sides: list) -> None:
    boxes = "".join(
        f"<object><name>{escape(text_of(name))}</name><bndbox>"
        + "".join(
            f"<{side}>{escape(text_of(value))}</{side}>"
            for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        )
        + "</bndbox></object>"
        for name, *corners in objects
    )
    size = "".join(
        f"<{name}>{escape(text_of(value))}</{name}>" for name, value in zip(("width", "height"), sides, strict=True)
    )
    (folder / "xml").mkdir()
    (folder / "xml" / "a.xml").write_text(
        f"<annotation><filename>a.png</filename><size>{size}</size>{boxes}</annotation>", encoding="utf-8"
    )


def write_coco(folder: Path, objects: list, sides: list) -> None:
    names, boxes = [], []
    for number, (name, *corners) in enumerate(objects):
        x1, y1, x2, y2 = corners
        box = [x1, y1, x2 - x1 + 1, y2 - y1 + 1] if all(map(is_number, corners)) else corners
        names += [name] if name not in names else []
        boxes.append({"id": number, "image_id": 1, "category_id": names.index(name) + 1, "bbox": box, "area": 1})
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": sides[0], "height": sides[1]}],
        "annotations": boxes,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
    }
    (folder / "boxes.json").write_text(json.dumps(content))


def write_csv(folder: Path, objects: list, sides: list) -> None:
    with (folder / "boxes.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "class", "x1", "y1", "x2", "y2", "width", "height"])
        writer.writerows(["a.png", *found, *sides] for found in objects)


def write_yolo(folder: Path, objects: list, sides: list) -> None:
    names = ["cat", "dog"]
    (folder / "yolo" / "labels").mkdir(parents=True)
    (folder / "yolo" / "data.yaml").write_text("train: ../images\nnames: [cat, dog]\n")
    lines = []
    for name, *corners in objects:
        if all(map(is_number, corners)):  # centre and size, as shares of the image
            x1, y1, x2, y2 = corners
            pixels = ((x1 + x2 + 1) / 2, (y1 + y2 + 1) / 2, x2 - x1 + 1, y2 - y1 + 1)
            corners = [value / side for value, side in zip(pixels, (WIDTH, HEIGHT) * 2, strict=True)]
        lines.append(" ".join([str(names.index(name)) if name in names else text_of(name), *map(text_of, corners)]))
    for labels in (folder / "yolo" / "labels", folder / "labels"):
        labels.mkdir(exist_ok=True)
        (labels / "a.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


FORMATS: dict[str, tuple[Callable, Callable]] = {
    "XML": (write_xml, lambda folder: load_xml_folder(folder / "xml", folder / "images")),
    "COCO": (write_coco, lambda folder: load_coco(folder / "boxes.json", folder / "images")),
    "CSV": (write_csv, lambda folder: load_csv(folder / "boxes.csv", folder / "images")),
    "YOLO": (write_yolo, lambda folder: load_yolo(folder / "yolo")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_box_by_hand_is_read_in_every_format(name, tmp_path):
    [(classes, truth)] = _loaded(name, tmp_path, [["cat", 3, 4, 10, 11]], [WIDTH, HEIGHT])
    from_one = name == "XML"  # VOC counts pixels from 1
    np.testing.assert_allclose(truth.boxes + from_one, [[3, 4, 10, 11]], atol=1e-4)
    assert [classes[number] for number in truth.classes] == ["cat"]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=80, deadline=None)
@given(content=annotations())
def test_boxes_are_inside_their_image_or_refused(name, content):
    objects, sides = content
    with tempfile.TemporaryDirectory() as folder:
        for classes, truth in _loaded(name, Path(folder), objects, sides) or []:
            height, width = truth.image_size
            assert truth.boxes.shape == (len(truth.classes), 4) and np.isfinite(truth.boxes).all()
            assert (truth.boxes[:, :2] >= 0).all() and (truth.boxes[:, :2] <= truth.boxes[:, 2:]).all()
            assert (truth.boxes[:, 2] <= width - 1).all() and (truth.boxes[:, 3] <= height - 1).all()
            assert ((truth.classes >= 0) & (truth.classes < len(classes))).all()


def _loaded(name: str, folder: Path, objects: list, sides: list) -> list | None:
    """Return classes and annotation of every image that is read, None where the file is refused."""
    write, load = FORMATS[name]
    (folder / "images").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / "a.png")
    write(folder, objects, sides)
    with contextlib.suppress(InputError):
        database = load(folder)
        return [(database.classes, database.annotation(index)) for index in range(len(database))]
    return None


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.one_of(st.floats(), st.integers(-(2**31), 2**31 - 1)), max_size=6), packed=st.booleans())
def test_matrices_of_matlab_are_what_was_saved(values, packed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.mat"
        scipy.io.savemat(path, {"gt": np.array(values, np.float64), "text": "no matrix"}, do_compression=packed)
        found = read_mat_arrays(path, ["gt"])["gt"]
        np.testing.assert_array_equal(found.ravel(), np.array(values, np.float64))
        path.write_bytes(path.read_bytes()[:-3])
        with contextlib.suppress(InputError):
            read_mat_arrays(path, ["gt"])
