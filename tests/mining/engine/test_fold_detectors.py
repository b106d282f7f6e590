"""Detectors of a class trained without a fold of the images."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.mining.engine.fold_detectors import outside_fold, train_without
from rcnn_svm.mining.rules import MiningRules
from tests.mining.engine.one_class import make_miner, scan, scan_blocks
from tests.toys import one_feature


def test_a_detector_for_each_image_by_hand():
    """The object is at 4 (image 0), negatives at 1 and 0 (image 0), 2 and 0.5 (image 1) and 1.5 (image 2)."""
    cache = one_feature()
    miner = make_miner(cache, rules=MiningRules(hard_thresh=-100, evict_thresh=-100))
    scan(miner, scan_blocks(cache, None)[0])
    assert miner.cache.negatives.tolist() == [[0, 1], [0, 2], [1, 0], [1, 1], [2, 0]]
    # The line is 1 at the object and -1 at the nearest negative: at 2, and without image 1 at 1.5.
    for fold, (weight, bias) in {0: (1, -3), 1: (0.8, -2.2), 2: (1, -3)}.items():
        found = train_without(miner, np.array([fold]))
        assert (found[0][0], found[1]) == pytest.approx((weight, bias), abs=1e-3)


def test_a_fold_with_all_positives_or_all_negatives_leaves_these_in():
    positive = np.array([True, True, False, False, False])
    image = np.array([0, 2, 0, 1, 1])
    assert outside_fold(image, positive, np.array([1])).tolist() == [True, True, True, False, False]
    assert outside_fold(image, positive, np.array([0, 1])).tolist() == [False, True, True, True, True]
    assert outside_fold(image, positive, np.array([0, 2])).tolist() == [True, True, False, True, True]
    assert outside_fold(image, positive, np.array([], int)).all()


def test_a_class_trained_without_the_images_of_a_fold():
    cache = one_feature()
    miner = make_miner(cache)
    scan(miner, scan_blocks(cache, None)[0])
    # The only object is in image 0, the only negative in image 1: neither can be left out.
    for fold in ([0], [1], [2]):
        weights, bias = train_without(miner, np.array(fold))
        assert (weights[0], bias) == pytest.approx((1, -3), abs=1e-3)
    assert miner.num_updates == 2, "the class itself stays as it is"
