"""A cache whose features tell the class of a box and where its object is, and images with proposals."""

from __future__ import annotations

from pathlib import Path

import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.voc import load_voc
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES
from tests import toys


@pytest.fixture(scope="session")
def telling() -> FeatureCache:
    """12 images to train on."""
    return toys.telling(1, 12)


@pytest.fixture(scope="session")
def unseen() -> FeatureCache:
    """8 more images of the same kind."""
    return toys.telling(2, 8, name="unseen")


@pytest.fixture
def data(devkit: Path) -> tuple[ImageDatabase, ProposalSet]:
    """Five images to train on, with their proposals."""
    database = load_voc(devkit / "VOCdevkit", "2007", "trainval", classes=SYNTHETIC_CLASSES)
    return database, ProposalSet.load(devkit / "trainval.h5")
