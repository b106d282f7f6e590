"""Folders of VOC XML files without a devkit around them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.data.xml_folder import load_xml_folder
from rcnn_svm.errors import InputError

SIZE = "<size><width>50</width><height>40</height></size>"


def write(folder, name, *objects, suffix=".jpg"):
    sides = ("xmin", "ymin", "xmax", "ymax")
    body = "".join(
        f"<object><name>{label}</name><bndbox>"
        f"{''.join(f'<{s}>{v}</{s}>' for s, v in zip(sides, box, strict=True))}</bndbox></object>"
        for label, box in objects
    )
    (folder / f"{name}.xml").write_text(f"<annotation>{SIZE}{body}</annotation>")
    Image.new("RGB", (50, 40)).save(folder / f"{name}{suffix}")


def test_images_beside_the_files_whatever_their_suffix(tmp_path):
    write(tmp_path, "b", ("dog", (1, 2, 50, 40)), suffix=".PNG")
    write(tmp_path, "a")
    database = load_xml_folder(tmp_path)
    assert (database.name, database.classes, database.image_ids) == (tmp_path.name, ("dog",), ("a", "b"))
    np.testing.assert_array_equal(database.annotation(1).boxes, [[0, 1, 49, 39]])
    assert database.load_image(1).shape == (40, 50, 3)
    assert len(database.annotation(0).boxes) == 0


def test_boxes_outside_by_rounding_are_cut_and_others_refused(tmp_path):
    write(tmp_path, "a", ("dog", (0, 0, 51, 41)))
    write(tmp_path, "b", ("dog", (1, 1, 52, 40)))
    database = load_xml_folder(tmp_path)
    np.testing.assert_array_equal(database.annotation(0).boxes, [[0, 0, 49, 39]])
    with pytest.raises(InputError, match=r"b\.xml, object 1 \(dog\): box xmin=1 ymin=1 xmax=52 .* outside"):
        database.annotation(1)


def test_missing_and_ambiguous_images(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)))
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.jpg and a\.png could both be the image of .*a\.xml"):
        load_xml_folder(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"there is no image a\.\* in .* for .*a\.xml; add it.*--images"):
        load_xml_folder(tmp_path)


def test_folders_that_are_none_or_hold_nothing(tmp_path):
    with pytest.raises(InputError, match=r"holds no \*\.xml files"):
        load_xml_folder(tmp_path)
    with pytest.raises(InputError, match=r"annotation folder .*nowhere does not exist"):
        load_xml_folder(tmp_path / "nowhere")
    write(tmp_path, "a")
    with pytest.raises(InputError, match="has no objects, so its classes are unknown"):
        load_xml_folder(tmp_path)
    assert load_xml_folder(tmp_path, classes=["dog"]).classes == ("dog",)


def test_a_file_name_that_no_list_of_ids_can_hold(tmp_path):
    write(tmp_path, "a\nb", ("dog", (1, 1, 5, 5)))
    with pytest.raises(InputError, match=r"holds the file 'a\\nb\.xml', whose name holds '\\n'; rename it"):
        load_xml_folder(tmp_path)


def test_malformed_file(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)))
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(InputError, match=r"a\.xml, line 1: malformed XML"):
        load_xml_folder(tmp_path)


def test_a_file_that_changed_after_opening(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)))
    database = load_xml_folder(tmp_path)
    write(tmp_path, "a", ("cat", (1, 1, 5, 5)))
    with pytest.raises(InputError, match="'cat' was not there when the folder was opened"):
        database.annotation(0)
