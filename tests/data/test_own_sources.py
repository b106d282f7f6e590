"""The same images and boxes as VOC devkit, COCO JSON, XML folder and CSV are the same image set."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.data import load_coco, load_csv, load_voc, load_xml_folder
from rcnn_svm.data.image_folder import unused_images
from rcnn_svm.errors import InputError
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES

LOADERS = {
    "coco": lambda data, **options: load_coco(data.coco, data.images, **options),
    "csv": lambda data, **options: load_csv(data.csv, data.images, **options),
    "xml": lambda data, **options: load_xml_folder(data.xml, data.images, **options),
}


@pytest.fixture(params=LOADERS)
def load(request, own_data):
    """A loader of the same data from one of the sources."""
    return lambda **options: LOADERS[request.param](own_data, **options)


def assert_equal_annotations(ours, theirs):
    """The same objects, in any order."""
    orders = [np.lexsort((*a.boxes.T, a.classes)) for a in (ours, theirs)]
    for field in ("boxes", "classes", "difficult"):
        a, b = (getattr(annotation, field)[order] for annotation, order in zip((ours, theirs), orders, strict=True))
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert ours.image_size == theirs.image_size


def test_one_box_by_hand(tmp_path):
    """Columns 2 to 11 and rows 3 to 22, counted from 0: XML counts from 1, COCO has width and height."""
    Image.new("RGB", (30, 40)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("image,x1,y1,x2,y2,class\na.png,2,3,11,22,cat\n")
    box = "<xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>23</ymax>"
    size = "<size><width>30</width><height>40</height></size>"
    item = f"<object><name>cat</name><bndbox>{box}</bndbox></object>"
    (tmp_path / "a.xml").write_text(f"<annotation><filename>a.png</filename>{size}{item}</annotation>")
    image = {"id": 1, "file_name": "a.png", "width": 30, "height": 40}
    entry = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [2, 3, 10, 20]}
    content = {"images": [image], "annotations": [entry], "categories": [{"id": 5, "name": "cat"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    data = SimpleNamespace(csv=tmp_path / "a.csv", xml=tmp_path, coco=tmp_path / "a.json", images=tmp_path)
    for read in LOADERS.values():
        database = read(data)
        assert (database.classes, database.image_ids) == (("cat",), ("a",))
        assert database.annotation(0).boxes.tolist() == [[2, 3, 11, 22]]


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_annotations_are_those_of_the_devkit(load, own_data, split):
    voc = load_voc(own_data.voc, split=split, classes=SYNTHETIC_CLASSES)
    ours = load(classes=SYNTHETIC_CLASSES).subset(voc.image_ids)
    assert ours.classes == voc.classes
    sizes = [len(voc.annotation(i).boxes) for i in range(len(voc))]
    assert sum(sizes)
    for i in range(len(voc)):
        assert_equal_annotations(ours.annotation(i), voc.annotation(i))
        np.testing.assert_array_equal(ours.load_image(i), voc.load_image(i))


def test_there_are_images_without_objects_and_difficult_ones(own_data):
    database = load_csv(own_data.csv, own_data.images)
    annotations = [database.annotation(i) for i in range(len(database))]
    assert any(not len(a.boxes) for a in annotations) and any(a.difficult.any() for a in annotations)


def test_classes_are_the_names_that_occur(load):
    database = load()
    assert database.classes == tuple(sorted(SYNTHETIC_CLASSES))
    assert len(database) == 16
    some = load(classes=["ring", "ball"])
    assert some.classes == ("ring", "ball")
    for i in range(len(database)):
        names = [database.classes[k] for k in database.annotation(i).classes]
        chosen = sorted(name for name in names if name in ("ring", "ball"))
        assert sorted(some.classes[k] for k in some.annotation(i).classes) == chosen


def test_ids_restrict_and_order(load):
    database = load(ids=["000005", "000002"])
    assert database.image_ids == ("000005", "000002")
    assert database.image_path(0).name == "000005.jpg"


def test_unknown_names_and_names_given_twice(load):
    with pytest.raises(InputError, match=r"no object in .* is called 'dragon'; the names there are \w+ \(\d+\), "):
        load(classes=["dragon"])
    with pytest.raises(InputError, match="'ball' is given more than once"):
        load(classes=["ball", "ball"])
    assert load(classes=["ball", "dragon"]).classes == ("ball", "dragon")


def test_read_names_are_counted_with_those_left_out(load):
    read, names = load(classes=["ball"]).count_names()
    assert set(names) == set(SYNTHETIC_CLASSES)
    assert read.split()[1] in ("annotations", "rows", "annotation")


def test_unused_images_are_found(own_data):
    database = load_csv(own_data.csv, own_data.images)
    assert unused_images(database, own_data.images) == []
    assert unused_images(database.subset(database.image_ids[1:]), own_data.images) == ["000001.jpg"]
