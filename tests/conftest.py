"""Fixtures that find the optional reference data, and skip what needs it where there is none."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.toy_world.voc_folder import write_synthetic_voc
from tests.toys import few_objects, make_scene

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _reference(variable: str, default: Path, what: str) -> Path:
    path = Path(os.environ.get(variable, default))
    if not path.is_dir():
        pytest.skip(f"{what} not found at {path}; set {variable} to its folder to run this test")
    return path


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Let Ctrl-C and a closed terminal arrive here and in processes begun here: shells and nohup have them ignored."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder with inputs and outputs of the original MATLAB code."""
    return _reference("RCNN_SVM_GOLDEN", SHARED / "golden", "golden files of the original code")


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """A VOCdevkit folder that holds VOC2007."""
    return _reference("RCNN_SVM_VOC", SHARED / "VOCdevkit", "PASCAL VOC 2007 images")


@pytest.fixture(scope="session")
def few() -> FeatureCache:
    """25 images of few objects to train on."""
    return few_objects(1, 25)


@pytest.fixture(scope="session")
def unseen() -> FeatureCache:
    """60 more images of the same kind."""
    return few_objects(2, 60)


@pytest.fixture(scope="session")
def scene():
    """The function that draws a picture: scene(height, width, seed=0)."""
    return make_scene


@pytest.fixture(scope="session")
def own_data(tmp_path_factory) -> SimpleNamespace:
    """The same synthetic images and boxes as a VOC devkit, COCO JSON, a folder of XML files, CSV and YOLO's labels.

    Files of one's own are a list each for all images, and one for the training and test images.
    """
    root = tmp_path_factory.mktemp("own")
    write_synthetic_voc(root / "VOCdevkit", num_train=12, num_test=4, seed=5)
    voc = root / "VOCdevkit" / "VOC2007"
    shutil.copytree(voc / "JPEGImages", root / "photos")
    shutil.copytree(voc / "Annotations", root / "annotations")
    splits = {split: (voc / "ImageSets/Main" / f"{split}.txt").read_text().split() for split in ("trainval", "test")}
    for name, ids in {"boxes": [*splits["trainval"], *splits["test"]], **splits}.items():
        _write_as_coco(root / f"{name}.json", [voc / "Annotations" / f"{i}.xml" for i in ids])
        _write_as_csv(root / f"{name}.csv", [voc / "Annotations" / f"{i}.xml" for i in ids])
    _write_as_yolo(root / "yolo", sorted((voc / "Annotations").iterdir()))
    return SimpleNamespace(
        root=root,
        voc=root / "VOCdevkit",
        images=root / "photos",
        xml=root / "annotations",
        coco=root / "boxes.json",
        csv=root / "boxes.csv",
        yolo=root / "yolo",
        splits=splits,
    )


def _objects(path: Path) -> list[tuple[str, list[int], bool]]:
    """Return name, VOC box and difficult flag of every object of an annotation file."""
    return [
        (
            element.findtext("name"),
            [int(element.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")],
            element.findtext("difficult") == "1",
        )
        for element in ElementTree.parse(path).iter("object")
    ]


def _write_as_coco(path: Path, annotations: list[Path]) -> None:
    names = sorted({name for file in annotations for name, _, _ in _objects(file)})
    images, objects = [], []
    for number, file in enumerate(annotations, 100):
        size = ElementTree.parse(file).find("size")
        width, height = int(size.findtext("width")), int(size.findtext("height"))
        images.append({"id": number, "file_name": f"{file.stem}.jpg", "width": width, "height": height})
        for name, (x1, y1, x2, y2), difficult in _objects(file):
            bbox = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
            entry = {"id": len(objects) + 1, "image_id": number, "category_id": 7 + names.index(name), "bbox": bbox}
            objects.append({**entry, "iscrowd": int(difficult)})
    # Listed out of order, with one that has no objects.
    categories = [{"id": 7 + k, "name": name} for k, name in reversed(list(enumerate(names)))]
    categories.append({"id": 1, "name": "nothing"})
    path.write_text(json.dumps({"images": images, "annotations": objects[::-1], "categories": categories}))


def _write_as_csv(path: Path, annotations: list[Path]) -> None:
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "x1", "y1", "x2", "y2", "class", "difficult"])
        for file in annotations:
            rows = [[*(value - 1 for value in box), name, int(hard)] for name, box, hard in _objects(file)]
            writer.writerows([f"{file.stem}.jpg", *row] for row in rows or [["", "", "", "", "", ""]])


def _write_as_yolo(folder: Path, annotations: list[Path]) -> None:
    folder.mkdir()
    names = sorted({name for file in annotations for name, _, _ in _objects(file)})
    (folder / "classes.txt").write_text("\n".join(names))
    for file in annotations:
        size = ElementTree.parse(file).find("size")
        width, height = int(size.findtext("width")), int(size.findtext("height"))
        lines = [
            f"{names.index(name)} {(x1 + x2 - 1) / 2 / width:.6f} {(y1 + y2 - 1) / 2 / height:.6f} "
            f"{(x2 - x1 + 1) / width:.6f} {(y2 - y1 + 1) / height:.6f}\n"
            for name, (x1, y1, x2, y2), _ in _objects(file)
        ]
        (folder / f"{file.stem}.txt").write_text("".join(lines))


@pytest.fixture(scope="session")
def devkit(tmp_path_factory) -> Path:
    """A folder with a small VOCdevkit and proposals of its images, for Fast R-CNN; not to be changed."""
    # Here and below imported when used, as most tests need no torch.
    from tests.small_networks import image_set_with_proposals

    return image_set_with_proposals(tmp_path_factory.mktemp("images"))


@pytest.fixture
def small_roi_network() -> Iterator[None]:
    """Have the backbone alexnet be a small network that pools RoIs."""
    from tests.small_networks import small_roi_networks

    with small_roi_networks():
        yield
