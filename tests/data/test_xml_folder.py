"""Folders of VOC XML files without a devkit around them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ExifTags, Image

from rcnn_svm.data.checks import require_usable
from rcnn_svm.data.class_names import read_class_list
from rcnn_svm.data.image_folder import unused_images
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


def test_boxes_outside_are_cut_and_counted_where_it_is_more_than_rounding(tmp_path):
    write(tmp_path, "a", ("dog", (0, 0, 51, 41)))
    write(tmp_path, "b", ("dog", (1, 1, 52, 40)))
    database = load_xml_folder(tmp_path)
    np.testing.assert_array_equal(database.annotation(0).boxes, [[0, 0, 49, 39]])
    assert not database.notes.lines()
    np.testing.assert_array_equal(database.annotation(1).boxes, [[0, 0, 49, 39]])
    (line,) = database.notes.lines()
    assert "reach outside: 1" in line and "b.xml, object 1 (dog): box xmin=1 ymin=1 xmax=52" in line


def test_hidden_files_of_archives_and_files_that_are_no_annotations(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)))
    for name in ("._a.xml", "._a.jpg"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07macOS")
    (tmp_path / "project.xml").write_text("<project><name>mine</name></project>")
    database = load_xml_folder(tmp_path)
    assert database.image_ids == ("a",) and not unused_images(database, tmp_path)
    path = tmp_path / "project.xml"
    assert database.notes.lines() == [f"XML files left out, because they are no annotations: 1, the first is {path}"]


def test_suffixes_in_upper_case_and_twice(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path, name, ("dog", (1, 1, 5, 5)))
    (tmp_path / "a.xml").rename(tmp_path / "a.XML")
    (tmp_path / "b.xml").rename(tmp_path / "b.jpg.xml")
    database = load_xml_folder(tmp_path)
    assert database.image_ids == ("a", "b.jpg", "c")
    assert [database.image_path(index).name for index in range(3)] == ["a.jpg", "b.jpg", "c.jpg"]


def test_annotations_in_sub_folders_with_images_beside_them_or_all_in_one_place(tmp_path):
    for folder, name in (("street", "a"), ("yard", "b")):
        (tmp_path / "labels" / folder).mkdir(parents=True)
        write(tmp_path / "labels" / folder, name, ("dog", (1, 1, 5, 5)))
    database = load_xml_folder(tmp_path / "labels")
    assert database.image_ids == ("street/a", "yard/b")
    assert database.image_path(1) == tmp_path / "labels/yard/b.jpg"
    images = tmp_path / "images"
    images.mkdir()
    for path in (tmp_path / "labels").rglob("*.jpg"):
        path.rename(images / path.name)
    database = load_xml_folder(tmp_path / "labels", images)
    assert [database.image_path(index) for index in range(2)] == [images / "a.jpg", images / "b.jpg"]


def test_the_file_name_in_an_annotation_chooses_the_image(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)))
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    write(tmp_path, "b", ("dog", (1, 1, 5, 5)))
    (tmp_path / "b.jpg").rename(tmp_path / "photo.jpg")
    for name, stated in (("a", "C:\\\\photos\\\\a.png"), ("b", "photo.jpg")):
        text = (tmp_path / f"{name}.xml").read_text()
        (tmp_path / f"{name}.xml").write_text(text.replace(SIZE, f"<filename>{stated}</filename>{SIZE}"))
    database = load_xml_folder(tmp_path)
    assert [database.image_path(index).name for index in range(2)] == ["a.png", "photo.jpg"]


def test_an_image_labelled_as_stored_names_its_exif_orientation(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (50, 40)).save(tmp_path / "a.jpg", exif=exif)
    upright = load_xml_folder(tmp_path)
    with pytest.raises(InputError, match=r"is 40 x 50 pixels upright, but its annotation says 50 x 40.*--ignore-exif"):
        upright.load_image(0)
    stored = load_xml_folder(tmp_path, ignore_exif=True)
    assert stored.subset(["a"]).load_image(0).shape == (40, 50, 3)
    # Proposals and features of one reading are none of the other.
    assert upright.image_digest(0) != stored.image_digest(0) and upright.source_digest(0) != stored.source_digest(0)
    text = (tmp_path / "a.xml").read_text()
    turned = text.replace(SIZE, "<size><width>40</width><height>50</height></size>")
    (tmp_path / "a.xml").write_text(turned)
    assert load_xml_folder(tmp_path).load_image(0).shape == (50, 40, 3)
    with pytest.raises(InputError, match=r"is stored with 50 x 40 pixels, but .* 40 x 50.*without --ignore-exif"):
        load_xml_folder(tmp_path, ignore_exif=True).load_image(0)


def test_a_class_name_may_hold_what_separates_names_and_folders(tmp_path):
    write(tmp_path, "a", ("disc, red", (1, 1, 5, 5)), ("disc/blue", (1, 1, 6, 6)))
    database = load_xml_folder(tmp_path)
    assert database.classes == ("disc, red", "disc/blue")
    assert load_xml_folder(tmp_path, classes=read_class_list('"disc, red"')).classes == ("disc, red",)


def test_missing_and_ambiguous_images(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)))
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.jpg and a\.png could both be the image of .*a\.xml"):
        load_xml_folder(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.jpg").unlink()
    database = load_xml_folder(tmp_path)
    assert len(database.annotation(0).boxes) == 1  # which needs no image
    with pytest.raises(InputError, match=r"image file .*a\.jpg does not exist"):
        database.load_image(0)
    with pytest.raises(InputError, match=r"none of the 1 images .*looked for at .*a\.jpg, so give.*--images"):
        require_usable([database])


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
    write(tmp_path, "b", ("dog", (1, 1, 5, 5)))
    (tmp_path / "b.xml").write_text("")
    with pytest.raises(InputError, match=r"(?s)2 things are wrong:.*a\.xml, line 1.*b\.xml, line 1"):
        load_xml_folder(tmp_path)


def test_a_file_that_changed_after_opening(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)))
    database = load_xml_folder(tmp_path)
    write(tmp_path, "a", ("cat", (1, 1, 5, 5)))
    with pytest.raises(InputError, match="'cat' was not there when the folder was opened"):
        database.annotation(0)


def test_classes_that_differ_in_case_only_are_noted(tmp_path):
    write(tmp_path, "a", ("Disc", (1, 1, 5, 5)), ("disc", (1, 1, 6, 6)))
    database = load_xml_folder(tmp_path)
    assert database.classes == ("Disc", "disc")
    (line,) = database.notes.lines()
    assert line.startswith("classes that differ in upper and lower case only") and "'Disc' and 'disc'" in line


def test_a_box_of_zeros_is_no_object_and_a_background_no_class(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)))
    write(tmp_path, "b", ("Background", (0, 0, 0, 0)))
    database = load_xml_folder(tmp_path)
    assert database.classes == ("dog",) and len(database.annotation(1).boxes) == 0
    (line,) = database.notes.lines()
    assert line.startswith("objects left out, because their box is 0 0 0 0") and "b.xml, object 1 (Background)" in line


def test_objects_of_a_class_in_other_case_than_the_chosen_are_noted(tmp_path):
    write(tmp_path, "a", ("dog", (1, 1, 5, 5)), ("Dog", (1, 1, 6, 6)), ("cat", (1, 1, 6, 6)))
    database = load_xml_folder(tmp_path, classes=["dog"])
    assert len(database.annotation(0).boxes) == 1
    line = database.notes.lines()[-1]
    assert "because upper and lower case make their class another one: 1" in line and "a.xml, object 2 (Dog)" in line
