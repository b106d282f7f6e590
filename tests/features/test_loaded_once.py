"""Networks are loaded once inside a block, and anew outside of it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.features.extract import FeatureExtractor
from rcnn_svm.features.loaded_once import loaded_once, shared
from rcnn_svm.features.runtime import make_runtime
from tests.small_networks import small_pooled_network


def test_the_same_arguments_mean_the_same_result_only_inside_a_block():
    calls = []

    @shared
    def load(name: str, weights: Path | None = None, *, padding: int = 0) -> object:
        calls.append((name, weights, padding))
        return object()

    assert load("a") is not load("a")
    with loaded_once():
        first = load("a")
        assert load("a") is first and load(name="a", weights=None) is first and load("a", padding=0) is first
        weights = load("a", Path("w.pt"))
        assert weights is not first and load("a", Path("w.pt")) is weights
        assert load("a", padding=1) not in (first, weights)
        with loaded_once():
            assert load("a") is first
            inner = load("b")
        assert load("a") is first and load("b") is inner
        found = []
        thread = threading.Thread(target=lambda: found.append(load("a")))
        thread.start()
        thread.join()
        assert found[0] is not first
    with loaded_once():
        assert load("a") is not first
    assert len(calls) == 8


def test_arguments_that_are_gone_are_not_mistaken_for_others():
    @shared
    def length(values: list[int]) -> int:
        return len(values)

    with loaded_once():
        assert [length([0] * count) for count in range(50)] == [*range(50)]


def test_a_network_that_is_shared_makes_the_same_features():
    image, boxes = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8), np.float32([[0, 0, 19, 29]])

    def features() -> np.ndarray:
        backbone = load_backbone("pooled", "multi", "random")
        return FeatureExtractor(backbone, make_runtime(backbone, "onnxruntime")).extract(image, boxes)

    with small_pooled_network():
        expected = features()
        with loaded_once():
            np.testing.assert_array_equal([features(), features()], [expected, expected])
            assert load_backbone("pooled", "multi", "random") is load_backbone("pooled", "multi", "random")
