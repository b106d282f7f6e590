"""COCO's JSON: box convention, category order, crowds, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rcnn_svm.data.checks import require_annotations, require_ground_truth
from rcnn_svm.data.coco import coco_to_boxes, load_coco
from rcnn_svm.data.splits import split_database
from rcnn_svm.errors import InputError

IMAGE = {"id": 1, "file_name": "sub/a.jpg", "width": 50, "height": 40}
DOG = {"id": 3, "name": "dog"}


def entry(bbox=(2, 3, 10, 10), **more):
    return {"id": 17, "image_id": 1, "category_id": 3, "bbox": list(bbox), **more}


def load(folder, annotations=(), images=(IMAGE,), categories=(DOG,), **options):
    content = {"images": list(images), "annotations": list(annotations), "categories": list(categories)}
    (folder / "my boxes.json").write_text(json.dumps(content))
    return load_coco(folder / "my boxes.json", folder, **options)


def test_a_box_by_hand():
    """x, y, width and height become the first and the last pixel."""
    assert coco_to_boxes(np.array([[2.0, 3, 10, 20]])).tolist() == [[2, 3, 11, 22]]


@given(st.lists(st.tuples(*[st.integers(1, 500)] * 4), max_size=8))
def test_a_coco_export_of_voc_boxes_gives_them_back(corners):
    voc = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners], float).reshape(-1, 4)
    export = np.column_stack([voc[:, 0] - 1, voc[:, 1] - 1, voc[:, 2] - voc[:, 0] + 1, voc[:, 3] - voc[:, 1] + 1])
    np.testing.assert_array_equal(coco_to_boxes(export), voc - 1)


def test_fractions_and_slivers(tmp_path):
    database = load(tmp_path, [entry((10.25, 3, 5.5, 7)), entry((4, 5, 0.25, 8))])
    np.testing.assert_array_equal(database.annotation(0).boxes, [[10.25, 3, 14.75, 9], [4, 5, 4, 12]])


def test_boxes_outside_by_rounding_are_cut(tmp_path):
    boxes = load(tmp_path, [entry((-0.5, -1, 51, 42)), entry((49.8, 39, 1.2, 2))]).annotation(0).boxes
    np.testing.assert_array_equal(boxes, [[0, 0, 49, 39], [49, 39, 49, 39]])
    assert boxes.dtype == np.float32


@pytest.mark.parametrize("bbox", [(-2, 0, 5, 5), (0, 0, 52, 5), (0, 0, 5, 42), (3, 3, 0, 5), (3, 3, 5, -1)])
def test_boxes_outside_or_empty_are_refused_on_request(tmp_path, bbox):
    database = load(tmp_path, [entry(), entry(bbox, id=18)])
    require_annotations(load(tmp_path, [entry()]), strict=True)
    told = ", ".join(f"{value:g}" for value in bbox)
    with pytest.raises(InputError, match=rf"^\S*my boxes\.json, annotation 18.*: bbox \[{told}\]"):
        require_annotations(database, strict=True)


@pytest.mark.parametrize(
    ("bbox", "box", "line"),
    [
        ((-2, 0, 5, 5), [0, 0, 2, 4], "boxes cut to their images, because they reach outside: 1"),
        ((0, 0, 52.5, 5), [0, 0, 49, 4], "boxes cut to their images"),
        ((0, 0, 5, 43), [0, 0, 4, 39], "boxes cut to their images"),
        ((3, 8, 5, -4), [3, 4, 7, 7], "bboxes with a negative side, corners exchanged: 1"),
        ((12, 8, -10, -4), [2, 4, 11, 7], "bboxes with a negative side, corners exchanged: 1"),
        (("2", "3", "10", "20"), [2, 3, 11, 22], None),
        ((3, 3, 0, 5), None, "annotations left out, because their bbox is empty: 1"),
        ((0, 0, 0, 0), None, "annotations left out, because their bbox is empty: 1"),
        ((-1, -1, -1, -1), None, "objects left out, because their boxes are wholly outside their images: 1"),
        ((70, 3, 5, 5), None, "objects left out, because their boxes are wholly outside their images: 1"),
        ((), None, "annotations left out, because they have no bbox: 1"),
    ],
)
def test_one_object_of_another_shape_does_not_stop_the_set(tmp_path, bbox, box, line):
    """instances_train2017.json has a box of height 0; drawing backwards and beyond the edge are habits."""
    database = load(tmp_path, [entry(), entry(bbox, id=18)])
    assert database.annotation(0).boxes.tolist() == [[2, 3, 11, 12], *([box] if box else [])]
    assert len(database.annotation(0).classes) == len(database.annotation(0).difficult) == (2 if box else 1)
    assert bool(database.notes.lines()) == bool(line)
    assert all(told.startswith(line) and "annotation 18" in told for told in database.notes.lines()[-1:])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"image_id": 8}, "annotations left out, because their image is not among the 1 of the file: 1"),
        ({"category_id": 8}, "annotations left out, because their category is not among the 1 of the file: 1"),
    ],
)
def test_objects_of_unknown_images_and_categories_are_left_out(tmp_path, change, line):
    database = load(tmp_path, [entry(), entry(id=18, **change)])
    assert database.annotation(0).boxes.tolist() == [[2, 3, 11, 12]]
    assert [told.partition(",")[0] for told in database.notes.lines()] == [line.partition(",")[0]]
    with pytest.raises(InputError, match=rf"annotation 18: {next(iter(change))} 8 \(annotations left out"):
        require_annotations(database, strict=True)


@pytest.mark.parametrize("spell", [str, float, lambda number: f"img-{number}"])
def test_ids_in_any_spelling(tmp_path, spell):
    """Exporters write ids as text, as 1.0 and as names; results have them as the file does."""
    images = [{**IMAGE, "id": spell(1)}, {**IMAGE, "id": spell(2), "file_name": "b.png"}]
    entries = [entry(image_id=spell(2), category_id=spell(3)), entry(image_id=spell(1), category_id=spell(3))]
    database = load(tmp_path, entries, images, [{"id": spell(3), "name": "dog"}])
    assert [len(database.annotation(i).boxes) for i in (0, 1)] == [1, 1] and not database.notes.lines()
    assert database.coco_ids.images == {"sub/a": spell(1), "b": spell(2)}
    assert database.coco_ids.categories == {"dog": spell(3)}


def test_ids_that_references_spell_otherwise(tmp_path):
    database = load(tmp_path, [entry(image_id="1", category_id=3.0)])
    assert len(database.annotation(0).boxes) == 1 and database.coco_ids.images == {"sub/a": 1}


@pytest.mark.parametrize("size", [{}, {"width": 0, "height": 0}, {"width": None, "height": "x"}, {"width": 10**400}])
def test_a_size_that_the_file_lacks_is_that_of_the_image(tmp_path, size):
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    database = load(tmp_path, [entry()], [{"id": 1, "file_name": "a.png", **size}])
    assert database.annotation(0).image_size == (40, 50)
    assert database.notes.lines()[0].startswith("images without a usable size, taken from the image file: 1, the first")


@pytest.mark.parametrize("size", [{"width": 50.0, "height": 40.0}, {"width": "50", "height": "40"}])
def test_a_size_in_another_spelling(tmp_path, size):
    database = load(tmp_path, [entry()], [{**IMAGE, **size}])
    assert database.annotation(0).image_size == (40, 50) and not database.notes.lines()


def test_categories_of_one_name_are_joined(tmp_path):
    database = load(tmp_path, [entry(), entry(category_id=4)], categories=[DOG, {"id": 4, "name": "dog"}])
    assert database.classes == ("dog",) and database.annotation(0).classes.tolist() == [0, 0]
    assert database.coco_ids.categories == {"dog": 3}
    assert database.notes.lines()[0].startswith("categories of one name, joined: 1, the first is 'dog' with the id 4")


def test_annotations_keyed_by_id(tmp_path):
    """As in LIVECell."""
    content = {"images": [IMAGE], "annotations": {"17": entry()}, "categories": [DOG]}
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert len(load_coco(tmp_path / "x.json", tmp_path).annotation(0).boxes) == 1


def test_all_that_cannot_be_used_is_said_at_once(tmp_path):
    entries = [entry([1, 2, 3], id=number) for number in range(12)]
    with pytest.raises(
        InputError, match=r"12 things are wrong:\n.*annotation 0: bbox(.|\n)*annotation 9(.|\n)*and 2 more"
    ):
        load(tmp_path, entries)


def test_classes_that_differ_in_case_only_are_noted(tmp_path):
    database = load(tmp_path, [entry(), entry(category_id=4)], categories=[DOG, {"id": 4, "name": "Dog"}])
    assert database.classes == ("dog", "Dog")
    assert database.notes.lines()[0].startswith("classes that differ in upper and lower case only, kept apart: 1")


def test_crowds_and_ignored_objects_are_difficult(tmp_path):
    annotations = [entry(), entry(iscrowd=1), entry(ignore=1), entry(iscrowd=0, ignore=0)]
    assert load(tmp_path, annotations).annotation(0).difficult.tolist() == [False, True, True, False]


def test_names_order_and_images_without_objects(tmp_path):
    other = {"id": 2, "file_name": "b.png", "width": 8, "height": 6}
    categories = [{"id": 9, "name": "ant"}, DOG, {"id": 1, "name": "empty"}]
    database = load(tmp_path, [entry(), entry(category_id=9)], [IMAGE, other], categories)
    assert database.name == "my-boxes"
    assert database.classes == ("dog", "ant")
    assert database.image_ids == ("sub/a", "b")
    assert database.image_path(0) == tmp_path / "sub" / "a.jpg"
    assert database.annotation(1).boxes.shape == (0, 4)
    assert database.annotation(1).image_size == (6, 8)


def test_the_numbers_of_the_file_stay_with_its_images_and_classes(tmp_path):
    others = [{**IMAGE, "id": number, "file_name": f"{number % 7}.png"} for number in (90, 12)]
    categories = [{"id": 9, "name": "ant"}, DOG, {"id": 1, "name": "empty"}]
    database = load(tmp_path, [entry(image_id=12), entry(image_id=90)], [*others, IMAGE], categories, ids=["5", "6"])
    assert database.image_ids == ("5", "6")
    for part in (database, database.subset(["5"]), *split_database(database, 0.5)):
        assert part.coco_ids.images == {"6": 90, "5": 12, "sub/a": 1}
        assert part.coco_ids.categories == {"ant": 9, "dog": 3, "empty": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [entry([1, 2, 3])]}, r"annotation 17: bbox is \[1, 2, 3\], expected four numbers"),
        ({"annotations": [entry(["a", 2, 3, 4])]}, r"annotation 17: bbox is \['a', 2, 3, 4\], expected four numbers"),
        ({"annotations": [{"id": 4}]}, "annotation 4: image_id is None, expected a whole number or a text"),
        ({"images": [IMAGE, {**IMAGE, "file_name": "b.jpg"}]}, r"image 2 \(b\.jpg\): another image has the id 1 too"),
        ({"images": [{**IMAGE, "file_name": "a\0.jpg"}]}, r"names the image 'a\\x00\.jpg', which holds '\\x00'"),
        ({"images": [{**IMAGE, "file_name": "\ud800.jpg"}]}, r"'\\ud800\.jpg', which holds '\\ud800'; rename"),
        ({"images": [IMAGE, {**IMAGE, "id": 2}]}, r"lists the image sub/a\.jpg more than once"),
        ({"categories": [{"id": 3, "name": "d\ud800g"}]}, r"class name 'd\\ud800g' holds '\\ud800'"),
        ({"images": [{"id": 1}]}, "image 1: file_name is None, expected a text"),
        ({"images": [{**IMAGE, "file_name": "../a.jpg"}]}, r"'\.\./a\.jpg', expected a name inside the image folder"),
        ({"images": [{**IMAGE, "file_name": "/a.jpg"}]}, "expected a name inside the image folder"),
        ({"categories": [DOG, {"id": 3, "name": "cat"}]}, "categories 'cat' and 'dog' share an id"),
        ({"categories": [{"id": 3}]}, "category 1: name is None, expected a text"),
        ({"annotations": []}, "has no objects, so its classes are unknown; name them with --classes"),
    ],
)
def test_bad_content(tmp_path, change, message):
    with pytest.raises(InputError, match=rf"my boxes\.json.*{message}"):
        load(tmp_path, **{"annotations": [entry()], **change})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [],\n "annotations" []}', "line 2: malformed JSON"),
        ("[]", "holds a list, as COCO results do"),
        ('{"images": [], "annotations": []}', "has no list of categories"),
        ('{"images": [], "annotations": [1], "categories": []}', "has no list of annotations"),
    ],
)
def test_files_of_another_format(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=message):
        load_coco(tmp_path / "x.json", tmp_path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"none\.json does not exist"):
        load_coco(tmp_path / "none.json", tmp_path)
    with pytest.raises(InputError, match=r"image folder .* does not exist"):
        load_coco(tmp_path / "none.json", tmp_path / "nowhere")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"x\.json is not UTF-8 text"):
        load_coco(tmp_path / "x.json", tmp_path)
    with pytest.raises(InputError, match=r"image folder .*x\.json is a file, expected a folder"):
        load_coco(tmp_path / "x.json", tmp_path / "x.json")


def test_a_number_of_more_digits_than_python_reads_is_one_sentence(tmp_path):
    (tmp_path / "x.json").write_text(f'{{"images": [{{"id": {"1" * 4301}}}]}}')
    with pytest.raises(InputError, match=r"x\.json cannot be read: .* 4301 digits"):
        load_coco(tmp_path / "x.json", tmp_path)


def test_an_image_set_without_any_object_has_the_classes_asked_for(tmp_path):
    database = load(tmp_path, classes=["dog", "cat"])
    assert database.classes == ("dog", "cat")
    assert len(database.annotation(0).boxes) == 0


def test_100_000_categories_take_seconds(tmp_path):
    """They took over two minutes; a test that compares every name with every other does not end in time here."""
    names = [f"class {number}" for number in range(100_000)]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 50, "width": 50}],
        "annotations": [{"id": k, "image_id": 1, "category_id": k, "bbox": [1, 1, 9, 9]} for k in range(100_000)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(names)],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    database = load_coco(tmp_path / "c.json", tmp_path)
    assert database.classes == tuple(names)
    assert database.annotation(0).classes.tolist() == list(range(100_000))
    for category in content["categories"]:
        category["id"] = 1
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="categories 'class 0' and 'class 1' share an id"):
        load_coco(tmp_path / "c.json", tmp_path)


def test_images_that_differ_in_their_suffix_only_keep_it(tmp_path):
    images = [{**IMAGE, "id": k, "file_name": name} for k, name in enumerate(("a.jpg", "a.png", "b.jpg"), 1)]
    database = load(tmp_path, [entry()], images)
    assert database.image_ids == ("a.jpg", "a.png", "b")
    assert database.coco_ids.images == {"a.jpg": 1, "a.png": 2, "b": 3}


def test_a_class_of_empty_boxes_is_said_to_be_left_out(tmp_path):
    cat = {"id": 4, "name": "cat"}
    annotations = [entry(), entry((1, 1, 0, 5), id=18, category_id=4), entry((), id=19, category_id=4)]
    database = load(tmp_path, annotations, categories=[DOG, cat])
    assert database.classes == ("dog",) and "'cat' with 2 in" in database.notes.lines()[-1]
    with pytest.raises(InputError, match=r"all 2 objects called 'cat' were left out, .*; they name cat \(2\)"):
        require_ground_truth(load(tmp_path, annotations, categories=[DOG, cat], classes=["cat", "dog"]))
