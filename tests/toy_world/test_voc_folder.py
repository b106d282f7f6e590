"""The synthetic database: reproducible, complete or absent, and fit for region proposals."""

from __future__ import annotations

import errno
import hashlib
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.data.checks import require_ground_truth
from rcnn_svm.data.voc import load_voc
from rcnn_svm.errors import InputError
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc

NUM_TRAIN, NUM_TEST = 24, 8


def digests(folder) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def toy_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("toys")
    write_synthetic_voc(root, num_train=NUM_TRAIN, num_test=NUM_TEST, seed=3)
    return root


def test_a_world_of_three_images_by_hand(tmp_path):
    write_synthetic_voc(tmp_path, num_train=2, num_test=1)
    folder = tmp_path / "VOC2007"
    names = {split: (folder / f"ImageSets/Main/{split}.txt").read_text().split() for split in ("trainval", "test")}
    assert names == {"trainval": ["000001", "000002"], "test": ["000003"]}
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        assert sorted(path.name for path in (folder / kind).iterdir()) == [f"00000{n}.{suffix}" for n in (1, 2, 3)]


def test_layout_and_content(toy_root):
    train = load_voc(toy_root, split="trainval", classes=SYNTHETIC_CLASSES)
    test = load_voc(toy_root, split="test", classes=SYNTHETIC_CLASSES)
    assert (len(train), len(test)) == (NUM_TRAIN, NUM_TEST)
    assert not set(train.image_ids) & set(test.image_ids)
    require_ground_truth(train)
    flags = (toy_root / "VOC2007/ImageSets/Main/star_trainval.txt").read_text().split()
    star = SYNTHETIC_CLASSES.index("star")
    for i, (image_id, flag) in enumerate(zip(flags[::2], flags[1::2], strict=True)):
        difficult = train.annotation(i).difficult[train.annotation(i).classes == star]
        assert (image_id, int(flag)) == (train.image_ids[i], -1 if not len(difficult) else int(not difficult.all()))
    annotations = [database.annotation(i) for database in (train, test) for i in range(len(database))]
    assert any(len(a.boxes) == 0 for a in annotations)
    difficult = np.concatenate([a.difficult for a in annotations])
    assert 0 < difficult.mean() < 0.4
    for i in range(len(train)):
        image = train.load_image(i)
        assert 320 <= image.shape[1] <= 400 and 240 <= image.shape[0] <= 320
        assert image.std(axis=(0, 1)).min() > 5


def test_same_seed_same_bytes_whatever_the_threads(toy_root, tmp_path):
    before = cv2.getNumThreads()
    cv2.setNumThreads(1 if before > 1 else 2)
    try:
        write_synthetic_voc(tmp_path, num_train=NUM_TRAIN, num_test=NUM_TEST, seed=3)
    finally:
        cv2.setNumThreads(before)
    assert digests(tmp_path / "VOC2007") == digests(toy_root / "VOC2007")


def test_an_image_depends_only_on_seed_and_number(toy_root, tmp_path):
    write_synthetic_voc(tmp_path / "same", num_train=2, num_test=1, seed=3, year="2012")
    write_synthetic_voc(tmp_path / "other", num_train=2, num_test=1, seed=4)
    long, short = digests(toy_root / "VOC2007"), digests(tmp_path / "same" / "VOC2012")
    other = digests(tmp_path / "other" / "VOC2007")
    for path in ("JPEGImages/000002.jpg", "Annotations/000002.xml"):
        assert short[path] == long[path] != other[path]
    # The first test image follows the training images.
    assert short["JPEGImages/000003.jpg"] == long[f"JPEGImages/{NUM_TRAIN + 1:06d}.jpg"]


def test_a_complete_database_is_left_alone(tmp_path):
    write_synthetic_voc(tmp_path, num_train=1, num_test=1)
    image = tmp_path / "VOC2007/JPEGImages/000001.jpg"
    image.write_bytes(b"mark")
    write_synthetic_voc(tmp_path, num_train=1, num_test=1)
    assert image.read_bytes() == b"mark"
    with pytest.raises(InputError, match=r"other settings .seed: 0 there, 1 wanted"):
        write_synthetic_voc(tmp_path, num_train=1, num_test=1, seed=1)
    assert image.read_bytes() == b"mark"


@pytest.mark.parametrize("marker", [None, "not json", json.dumps({"version": 0})])
def test_a_foreign_folder_is_never_touched(tmp_path, marker):
    (tmp_path / "VOC2007").mkdir()
    if marker is not None:
        (tmp_path / "VOC2007/synthetic.json").write_text(marker)
    before = digests(tmp_path)
    with pytest.raises(InputError, match=r"choose another folder|give another --out"):
        write_synthetic_voc(tmp_path, num_train=1, num_test=1)
    assert digests(tmp_path) == before


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "No space left on device"), InputError)],
)
def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, failure, raised):
    save = Image.Image.save

    saved = []

    def fail_at_the_second(self, *args, **kwargs):
        saved.append(self)
        if len(saved) == 2:
            raise failure
        save(self, *args, **kwargs)

    # The world is made from numbers alone: nothing is handed in that could fail at an exact moment.
    monkeypatch.setattr(Image.Image, "save", fail_at_the_second)
    with pytest.raises(raised):
        write_synthetic_voc(tmp_path, num_train=2, num_test=1)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write_synthetic_voc(tmp_path, num_train=2, num_test=1)
    assert len(load_voc(tmp_path, classes=SYNTHETIC_CLASSES)) == 2


def test_a_killed_run_is_not_taken_for_complete(tmp_path):
    # What SIGKILL leaves: the temporary folder, half full.
    (tmp_path / ".VOC2007.abc" / "VOC2007" / "JPEGImages").mkdir(parents=True)
    write_synthetic_voc(tmp_path, num_train=1, num_test=1)
    assert load_voc(tmp_path, classes=SYNTHETIC_CLASSES).load_image(0).dtype == np.uint8


def test_settings_and_places_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match="at least 1"):
        write_synthetic_voc(tmp_path, num_train=0, num_test=1)
    with pytest.raises(InputError, match="seed"):
        write_synthetic_voc(tmp_path, num_train=1, num_test=1, seed=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_synthetic_voc(tmp_path / "file", num_train=1, num_test=1)


def test_selective_search_finds_the_objects(toy_root):
    database = load_voc(toy_root, classes=SYNTHETIC_CLASSES)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    best = []
    for i in range(8):
        annotation = database.annotation(i)
        search.setBaseImage(database.load_image(i)[..., ::-1].copy())
        search.switchToSelectiveSearchFast()
        x, y, w, h = search.process().astype(np.float64).T
        boxes = np.stack([x, y, x + w - 1, y + h - 1], axis=1)[(w >= 20) & (h >= 20)]
        best.append(iou_matrix(annotation.boxes[~annotation.difficult], boxes).max(axis=1, initial=0))
    assert (np.concatenate(best) >= 0.5).mean() > 0.85
