"""What is found odd about labels: each kind in a set that has it, nothing in one that has none."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.data import Annotation, ImageDatabase
from rcnn_svm.data.findings import label_findings, labels_digest

SIZE = (100, 200)


@pytest.fixture
def image_set(tmp_path):
    """A function that returns an image set of given objects, (class, x1, y1, x2, y2) by image; every image differs."""

    def make(name="photos", classes=("cat", "dog"), **images):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for image_id in images:
            pixels = np.random.default_rng(len(list(tmp_path.rglob("*.png")))).integers(0, 256, (*SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{image_id}.png")

        def read(image_id):
            objects = images[image_id]
            none = np.zeros(len(objects), bool)
            boxes = np.array([box for _, *box in objects], np.float32).reshape(-1, 4)
            return Annotation(SIZE, boxes, np.array([classes.index(cls) for cls, *_ in objects], int), none, none)

        return ImageDatabase(name, classes, tuple(images), lambda image_id: folder / f"{image_id}.png", read)

    return make


def found_in(sides, unlabelled=()):
    return {finding.kind: list(finding.places) for finding in label_findings(sides, unlabelled).findings}


def test_counts_and_nothing_odd(image_set):
    photos = image_set(
        a=[("cat", 0, 0, 9, 9), ("cat", 20, 0, 29, 9), ("dog", 0, 0, 49, 49)], b=[], c=[("cat", 0, 0, 9, 9)]
    )
    found = label_findings({"all": photos})
    assert found.findings == ()
    (counts,) = found.sides.values()
    assert (counts.images, counts.without_objects, counts.objects, counts.images_with) == (3, 1, (3, 1), (2, 1))
    record = json.loads(json.dumps(found.record()))
    assert record["sides"]["all"]["classes"]["cat"] == {"objects": 3, "images": 2} and record["findings"] == []


def test_names_that_are_alike(image_set):
    classes = ("Cat", "dog", "cat", "traffic light", "Traffic_Light")
    photos = image_set(classes=classes, a=[("Cat", 0, 0, 9, 9), ("cat", 20, 0, 29, 9), ("Cat", 50, 0, 59, 9)])
    assert found_in({"all": photos}) == {
        "alike": ["'Cat' (2) beside 'cat' (1)", "'traffic light' (0) beside 'Traffic_Light' (0)"]
    }


def test_objects_labelled_twice(image_set):
    # 19 of 20 columns are common: 0.95; 17 of 20, 0.85, are not enough.
    photos = image_set(a=[("cat", 0, 0, 19, 9), ("dog", 0, 0, 18, 9)], b=[("cat", 0, 0, 19, 9), ("cat", 0, 0, 16, 9)])
    assert found_in({"all": photos}) == {"duplicates": ["a: cat and dog, IoU 0.95"]}


def test_boxes_of_one_pixel_and_of_an_odd_shape(image_set):
    usual = [("cat", 10 * k, 0, 10 * k + 9, 9) for k in range(5)]
    odd = [("cat", 0, 20, 69, 29), ("cat", 100, 20, 159, 29), ("cat", 3, 30, 3, 49)]
    assert found_in({"all": image_set(a=usual, b=odd)}) == {
        "pixel": ["b: cat, 1 x 20 pixels at 3, 30"],
        # Seven times as wide as high; six times is still usual.
        "shape": ["b: cat, 70 x 10 pixels at 0, 20"],
    }
    # Where all are long, that is the usual shape.
    poles = [("dog", 0, 10 * k, 69, 10 * k + 9) for k in range(6)]
    assert found_in({"all": image_set("poles", a=[*poles, *usual[:1]])}) == {}


def test_identical_images_on_one_side_and_on_both(image_set, tmp_path):
    train, test = image_set("train", a=[], b=[], c=[], d=[]), image_set("test", e=[], f=[])
    shutil.copy(tmp_path / "train/a.png", tmp_path / "train/b.png")
    shutil.copy(tmp_path / "train/c.png", tmp_path / "test/f.png")
    assert found_in({"train": train, "test": test}) == {
        "both_sides": ["c (train), f (test)"],
        "identical": ["a (train), b (train)"],
    }


def test_unlabelled_images_are_passed_on(image_set):
    assert found_in({"all": image_set(a=[])}, ["photos/x.png"]) == {"unlabelled": ["photos/x.png"]}


def test_the_digest_changes_with_any_label(image_set):
    first = [("cat", 0, 0, 9, 9)]
    digests = [labels_digest(image_set(a=objects)) for objects in (first, first, [("dog", *first[0][1:])], [])]
    assert digests[0] == digests[1] and len(set(digests)) == 3
