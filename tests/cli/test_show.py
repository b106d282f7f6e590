"""show: sheets of what the stages made, and what is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli.main import main
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.kinds_of_negatives import negative_kinds
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.sheets import detections_sheet, negatives_sheet, proposals_sheet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES


def _captions(figure):
    return [axis.get_xlabel() for axis in figure.axes if axis.get_images()]


def _proposals(pipeline, split):
    return next((pipeline.out / "proposals").glob(f"*{split}*.h5"))


def _images(pipeline, split):
    return load_voc(pipeline.voc, "2007", split, classes=SYNTHETIC_CLASSES)


def test_proposals_say_how_many_objects_they_hold(pipeline):
    images = _images(pipeline, "test")
    objects = [images.annotation(i).boxes for i in range(len(images))]
    far = np.array([[0, 0, 1, 1]], np.float32)  # which holds none
    proposals = ProposalSet(images.image_ids, [np.concatenate([far, boxes]) for boxes in objects], {})
    holds = [f"{name}: {len(boxes)} of {len(boxes)}" for name, boxes in zip(images.image_ids, objects, strict=True)]
    assert _captions(proposals_sheet(images, proposals)) == [f"{text} objects" for text in holds]
    none = _captions(proposals_sheet(images, proposals, top=1, images=[images.image_ids[2]]))
    assert none == [f"{images.image_ids[2]}: 0 of {len(objects[2])} objects"]


def test_negatives_are_the_hardest_of_the_record(pipeline, features):
    images, cache = _images(pipeline, "trainval"), FeatureCache.open(features["trainval"])
    detector, history = (load(pipeline.out / "model.h5") for load in (Detector.load, Detector.load_history))
    name = detector.classes[1]
    figure = negatives_sheet(images, cache, history, detector.classes, chosen=[name], count=4)
    scores = history["support_scores"][history["support"][:, 0] == 1]
    expected = [f"{score:+.2f}" for score in np.sort(scores)[::-1][:4]]
    captions = [caption.split("\n", 1) for caption in _captions(figure)]
    assert [score for score, _ in captions] == expected
    rows = np.flatnonzero(history["support"][:, 0] == 1)
    hardest = rows[np.argsort(-history["support_scores"][rows], kind="stable")][:4]
    words = negative_kinds(cache, detector.classes, history["support"][hardest]).words
    assert [lines.replace("\n", ": ") for _, lines in captions] == words


def test_detections_are_those_above_the_threshold(pipeline):
    images, found = _images(pipeline, "test"), Detections.load(pipeline.out / "detections.h5")
    none = detections_sheet(images, found, thresh=1e9, count=1)
    some = detections_sheet(images, found, thresh=-1e9, count=1)
    pixels = [figure.axes[0].get_images()[0].get_array() for figure in (none, some)]
    assert (pixels[0] != pixels[1]).mean() > 0.05


def test_the_command_writes_a_picture(pipeline, features, tmp_path):
    data = ["--voc", str(pipeline.voc), "--classes", pipeline.names]
    sheets = {
        "proposals.jpg": [str(_proposals(pipeline, "trainval")), "--top", "5", "--count", "2"],
        "negatives.png": [str(pipeline.out / "model.h5"), "--features", str(features["trainval"]), "--count", "2"],
        "film.jpg": [str(pipeline.out / "model.h5"), "--class", "crate", "--count", "2"],
        "detections.jpg": [str(pipeline.out / "detections.h5"), "--thresh", "0", "--count", "2"],
    }
    for name, argv in sheets.items():
        assert main(["show", name[:-4], *argv, *data, "--out", str(tmp_path / name)]) == 0
        with Image.open(tmp_path / name) as picture:
            assert picture.format == {"png": "PNG", "jpg": "JPEG"}[name[-3:]] and min(picture.size) > 100


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["negatives", "{moved}"], "give them with --features DIR"),
        (["film", "{model}"], "a film is of one class; give --class with one of ball, crate,"),
        (["film", "{model}", "--class", "unicorn"], "class 'unicorn' is not in the model"),
        (["film", "{model}", "--class", "ball", "--features", "{test}"], "was mined on the feature cache of"),
        (["negatives", "{model}", "--validate", "{test}"], "--validate is for film, not for negatives"),
        (["proposals", "{model}", "--thresh", "1"], "--thresh is for detections, not for proposals"),
        (["detections", "{model}", "--class", "ball"], "--class is for negatives and film, not for detections"),
        (["detections", "{detections}", "--image", "nine"], "image nine is not in"),
        (["detections", "{detections}", "--out", "sheet.pdf"], "is no name of a picture"),
        (["detections", "{model}"], "holds detector, expected detections"),
    ],
)
def test_what_is_refused(pipeline, features, tmp_path, capsys, argv, sentence):
    shutil.copy(pipeline.out / "model.h5", tmp_path)
    files = {name: pipeline.out / f"{name}.h5" for name in ("model", "detections")}
    words = [word.format(**files, moved=tmp_path / "model.h5", test=features["test"]) for word in argv]
    assert main(["show", *words, "--voc", str(pipeline.voc), "--classes", pipeline.names]) == 2
    assert sentence in capsys.readouterr().err


def test_a_class_that_the_model_lacks_and_a_cache_of_other_images_are_refused(pipeline, features):
    images = _images(pipeline, "trainval")
    detector, history = (load(pipeline.out / "model.h5") for load in (Detector.load, Detector.load_history))
    cache = FeatureCache.open(features["trainval"])
    with pytest.raises(InputError, match=r"class 'unicorn' is not in the model; it has"):
        negatives_sheet(images, cache, history, detector.classes, chosen=["unicorn"])
    with pytest.raises(InputError, match=r"it records other images"):
        negatives_sheet(images, FeatureCache.open(features["test"]), history, detector.classes)
