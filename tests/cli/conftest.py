"""A tiny image set taken through every stage once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from rcnn_svm.cli.main import main
from rcnn_svm.detection.detector import Detector
from rcnn_svm.features.backbones import SOURCES, Source, load_backbone
from rcnn_svm.proposals.sliding_window import SlidingWindow
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc
from tests.converted_once import converted_once
from tests.small_networks import one_thread

NAMES = ",".join(SYNTHETIC_CLASSES)


@pytest.fixture(scope="package", autouse=True)
def _quick_networks() -> Iterator[None]:
    """Let the networks of commands run in one thread, and be converted once."""
    with one_thread(), converted_once():
        yield


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> SimpleNamespace:
    """Folders and arguments of a finished `rcnn-svm run`."""
    root = tmp_path_factory.mktemp("pipeline")
    voc = root / "VOCdevkit"
    write_synthetic_voc(voc, num_train=9, num_test=4, seed=1)
    argv = ["run", "--voc", str(voc), "--classes", NAMES, "--out", str(root / "out"), "--pictures", "2"]
    argv += ["--method", "sliding", "--max-boxes", "60", "--crop-size", "64", "--svm-C", "0.01"]
    assert main(argv) == 0
    return SimpleNamespace(root=root, voc=voc, out=root / "out", argv=argv, names=NAMES)


@pytest.fixture
def features(pipeline) -> dict[str, Path]:
    """The two feature caches."""
    return {path.name.split("_")[2].split(".")[0]: path for path in (pipeline.out / "features").iterdir()}


@pytest.fixture
def seeing(tmp_path, monkeypatch):
    """The file of a detector that sees a cat at 0.7 where no red is and a dog at -0.4 where no green is."""

    def build(size):
        return nn.Sequential(nn.AvgPool2d(size), nn.Flatten(), nn.Linear(3, 1000))

    # A network of one's own, whose features are the mean colour.
    source = Source(build, lambda: build(1).state_dict(), crop_size=4, mean=(0.0,) * 3, std=(255.0,) * 3)
    monkeypatch.setitem(SOURCES, "colour", lambda: source)
    windows = SlidingWindow(scales=[0.5], aspect_ratios=[1], stride=1).settings
    settings = load_backbone("colour").feature_settings().with_proposals(windows).to_json()
    W = np.array([[-4, 0], [0, -4], [0, 0]], np.float32)
    Detector(("cat", "dog"), W, np.array([0.7, -0.4], np.float32), 20.0, settings).save(tmp_path / "seeing.h5")
    return tmp_path / "seeing.h5"
