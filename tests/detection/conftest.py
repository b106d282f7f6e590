"""What the original's box regression made of a golden case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.experiments.parity import case_cache


@pytest.fixture
def golden_case(golden_dir: Path) -> Callable[[int], tuple[FeatureCache, Mapping[str, np.ndarray]]]:
    """Return the cache of the golden case in a layer, and what the original made of it."""

    def load(layer: int) -> tuple[FeatureCache, Mapping[str, np.ndarray]]:
        inputs = {**np.load(golden_dir / "fc7" / "inputs.npz"), "layer": np.int32(layer)}
        return case_cache(inputs, "fc7"), np.load(golden_dir / "fc7" / f"bbox_reg_layer{layer}.npz")

    return load
