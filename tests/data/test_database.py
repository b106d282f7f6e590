"""The database object: order, subsets and images that contradict their annotation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.errors import InputError


def square_annotation(image_id: str) -> Annotation:
    none = np.zeros(0, bool)
    return Annotation((10, 10), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), none, none)


def database_at(folder, image_ids=("a", "b", "c")) -> ImageDatabase:
    return ImageDatabase("toys", ["ball"], image_ids, lambda i: folder / f"{i}.png", square_annotation)


def test_annotation_is_read_once(tmp_path):
    calls = []

    def read(image_id):
        calls.append(image_id)
        return square_annotation(image_id)

    database = ImageDatabase("toys", ["ball"], ["a", "b"], lambda i: tmp_path / i, read)
    assert calls == []
    assert database.annotation(1) is database.annotation(1)
    assert calls == ["b"]


def test_subset_keeps_the_given_order_and_is_named_after_it(tmp_path):
    database = database_at(tmp_path)
    assert database.subset(["c", "a"]).image_ids == ("c", "a")
    assert database.subset(["c", "a"]).name == database.subset(["c", "a"]).name
    assert database.subset(["c", "a"]).name != database.subset(["a", "c"]).name
    with pytest.raises(InputError, match="image d is not in toys"):
        database.subset(["a", "d"])


def test_digest_changes_with_any_file_and_not_with_names(tmp_path):
    for image_id in ("a", "b", "c"):
        Image.new("RGB", (10, 10)).save(tmp_path / f"{image_id}.png")
    whole = database_at(tmp_path).digest()
    assert database_at(tmp_path).subset(["a", "b", "c"], name="others").digest() == whole
    assert database_at(tmp_path, ("a", "b")).digest() != whole
    Image.new("RGB", (10, 10), "red").save(tmp_path / "c.png")
    assert database_at(tmp_path).digest() != whole


def test_refuses_what_cannot_be_a_database(tmp_path):
    with pytest.raises(InputError, match="image a more than once"):
        database_at(tmp_path, ["a", "b", "a"])
    with pytest.raises(InputError, match="no images"):
        database_at(tmp_path, [])


def test_image_of_another_size_than_annotated(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    Image.new("RGB", (12, 10)).save(tmp_path / "b.png")
    database = database_at(tmp_path)
    assert database.load_image(0).shape == (10, 10, 3)
    with pytest.raises(InputError, match=r"b\.png is 12 x 10 pixels but its annotation says 10 x 10"):
        database.load_image(1)


def test_a_name_leads_out_of_no_folder():
    database = ImageDatabase("voc_2007_../../elsewhere", ["a"], ["one"], Path, lambda image_id: None)
    assert database.name == "voc_2007_..%2F..%2Felsewhere" and database.subset(["one"], "..").name == "%2E%2E"
