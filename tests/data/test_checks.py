"""A class without ground truth is told before anything is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rcnn_svm.data.checks import require_ground_truth
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.errors import InputError


def database_of(classes, *labels_per_image, difficult=False) -> ImageDatabase:
    def read(image_id):
        labels = np.array(labels_per_image[int(image_id)], np.int64)
        boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (len(labels), 1))
        return Annotation((10, 10), boxes, labels, np.full(len(labels), difficult), np.zeros(len(labels), bool))

    return ImageDatabase("toy_train", classes, [str(i) for i in range(len(labels_per_image))], Path, read)


def test_names_the_class_and_what_there_is():
    with pytest.raises(InputError) as caught:
        require_ground_truth(database_of(["bicycle", "chair", "person"], [1, 2], [2], []))
    assert str(caught.value) == (
        "class 'bicycle' has no ground truth in toy_train: none of the annotations of 3 images names it; "
        "they name person (2), chair (1); pass --classes with the ones you want"
    )


def test_silent_when_every_class_has_an_object():
    require_ground_truth(database_of(["dog", "cat"], [0], [], [1, 1]))


def test_difficult_objects_count():
    require_ground_truth(database_of(["dog"], [0], difficult=True))


def test_names_all_empty_classes():
    with pytest.raises(InputError, match=r"classes 'a', 'b' have no ground truth .* they name nothing"):
        require_ground_truth(database_of(["a", "b"], [], []))
