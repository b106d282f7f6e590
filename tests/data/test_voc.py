"""PASCAL VOC folders: what is read, in which coordinates, and what is refused."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rcnn_svm.data.checks import require_annotations
from rcnn_svm.data.images import load_image
from rcnn_svm.data.voc import VOC_CLASSES, load_voc
from rcnn_svm.errors import InputError


def object_xml(name="dog", box=(1, 1, 10, 10), flags="<truncated>0</truncated><difficult>0</difficult>", parts=""):
    sides = "".join(f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object>{parts}<name>{name}</name>{flags}<bndbox>{sides}</bndbox></object>"


def annotation_xml(*objects: str, width=50, height=40) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>\n{size}\n{''.join(objects)}\n</annotation>"


def write_devkit(root: Path, annotations: dict[str, str], year="2007", split="trainval") -> Path:
    folder = root / f"VOC{year}"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{i}\n" for i in annotations))
    for image_id, xml in annotations.items():
        (folder / "Annotations" / f"{image_id}.xml").write_text(xml)
        Image.new("RGB", (50, 40)).save(folder / "JPEGImages" / f"{image_id}.jpg")
    return root


def test_reads_objects_in_0_based_pixels(tmp_path):
    flags = "<truncated>1</truncated><difficult>1</difficult>"
    xml = annotation_xml(object_xml("dog", (1, 2, 50, 40)), object_xml("cat", (5, 6, 5, 6), flags))
    database = load_voc(write_devkit(tmp_path, {"a": xml, "b": annotation_xml()}))
    assert database.name == "voc_2007_trainval"
    assert database.classes == VOC_CLASSES
    assert database.image_ids == ("a", "b")
    assert database.image_path(1) == tmp_path / "VOC2007/JPEGImages/b.jpg"
    first = database.annotation(0)
    assert first.image_size == (40, 50)
    assert first.boxes.dtype == np.float32
    np.testing.assert_array_equal(first.boxes, [[0, 1, 49, 39], [4, 5, 4, 5]])
    assert [VOC_CLASSES[c] for c in first.classes] == ["dog", "cat"]
    assert first.difficult.tolist() == first.truncated.tolist() == [False, True]
    assert database.load_image(0).shape == (40, 50, 3)


def test_image_without_objects(tmp_path):
    annotation = load_voc(write_devkit(tmp_path, {"a": annotation_xml()})).annotation(0)
    assert annotation.boxes.shape == (0, 4) and annotation.boxes.dtype == np.float32
    assert annotation.classes.shape == (0,) and annotation.classes.dtype == np.int64
    assert annotation.difficult.shape == annotation.truncated.shape == (0,)
    assert annotation.difficult.dtype == bool


def test_parts_are_no_objects_wherever_they_stand(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    xml = annotation_xml(object_xml("person", (7, 8, 9, 10), parts=part))
    annotation = load_voc(write_devkit(tmp_path, {"a": xml})).annotation(0)
    np.testing.assert_array_equal(annotation.boxes, [[6, 7, 8, 9]])
    assert annotation.classes.tolist() == [VOC_CLASSES.index("person")]


def test_float_coordinates_and_missing_flags_of_later_years(tmp_path):
    xml = annotation_xml(object_xml(box=("45.70", "1.0", "49.25", " 40 "), flags=""))
    annotation = load_voc(write_devkit(tmp_path, {"a": xml}, year="2011"), "2011").annotation(0)
    np.testing.assert_allclose(annotation.boxes, [[44.7, 0, 48.25, 39]], rtol=1e-6)
    assert not annotation.difficult.any() and not annotation.truncated.any()


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 40), st.integers(1, 50), st.integers(1, 40)), max_size=6))
def test_any_box_inside_the_image_loses_exactly_one(tmp_path_factory, corners):
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    root = write_devkit(tmp_path_factory.mktemp("voc"), {"a": annotation_xml(*(object_xml(box=b) for b in boxes))})
    expected = np.array(boxes, np.float32).reshape(-1, 4) - 1
    np.testing.assert_array_equal(load_voc(root).annotation(0).boxes, expected)


def test_root_may_be_the_year_folder(tmp_path):
    write_devkit(tmp_path, {"a": annotation_xml()})
    assert load_voc(tmp_path / "VOC2007").image_ids == ("a",)
    assert load_voc(str(tmp_path)).image_ids == ("a",)


def test_year_folder_of_another_year_is_not_taken_for_it(tmp_path):
    write_devkit(tmp_path, {"a": annotation_xml()}, year="2012")
    for root in (tmp_path, tmp_path / "VOC2012"):
        with pytest.raises(InputError, match=r"holds no VOC2007 folder \(found: VOC2012\)"):
            load_voc(root)


def test_own_folder_name(tmp_path):
    write_devkit(tmp_path, {"a": annotation_xml()})
    (tmp_path / "VOC2007").rename(tmp_path / "mine")
    assert load_voc(tmp_path / "mine", split="trainval").image_ids == ("a",)


@pytest.mark.parametrize("year", ["07", "next", "2007/../2007"])
def test_year_must_be_a_year(tmp_path, year):
    with pytest.raises(InputError, match="four digits"):
        load_voc(tmp_path, year)


def test_missing_root_and_empty_root(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        load_voc(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no VOC folder at all"):
        load_voc(tmp_path)


def test_missing_split_lists_the_others(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml()})
    (root / "VOC2007/ImageSets/Main/dog_trainval.txt").write_text("a 1\n")
    with pytest.raises(InputError, match=r"'val' does not exist.*the splits there are: trainval$"):
        load_voc(root, split="val")


def test_per_class_list_is_no_split(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml()})
    (root / "VOC2007/ImageSets/Main/dog_trainval.txt").write_text("a -1\n")
    with pytest.raises(InputError, match=r"dog_trainval\.txt, line 1: found 'a -1'"):
        load_voc(root, split="dog_trainval")


def test_empty_split(tmp_path):
    with pytest.raises(InputError, match="no images"):
        load_voc(write_devkit(tmp_path, {}))


def test_split_with_blank_lines_and_other_line_ends(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml(), "b": annotation_xml()})
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_bytes(b"b \r\n\r\na\r\n")
    assert load_voc(root).image_ids == ("b", "a")


def test_ids_select_and_order(tmp_path):
    root = write_devkit(tmp_path, {i: annotation_xml(object_xml(box=(1, 1, 5, 5 + k))) for k, i in enumerate("abc")})
    database = load_voc(root, ids=["c", "a"])
    assert database.image_ids == ("c", "a")
    assert database.annotation(0).boxes[0, 3] == 6
    assert database.name.startswith("voc_2007_trainval_")
    with pytest.raises(InputError, match="image d is not in voc_2007_trainval"):
        load_voc(root, ids=["d"])


def test_choice_of_classes_ignores_the_others(tmp_path):
    xml = annotation_xml(object_xml("dog"), object_xml("cat", (2, 2, 3, 3)), object_xml("unicorn"))
    database = load_voc(write_devkit(tmp_path, {"a": xml}), classes=["cat", "bus"])
    assert database.classes == ("cat", "bus")
    annotation = database.annotation(0)
    np.testing.assert_array_equal(annotation.boxes, [[1, 1, 2, 2]])
    assert annotation.classes.tolist() == [0]


def test_what_a_choice_of_classes_ignores_by_its_case_and_boxes_of_zeros_are_noted(tmp_path):
    objects = [object_xml(), object_xml("Dog"), object_xml("background", (0, 0, 0, 0))]
    root = write_devkit(tmp_path, {"000001": annotation_xml(*objects)})
    database = load_voc(root, classes=["dog"])
    assert len(database.annotation(0).boxes) == 1
    case, zeros = database.notes.lines()
    assert "upper and lower case" in case and "(Dog)" in case and "0 0 0 0" in zeros


def test_own_classes_in_their_order(tmp_path):
    xml = annotation_xml(object_xml("unicorn"), object_xml("gnome"))
    root = write_devkit(tmp_path, {"a": annotation_xml(), "b": xml})
    database = load_voc(root, classes=["gnome", "unicorn"])
    assert database.annotation(1).classes.tolist() == [1, 0]


def test_class_that_nothing_names(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml(object_xml("gnome"), object_xml("gnome"), object_xml("dog"))})
    with pytest.raises(InputError) as caught:
        load_voc(root, classes=["gnome", "dwarf"])
    message = str(caught.value)
    assert "unknown class 'dwarf'" in message and "20 VOC classes (aeroplane, " in message
    assert f"none of the 1 annotation files of {root / 'VOC2007'} names it; they name gnome (2), dog (1)" in message


def test_own_class_of_another_split_or_of_a_per_class_list(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml(object_xml("gnome"))})
    write_devkit(tmp_path, {"b": annotation_xml()}, split="test")
    (root / "VOC2007/ImageSets/Main/red_dwarf_test.txt").write_text("b -1\n")
    assert load_voc(root, split="test", classes=["gnome", "red_dwarf"]).classes == ("gnome", "red_dwarf")


def test_class_given_twice_or_no_class(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml()})
    with pytest.raises(InputError, match="'dog' is given more than once"):
        load_voc(root, classes=["dog", "cat", "dog"])
    with pytest.raises(InputError, match="no classes"):
        load_voc(root, classes=[])


def test_unknown_object_class_names_the_option(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml(object_xml("dog"), object_xml("gnome"))})
    with pytest.raises(InputError, match=r"a\.xml, object 2 .*'gnome' is not one of the 20 .*--classes"):
        load_voc(root).annotation(0)


@pytest.mark.parametrize(
    ("box", "expected", "kind"),
    [
        ((0, 1, 5, 5), [0, 0, 4, 4], None),  # rounding: a pixel is no news
        ((1, 1, 5, 41), [0, 0, 4, 39], None),
        ((-4, 1, 5, 5), [0, 0, 4, 4], "boxes cut to their images"),
        ((1, 1, 55, 5), [0, 0, 49, 4], "boxes cut to their images"),
        ((9, 1, 8, 5), [7, 0, 8, 4], "boxes whose corners are exchanged"),
        ((1, 9, 5, 8), [0, 7, 4, 8], "boxes whose corners are exchanged"),
        ((60, 1, 70, 5), None, "objects left out, because their boxes are wholly outside"),
        (("nan", 1, 5, 5), None, "objects left out, because their boxes are not four numbers"),
        (("left", 1, 5, 5), None, "objects left out, because their boxes are not four numbers"),
    ],
)
def test_one_unusable_box_does_not_stop_the_set(tmp_path, box, expected, kind):
    """The user gets the image's other objects, and one line that counts what was mended or left out."""
    root = write_devkit(tmp_path, {"a": annotation_xml(object_xml(), object_xml("cat", box))})
    database = load_voc(root)
    annotation = database.annotation(0)
    assert annotation.boxes.tolist() == [[0, 0, 9, 9], *([] if expected is None else [expected])]
    assert len(annotation.classes) == len(annotation.difficult) == len(annotation.truncated) == len(annotation.boxes)
    values = "xmin={} ymin={} xmax={} ymax={}".format(*box)
    lines = database.notes.lines()
    assert len(lines) == (kind is not None)
    for line in lines:
        assert line.startswith(kind) and f"a.xml, object 2 (cat): box {values} in an image of 50 x 40 pixels" in line
        with pytest.raises(InputError, match="object 2"):
            require_annotations(database, strict=True)


