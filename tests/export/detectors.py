"""Detectors of small networks with all parts: random SVMs, box regression and a ranker."""

from __future__ import annotations

import numpy as np

from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.features.map_network import load_image_maps
from rcnn_svm.proposals.methods import RANKED
from rcnn_svm.proposals.ranker import ProposalRanker
from tests.small_networks import small_pooled_network

CLASSES = ("cat", "dog", "Köter")


def random_image() -> np.ndarray:
    """Return (70, 100, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (70, 100, 3), np.uint8)


def make_ranker() -> ProposalRanker:
    """Return random stages on the maps of the network `pooled`."""
    with small_pooled_network():
        maps = load_image_maps("pooled", "random", runtime="torch", device="cpu")
        dim = 2 * sum(len(values) for values in maps(random_image())) + 16
    rng = np.random.default_rng(1)
    shapes = ((3, dim, 4), (3, 4), (3, 4, 5), (3, 5))
    return ProposalRanker(*(rng.normal(0, 0.1, shape).astype(np.float32) for shape in shapes), maps.settings)


def make_detector(
    ranker: ProposalRanker, context: int | None = None, scene: bool = False, recipe: Recipe | None = None, **more
) -> Detector:
    """Return random SVMs and box regression on layer `multi` of `pooled`."""
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
