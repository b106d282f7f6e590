"""Detectors of small networks with all parts, and an image to look at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.features.map_network import load_image_maps
from rcnn_svm.proposals.methods import RANKED
from rcnn_svm.proposals.ranker import ProposalRanker
from tests.small_networks import small_pooled_network

CLASSES = ("cat", "dog", "Köter")


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """(70, 100, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (70, 100, 3), np.uint8)


@pytest.fixture(scope="session")
def ranker(image) -> ProposalRanker:
    """Random stages on the maps of the network `pooled`."""
    with small_pooled_network():
        maps = load_image_maps("pooled", "random", runtime="torch", device="cpu")
        dim = 2 * sum(len(values) for values in maps(image)) + 16
    rng = np.random.default_rng(1)
    shapes = ((3, dim, 4), (3, 4), (3, 4, 5), (3, 5))
    return ProposalRanker(*(rng.normal(0, 0.1, shape).astype(np.float32) for shape in shapes), maps.settings)


@pytest.fixture(scope="session")
def make_detector(ranker) -> Callable[..., Detector]:
    """make_detector(context, scene, recipe, **more): random SVMs and box regression on layer `multi` of `pooled`."""

    def make(context: int | None = None, scene: bool = False, recipe: Recipe | None = None, **more) -> Detector:
        with small_pooled_network():
            backbone = load_backbone("pooled", "multi", "random")
        dim = backbone.dim + ((context is not None) + scene) * backbone.last_dim
        proposals = {"method": RANKED, "max_boxes": 30, "ranker": ranker.digest}
        settings = backbone.feature_settings(context=context, scene=scene).with_proposals(proposals).to_json()
        rng = np.random.default_rng(2)
        given = {"feat_norm_mean": 1.5, "feature_settings": settings}
        regressor = BoxRegressor.identity(CLASSES[::-1], dim, **given, used=[True, False, True])
        regressor.Beta[:] = rng.normal(0, 0.01, regressor.Beta.shape)
        regressor.mu[:], regressor.T_inv[:] = rng.normal(0, 0.1, (3, 4)), rng.normal(size=(3, 4, 4))
        W = rng.normal(0, 0.1, (dim, 3)).astype(np.float32)
        parts = {"bbox_regressor": regressor, "ranker": ranker, "recipe": recipe or Recipe()}
        return Detector(CLASSES, W, np.float32([-0.5, 0, 0.5]), **{**given, **parts, **more})

    return make