@pytest.mark.parametrize(
    ("xml", "boxes", "line"),
    [
        (annotation_xml(object_xml(), width="wide"), 1, r"sizes read from the images.*: 1, .*a\.xml with wide x 40"),
        (annotation_xml(object_xml(), width=0, height=0), 1, r"sizes read from the images.*a\.xml with 0 x 0"),
        ("<annotation></annotation>", 0, r"sizes read from the images"),
        (annotation_xml("<object><name>dog</name></object>"), 0, r"not four numbers: 1, .*xmin=missing"),
        (annotation_xml("<object></object>", object_xml()), 1, r"have no <name>: 1, the first is .*a\.xml, object 1"),
        (
            annotation_xml(object_xml(flags="<difficult>Unspecified</difficult>"), object_xml()),
            2,
            r"<difficult> read as 0.*: 1, .*a\.xml, object 1 \(dog\): 'Unspecified'",
        ),
    ],
)
def test_what_is_missing_or_spelled_otherwise_is_counted(tmp_path, xml, boxes, line):
    database = load_voc(write_devkit(tmp_path, {"a": xml}))
    annotation = database.annotation(0)
    assert annotation.image_size == (40, 50) and len(annotation.boxes) == boxes
    assert not annotation.difficult.any()
    (found,) = database.notes.lines()
    assert re.search(line, found)


