"""`run --negatives`: images without objects are trained on, and never tested on."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES
from tests.cli.command import command

QUICK = ["--preset", "paper", "--method", "sliding", "--max-boxes", "20", "--crop-size", "32", "--pictures", "0"]


def noise(seed):
    return np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8)


@pytest.fixture
def empty(tmp_path):
    """A folder of images without objects, one of them in a sub-folder."""
    folder = tmp_path / "empty"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "more/a")):
        Image.fromarray(noise(number)).save(folder / f"{name}.png")
    return folder


def run(own_data, out, *words):
    source = ["--csv", own_data.csv, "--images", own_data.images, "--jobs", 1]
    return command("run", *source, *QUICK, "--out", out, *words)


def test_images_without_objects_are_trained_on_and_not_tested_on(own_data, empty, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(own_data, out) == 0
    plain, tested = Detector.load_history(out / "model.h5"), Detections.load(out / "detections.h5").image_ids
    ids = (out / "test_ids.txt").read_text()
    capsys.readouterr()
    assert run(own_data, out, "--negatives", empty) == 0
    told = capsys.readouterr()
    assert f"negatives: {empty}, 3 images without objects" in told.out
    assert "has no objects in" not in told.err
    more = Detector.load_history(out / "model.h5")
    number = len(plain["image_ids"])
    assert list(more["image_ids"]) == [*plain["image_ids"], "negatives/a", "negatives/b", "negatives/more/a"]
    assert (more["added"][:, 2] >= number).any()
    cache = FeatureCache.open(out / "features" / "negatives.lite0")
    assert cache.num_rows == 60 and not any(block.gt.any() for block in cache.blocks())
    shown = [out / "model.h5", "--csv", own_data.csv, "--images", own_data.images, "--negatives-images", empty]
    assert command("report", *shown, "--out", tmp_path / "page") == 0
    told = capsys.readouterr().out
    assert f"{number + 3} images" in told and "no crop" not in told
    assert command("show", "negatives", *shown, "--out", tmp_path / "sheet.png") == 0
    # What is tested on stays as it was.
    assert Detections.load(out / "detections.h5").image_ids == tested
    assert (out / "test_ids.txt").read_text() == ids
    # And without them the detector is the first again.
    assert run(own_data, out) == 0
    assert command("report", *shown, "--out", tmp_path / "page") == 2
    assert f"--negatives-images {empty}: boxes_train has no images of --negatives" in capsys.readouterr().err
    again = Detector.load_history(out / "model.h5")
    np.testing.assert_array_equal(again["negatives"], plain["negatives"])


def test_frames_of_a_video_are_negatives(own_data, tmp_path):
    video, out = tmp_path / "yard.avi", tmp_path / "run"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 5, (120, 90))
    for frame in range(13):
        writer.write(noise(frame))
    writer.release()
    assert run(own_data, out, "--negatives", video) == 0
    [folder] = (out / "frames").iterdir()
    assert [path.name for path in sorted(folder.iterdir())] == [f"{frame:07d}.jpg" for frame in (0, 5, 10)]
    assert list(Detector.load_history(out / "model.h5")["image_ids"][-3:]) == [
        f"negatives/{frame:07d}" for frame in (0, 5, 10)
    ]
    assert set(Detector.load(out / "model.h5").classes) <= set(SYNTHETIC_CLASSES)


def test_an_image_with_objects_is_no_negative(own_data, empty, tmp_path, capsys):
    labelled = own_data.csv.read_text().splitlines()[1].split(",")[0]
    [source] = [path for path in own_data.images.iterdir() if path.name == labelled or path.stem == labelled]
    shutil.copy(source, empty / "copied.jpg")
    assert run(own_data, tmp_path / "run", "--negatives", empty) == 2
    error = capsys.readouterr().err
    assert "is labelled and shows objects" in error and "copied.jpg" in error
    assert run(own_data, tmp_path / "run", "--negatives", tmp_path / "none") == 2
    assert "must be a folder of images or a video" in capsys.readouterr().err
