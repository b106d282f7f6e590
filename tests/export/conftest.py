"""Detectors of small networks with all parts, and an image to look at."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from rcnn_svm.detection.detector import Detector
from rcnn_svm.proposals.ranker import ProposalRanker
from tests.export import detectors


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """(70, 100, 3) uint8."""
    return detectors.random_image()


@pytest.fixture(scope="session")
def ranker() -> ProposalRanker:
    """Random stages on the maps of the network `pooled`."""
    return detectors.make_ranker()


@pytest.fixture(scope="session")
def make_detector(ranker) -> Callable[..., Detector]:
    """make_detector(context, scene, recipe, **more): random SVMs and box regression on layer `multi` of `pooled`."""
    return functools.partial(detectors.make_detector, ranker)