def test_numbers_and_flags_as_other_tools_write_them(tmp_path):
    flags = "<difficult>True</difficult><truncated>no</truncated>"
    database = load_voc(write_devkit(tmp_path, {"a": annotation_xml(object_xml(flags=flags), width="50.0")}))
    annotation = database.annotation(0)
    assert annotation.image_size == (40, 50)
    assert annotation.difficult.tolist() == [True] and annotation.truncated.tolist() == [False]
    assert not database.notes.lines()


def test_a_rotated_box_is_read_as_the_upright_box_around_it(tmp_path):
    """A quarter turn exchanges 20 x 10 pixels around (25, 20): columns 20 to 30, rows 10 to 30, counted from 1."""
    rotated = "<cx>25</cx><cy>20</cy><w>20</w><h>10</h><angle>1.5707963267948966</angle>"
    xml = annotation_xml(f"<object><name>dog</name><robndbox>{rotated}</robndbox></object>", object_xml("cat"))
    database = load_voc(write_devkit(tmp_path, {"a": xml}))
    np.testing.assert_allclose(database.annotation(0).boxes, [[19, 9, 29, 29], [0, 0, 9, 9]], atol=1e-5)
    assert database.notes.lines()[0].startswith("rotated boxes read as the upright boxes around them: 1, ")


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg"])
def test_images_of_any_suffix_and_annotations_in_upper_case(tmp_path, suffix):
    root = write_devkit(tmp_path, {"a": annotation_xml(object_xml())})
    folder = root / "VOC2007"
    (folder / "JPEGImages/a.jpg").unlink()
    Image.new("RGB", (50, 40)).save(folder / f"JPEGImages/a{suffix}")
    (folder / "JPEGImages/._a.png").write_text("macOS")
    (folder / "Annotations/a.xml").rename(folder / "Annotations/a.XML")
    database = load_voc(root, classes=["dog"])
    assert database.image_path(0).name == f"a{suffix}"
    assert database.load_image(0).shape == (40, 50, 3) and len(database.annotation(0).boxes) == 1


