"""The proposer of a ranker: whole pixels, limits, and the network that the ranker was trained with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rcnn_svm.errors import InputError
from rcnn_svm.features.map_network import load_image_maps
from rcnn_svm.features.ranked_proposer import RankedProposer
from rcnn_svm.proposals.methods import make_proposer
from rcnn_svm.proposals.ranker import ProposalRanker

IMAGE = np.random.default_rng(0).integers(0, 255, (70, 100, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def maps():
    return load_image_maps("lite0", "random", threads=1)


@pytest.fixture(scope="module")
def ranker(maps):
    rng = np.random.default_rng(1)
    dim = 2 * sum(len(values) for values in maps(IMAGE)) + 16
    shapes = ((3, dim, 4), (3, 4), (3, 4, 5), (3, 5))
    return ProposalRanker(*(rng.normal(0, 0.1, shape).astype(np.float32) for shape in shapes), maps.settings)


def test_boxes_are_the_rankers_in_whole_pixels_within_limits(ranker, maps):
    found = RankedProposer(ranker, maps)(IMAGE)
    expected = np.floor(ranker.propose(maps(IMAGE), IMAGE.shape[:2]) + 0.5)
    assert len(np.unique(found, axis=0)) == len(found) > 50
    assert [tuple(box) for box in found] == list(dict.fromkeys(map(tuple, expected)))
    np.testing.assert_array_equal(RankedProposer(ranker, maps, max_boxes=9)(IMAGE), found[:9])
    assert RankedProposer(ranker, maps, max_boxes=9).settings["max_boxes"] == 9


def test_the_network_is_loaded_as_recorded_once_for_all_threads(ranker, maps):
    proposer = RankedProposer(ranker, threads=2)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(proposer, [IMAGE, IMAGE]):
            np.testing.assert_array_equal(found, RankedProposer(ranker, maps)(IMAGE))


def test_settings_name_the_ranker_but_do_not_hold_it(ranker, maps):
    settings = RankedProposer(ranker, maps).settings
    assert settings["ranker"] == ranker.digest
    with pytest.raises(InputError, match=r"made by a ranker.*assemble"):
        make_proposer(settings)
