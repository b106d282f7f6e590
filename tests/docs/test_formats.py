"""docs/formats.md says all that is in the files, so that a program that knows nothing of this package can read them."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from tests.keep import KEPT

PAGE = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
FILES = {
    "feature cache": "features/toy/shard-00000.h5",
    "detector": "model.h5",
    "proposals": "proposals/toy.sliding.h5",
    "detections": "detections.h5",
    "box regressor": "bbox.h5",
    "proposal ranker": "ranker.h5",
    "RoI head": "head.h5",
}


def section(kind: str) -> str:
    """Return what the page says of a kind."""
    return PAGE.split(f"\n## {kind}\n")[1].split("\n## ")[0]


def stated(kind: str) -> dict[str, tuple[int, str]]:
    """Return how many dimensions and which types the page says the datasets of a kind have."""
    found = {}
    for names, shapes, kinds in re.findall(r"^\| (`[^|]*`) \| ([^|]*) \| ([^|]*) \|", section(kind), re.M):
        names, shapes = re.findall(r"`([^`]+)`", names), re.findall(r"\(((?:[^()]|\([^()]*\))*)\)", shapes)
        for place, name in enumerate(names):
            shape = shapes[min(place, len(shapes) - 1)]
            found[name] = len([size for size in shape.split(",") if size.strip()]), kinds
    return found


@pytest.mark.parametrize("kind", FILES)
def test_every_dataset_is_in_the_document_as_it_is_in_the_file(kind):
    described, found = stated(kind), {}
    with h5py.File(KEPT / "0.1.0" / FILES[kind]) as handle:
        handle.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        assert handle.attrs["kind"] in (kind, "feature shard") and found
        for name, dataset in found.items():
            dimensions, kinds = described[name]
            assert dataset.ndim == dimensions, name
            dtype = "text" if h5py.check_string_dtype(dataset.dtype) else str(dataset.dtype)
            assert dtype in kinds.split(" or "), name
    optional = {"calibration", "thresholds", "image_digests"}
    missing = described.keys() - found.keys() - optional
    assert all(name.startswith("history/fold_") for name in missing)


def test_the_attributes_of_every_file_are_in_the_document():
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE.split("\n## feature cache")[0], re.M))
    for path in (KEPT / "0.1.0").rglob("*.h5*"):
        with h5py.File(path) as handle:
            assert {*handle.attrs} - {"checksum", "done"} <= listed and listed - {*handle.attrs} <= {"content"}


def test_the_scores_that_the_document_computes_with_h5py_alone_are_ours(monkeypatch):
    code = re.search(r"```python\n(.*?)```", section("detector"), re.S)[1]
    assert "rcnn_svm" not in code
    monkeypatch.chdir(KEPT / "0.1.0")
    read: dict[str, np.ndarray] = {}
    exec(code, read)
    cache, detector = FeatureCache.open("features/toy"), Detector.load("model.h5")
    expected = np.concatenate([detector.scores(cache.regions(image).features) for image in range(4)])
    assert read["scores"].shape == (len(expected), 3)
    np.testing.assert_allclose(read["scores"], expected, rtol=1e-5, atol=1e-5)


def test_every_kind_has_its_heading():
    kinds = set()
    for path in (KEPT / "0.1.0").rglob("*.h5*"):
        with h5py.File(path) as handle:
            kinds.add(str(handle.attrs["kind"]))
    others = set(re.findall(r"^\| `[^|]*\| `([^`]+)` \|", section("Others"), re.M))
    assert len(others) == 10
    assert kinds - {"feature shard"} == set(re.findall(r"^## (.+)$", PAGE, re.M)) & kinds and len(kinds) == 9