def test_two_images_of_one_id_are_refused_unless_one_is_the_devkit_s(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml()})
    images = root / "VOC2007/JPEGImages"
    for suffix in (".png", ".bmp"):
        Image.new("RGB", (50, 40)).save(images / f"a{suffix}")
    assert load_voc(root).image_path(0).name == "a.jpg"
    (images / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"a\.bmp and a\.png could both be the image a; rename one of them"):
        load_voc(root).image_path(0)


def test_a_line_of_a_split_is_an_id_with_its_spaces(tmp_path):
    ids = ("Screenshot (570)", "walk  1", "b")
    root = write_devkit(tmp_path, {image_id: annotation_xml(object_xml()) for image_id in ids})
    database = load_voc(root)
    assert database.image_ids == ids
    assert all(len(database.annotation(index).boxes) == 1 for index in range(3))


def test_a_devkit_under_another_name_or_without_lists_says_what_to_give(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml(object_xml())})
    (root / "VOC2007").rename(root / "mine")
    with pytest.raises(InputError, match=r"but mine in it has a devkit's folders; give .*mine itself"):
        load_voc(root)
    (root / "mine").rename(root / "VOC2007")
    (root / "VOC2007/ImageSets/Main/trainval.txt").unlink()
    advice = rf"no lists of images.*--xml {root}/VOC2007/Annotations --images {root}/VOC2007/JPEGImages"
    with pytest.raises(InputError, match=advice):
        load_voc(root)
    shutil.rmtree(root / "VOC2007/ImageSets")
    for folder in (root, root / "VOC2007"):
        with pytest.raises(InputError, match=advice):
            load_voc(folder)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation>\n<size>\n</annotation>", r"a\.xml, line 3: malformed XML"),
        ("", r"a\.xml, line 1: malformed XML"),
        ("<project><name>mine</name></project>", r"a\.xml is no annotation in VOC's XML: .* <project>"),
    ],
)
def test_bad_annotation(tmp_path, xml, message):
    with pytest.raises(InputError, match=message):
        load_voc(write_devkit(tmp_path, {"a": xml})).annotation(0)


