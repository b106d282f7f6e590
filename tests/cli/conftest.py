"""A tiny image set taken through every stage once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rcnn_svm.cli.main import main
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc
from tests.small_networks import one_thread

NAMES = ",".join(SYNTHETIC_CLASSES)


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Let the networks of commands run in one thread."""
    with one_thread():
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
