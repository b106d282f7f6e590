"""Class names: lists of them, and their place in file names."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from rcnn_svm.artefacts.files import file_name
from rcnn_svm.data import load_coco, load_csv
from rcnn_svm.data.class_names import read_class_list, write_class_list


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("disc,bar", ["disc", "bar"]),
        (" disc , bar,", ["disc", "bar"]),
        ('"disc, red", bar', ["disc, red", "bar"]),
        ('"12"" disc",bar', ['12" disc', "bar"]),
        ("", []),
    ],
)
def test_a_list_of_names_may_quote_them(text, names):
    assert read_class_list(text) == names
    assert read_class_list(write_class_list(names)) == names


def test_a_usual_name_is_itself_in_a_file_name():
    for name in ("dog", "Käfer 🐞", "disc, red", ".hidden", "x" * 180):
        assert file_name(name) == name
    assert file_name("../a\\b") == "..%2Fa%5Cb"
    assert len(file_name("圆" * 200).encode()) <= 180


@pytest.mark.parametrize("name", ["a,b", "dog/cat"])
def test_csv_and_coco_take_any_name(tmp_path, name):
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text(f'image,x1,y1,x2,y2,class\na.png,1,2,3,4,"{name}"\n')
    image = {"id": 1, "file_name": "a.png", "width": 50, "height": 40}
    entry = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [2, 3, 10, 20]}
    content = {"images": [image], "annotations": [entry], "categories": [{"id": 3, "name": name}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    for database in (load_csv(tmp_path / "a.csv", tmp_path), load_coco(tmp_path / "a.json", tmp_path)):
        assert database.classes == (name,) and len(database.annotation(0).boxes) == 1
