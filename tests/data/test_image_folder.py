"""Paths of the machine that labelled lead to the files in the image folder, and never one file to two images."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from rcnn_svm.data import load_coco, load_csv
from rcnn_svm.errors import InputError


def load(folder, *names, source="csv"):
    """Open objects in images of these names, with pictures a.png, sub/b.png and sub/deep/c.jpg in the folder."""
    images = folder / "images"
    for name in ("a.png", "sub/b.png", "sub/deep/c.jpg"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40)).save(images / name)
    names = [name.replace("HERE", str(images)) for name in names]
    if source == "csv":
        rows = "".join(f'"{name}",1,2,3,4,dog\n' for name in names)
        (folder / "boxes.csv").write_text("image,x1,y1,x2,y2,class\n" + rows)
        return load_csv(folder / "boxes.csv", images)
    size = {"width": 50, "height": 40}
    content = {
        "images": [{"id": number, "file_name": name, **size} for number, name in enumerate(names)],
        "annotations": [{"image_id": k, "category_id": 1, "bbox": [1, 2, 3, 3]} for k in range(len(names))],
        "categories": [{"id": 1, "name": "dog"}],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    return load_coco(folder / "boxes.json", images)


@pytest.mark.parametrize("source", ["csv", "coco"])
@pytest.mark.parametrize(
    ("name", "image_id", "noted"),
    [
        ("a.png", "a", False),
        ("sub/b.png", "sub/b", False),
        ("sub\\b.png", "sub/b", False),
        ("HERE/sub/b.png", "sub/b", False),
        ("images/a.png", "a", True),
        ("images\\1/a.png", "a", True),
        ("images/sub/b.png", "sub/b", True),
        ("..\\..\\label-studio\\media\\upload\\4\\a.png", "a", True),
        ("../../label-studio/media/upload/4/a.png", "a", True),
        ("C:\\Users\\me\\photos\\a.png", "a", True),
        ("/home/other/photos/sub/b.png", "sub/b", True),
        ("c.jpg", "sub/deep/c", True),
        ("A.PNG", "a", True),
        ("b", "sub/b", True),
    ],
)
def test_a_name_leads_to_its_file(tmp_path, source, name, image_id, noted):
    database = load(tmp_path, name, source=source)
    assert database.image_ids == (image_id,) and database.load_image(0).shape == (40, 50, 3)
    lines = database.notes.lines()
    assert [line.partition(":")[0] for line in lines] == [
        "paths of another place, found by name in the image folder"
    ] * noted


def test_one_file_does_not_stand_for_two_images(tmp_path):
    """Labels of another a.png on this one would be wrong in silence."""
    with pytest.raises(
        InputError, match=r"names the images 'day1/a\.png' and 'day2/a\.png', of which .* holds only a\.png"
    ):
        load(tmp_path, "day1/a.png", "day2/a.png")
    assert load(tmp_path, "sub\\b.png", "sub/b.png").image_ids == ("sub/b",)


def test_a_name_that_several_files_have(tmp_path):
    (tmp_path / "images" / "other").mkdir(parents=True)
    Image.new("RGB", (50, 40)).save(tmp_path / "images" / "other" / "b.png")
    with pytest.raises(
        InputError, match=r"names the image 'b\.png', and .* holds .*b\.png and .*b\.png; write the name"
    ):
        load(tmp_path, "b.png")


def test_a_file_that_is_not_there_keeps_its_name(tmp_path):
    assert load(tmp_path, "a.png", "train/z.png").image_ids == ("a", "train/z")
    with pytest.raises(InputError, match=r"names the image '/far/z\.png', expected a name inside the image folder"):
        load(tmp_path, "/far/z.png")


def test_a_path_of_thousands_of_folders_is_not_searched_for(tmp_path):
    """A damaged table held one, and trying all its ends took minutes."""
    name = "a/" * 30_000 + "z.png"
    assert load(tmp_path, "a.png", name).image_ids == ("a", name.removesuffix(".png"))
