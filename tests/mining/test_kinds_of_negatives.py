"""What hard negatives show, on regions whose overlaps are written down."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.errors import InputError
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.kinds_of_negatives import NegativeKind, negative_kinds
from tests.toys import toy_cache

CAT, COW, DOG = range(3)


def test_the_own_class_is_looked_at_first_then_the_others():
    cat = [1, 0, 0]  # the object, the first row of each image
    overlap = [cat, [0.1, 0.9, 0], [0.29, 0, 0], cat, [0.09, 0.3, 0.4], [0, 0.1, 0], [0.09, 0.09, 0], [0, 0, 0]]
    cache = toy_cache([3, 5], overlap=overlap, label=np.array([1, 0, 0, 1, 0, 0, 0, 0]))
    keys = np.array([[0, 1, 4], [0, 0, 1], [0, 0, 2], [0, 1, 1], [0, 1, 2], [0, 1, 3]])
    found = negative_kinds(cache, ("cat",), keys)
    assert found.kind.tolist() == [
        NegativeKind.BACKGROUND,
        NegativeKind.LOCALISATION,
        NegativeKind.LOCALISATION,
        NegativeKind.LOOK_ALIKE,
        NegativeKind.LOOK_ALIKE,
        NegativeKind.BACKGROUND,
    ]
    assert found.cls.tolist() == [-1, CAT, CAT, DOG, COW, -1]
    assert found.iou == pytest.approx([0, 0.1, 0.29, 0.4, 0.1, 0])
    assert found.words[0] == "background"
    assert found.words[2:4] == ["poor localisation: cat, IoU 0.29", "look-alike: dog, IoU 0.40"]


def test_classes_are_counted_as_the_model_counts_them():
    cache = toy_cache([3], overlap=[[1, 0, 0], [0.2, 0, 0.5], [0.5, 0.2, 0]], label=[1, 0, 0])
    found = negative_kinds(cache, ("dog", "cow"), np.array([[1, 0, 2], [1, 0, 1], [0, 0, 2]]))
    assert found.kind.tolist() == [NegativeKind.LOCALISATION, NegativeKind.LOOK_ALIKE, NegativeKind.LOOK_ALIKE]
    assert found.cls.tolist() == [COW, DOG, CAT]
    with pytest.raises(InputError, match="'bird' is not in toy"):
        negative_kinds(cache, ("bird",), np.array([[0, 0, 0]]))
    assert len(negative_kinds(cache, ("dog",), np.empty((0, 3), int)).kind) == 0


def test_kinds_of_a_training_s_support_agree_with_the_overlaps():
    cache = toy_cache([30] * 6, seed=3)
    miner = HardNegativeMiner(retrain_limit=20, svm_C=0.1).fit(cache)
    keys = miner.support_[0]
    found = negative_kinds(cache, miner.detector_.classes, keys)
    assert len(keys) > 20 and set(found.kind.tolist()) == set(NegativeKind)
    for (cls, image, row), kind, shown, iou in zip(keys.tolist(), found.kind, found.cls, found.iou, strict=True):
        overlap = cache.regions(image).overlap[row]
        assert (kind == NegativeKind.LOCALISATION) == (overlap[cls] >= np.float32(0.1)) and overlap[cls] < 0.3
        assert iou == (0 if shown < 0 else overlap[shown]) and (shown == cls) == (kind == NegativeKind.LOCALISATION)
        assert kind != NegativeKind.BACKGROUND or overlap.max() < 0.1


def test_where_no_object_is_a_region_is_background():
    # A region that was mined is a negative of the first class alone, which its overlap says.
    overlap = np.float32([[0, 1], [0, 1]])
    cache = toy_cache([2], label=np.zeros(2, int), overlap=overlap, classes=("cat", "dog"))
    kinds = negative_kinds(cache, ("cat", "dog"), np.array([[0, 0, 0], [0, 0, 1]]))
    assert kinds.words == ["background", "background"]
