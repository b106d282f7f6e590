"""A cache whose features tell the class of a box and where its object is."""

from __future__ import annotations

import pytest

from rcnn_svm.cache import FeatureCache
from tests import toys


@pytest.fixture(scope="session")
def telling() -> FeatureCache:
    """12 images to train on."""
    return toys.telling(1, 12)


@pytest.fixture(scope="session")
def unseen() -> FeatureCache:
    """8 more images of the same kind."""
    return toys.telling(2, 8, name="unseen")
