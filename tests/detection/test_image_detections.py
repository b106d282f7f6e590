"""What was found in one image, as objects, a picture, JSON and another package's detections."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from rcnn_svm.detection.image_detections import FoundObject, ImageDetections
from rcnn_svm.errors import InputError
from rcnn_svm.reports.pictures import draw_detections

IMAGE = np.full((60, 80, 3), 200, np.uint8)


@pytest.fixture
def found():
    boxes = np.float32([[1, 2, 30, 40], [5.5, 6, 79, 59], [0, 0, 9, 9]])
    return ImageDetections(np.int32([1, 0, 1]), boxes, np.float32([2, 0.5, -1]), ("cat", "dog"), IMAGE)


def test_iteration_yields_objects_by_name(found):
    assert len(found) == 3 and list(found)[1] == FoundObject("cat", 0.5, (5.5, 6.0, 79.0, 59.0))
    assert [one.name for one in found] == ["dog", "cat", "dog"]
    assert [one.name for one in ImageDetections(found.cls, found.boxes, found.scores)] == ["1", "0", "1"]


def test_a_choice_keeps_names_and_image(found):
    above = found.above(np.array([1, -2]))
    assert [one.score for one in above] == [2, -1] and above.image is IMAGE and above.classes == found.classes


def test_the_picture_is_that_of_reports(found):
    expected = np.asarray(draw_detections(IMAGE, found, found.classes))
    np.testing.assert_array_equal(np.asarray(found.draw()), expected)
    with pytest.raises(InputError, match="came without their image"):
        ImageDetections(found.cls, found.boxes, found.scores).draw()


def test_a_dictionary_is_json(found):
    content = json.loads(json.dumps(found.to_dict()))
    assert content["width"] == 80 and content["height"] == 60
    assert content["objects"][0] == {"class": "dog", "score": 2.0, "box": [1, 2, 30, 40]}
    assert found.above(9).to_dict()["objects"] == []


def test_supervision_takes_it(found):
    supervision = pytest.importorskip("supervision")
    theirs = found.to_supervision()
    assert isinstance(theirs, supervision.Detections) and len(theirs) == 3
    np.testing.assert_array_equal(theirs.xyxy, found.boxes + np.array([0, 0, 1, 1]))
    assert theirs.data["class_name"].tolist() == ["dog", "cat", "dog"] and theirs.class_id.tolist() == [1, 0, 1]
    assert theirs.confidence.tolist() == [2, 0.5, -1]
    assert len(found.above(9).to_supervision()) == 0


def test_without_supervision_a_sentence_says_so(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match="pip install supervision"):
        found.to_supervision()