def test_undecodable_annotation(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml()})
    (root / "VOC2007/Annotations/a.xml").write_bytes(b'<?xml version="1.0" encoding="klingon"?><annotation/>')
    with pytest.raises(InputError, match=r"a\.xml.*klingon|a\.xml.*encoding"):
        load_voc(root).annotation(0)


def test_missing_annotation_and_image(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml(), "b": annotation_xml()})
    (root / "VOC2007/Annotations/a.xml").unlink()
    (root / "VOC2007/JPEGImages/b.jpg").unlink()
    database = load_voc(root)
    with pytest.raises(InputError, match=r"annotation file .*a\.xml does not exist"):
        database.annotation(0)
    with pytest.raises(InputError, match=r"image file .*b\.jpg does not exist"):
        database.load_image(1)


@pytest.mark.parametrize(("year", "split"), [("2007", "test"), ("2012", "val")])
def test_missing_annotations_are_told(tmp_path, year, split):
    root = write_devkit(tmp_path, {"a": annotation_xml()}, year=year, split=split)
    (root / f"VOC{year}/Annotations/a.xml").unlink()
    with pytest.raises(InputError, match=r"annotation file .*a\.xml does not exist"):
        load_voc(root, year, split).annotation(0)


def test_images_with_secret_annotations_can_be_used(tmp_path):
    """VOC publishes no annotations of its test images after 2007."""
    root = write_devkit(tmp_path, {"a": annotation_xml()}, year="2012", split="test")
    (root / "VOC2012/Annotations/a.xml").unlink()
    (root / "VOC2012/JPEGImages").mkdir(exist_ok=True)
    Image.new("RGB", (70, 50)).save(root / "VOC2012/JPEGImages/a.jpg")
    database = load_voc(root, "2012", "test")
    assert database.annotation(0).image_size == (50, 70)
    assert len(database.annotation(0).boxes) == 0
    assert database.load_image(0).shape == (50, 70, 3)


TAGS = ("xmin", "ymin", "xmax", "ymax", "name", "truncated", "difficult")


@pytest.mark.voc
@pytest.mark.parametrize(("split", "count"), [("trainval", 765), ("test", 200)])
def test_real_annotations_against_a_regular_expression(voc_root, split, count):
    database = load_voc(voc_root, "2007", split)
    assert len(database) == count
    expected, found = Counter(), Counter()
    for i, image_id in enumerate(database.image_ids):
        text = (voc_root / "VOC2007" / "Annotations" / f"{image_id}.xml").read_text()
        text = re.sub(r"<part>.*?</part>", "", text, flags=re.DOTALL)
        # The order of an object's fields differs between files.
        objects = [
            {tag: re.search(rf"<{tag}>\s*(\w+)\s*</{tag}>", body)[1] for tag in TAGS}
            for body in re.findall(r"<object>(.*?)</object>", text, re.DOTALL)
        ]
        annotation = database.annotation(i)
        np.testing.assert_array_equal(annotation.boxes, [[int(o[t]) - 1 for t in TAGS[:4]] for o in objects])
        assert annotation.truncated.tolist() == [o["truncated"] == "1" for o in objects]
        assert annotation.difficult.tolist() == [o["difficult"] == "1" for o in objects]
        expected.update(o["name"] for o in objects)
        found.update(VOC_CLASSES[c] for c in annotation.classes)
    assert found == expected
    assert set(found) == set(VOC_CLASSES)


@pytest.mark.voc
def test_real_sizes_match_the_decoded_images(voc_root):
    database = load_voc(voc_root)
    for i in range(0, len(database), 25):
        assert load_image(database.image_path(i)).shape[:2] == database.annotation(i).image_size


def test_an_id_that_no_file_can_have_is_one_sentence(tmp_path):
    root = write_devkit(tmp_path, {"a": annotation_xml()})
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_text("x" * 300)
    with pytest.raises(InputError, match=r"xxx\.xml"):
        load_voc(root).annotation(0)
