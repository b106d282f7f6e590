"""fc6 and fc7 from cached pool5: one cache on disk for all three layers of the paper."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import nn

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import load_recorded
from rcnn_svm.features.settings import PAPER_LAYERS, FeatureSettings
from rcnn_svm.parameters import plain

# Rows at once: enough to read the weights seldom, and with VGG's pool5 still only 100 MB.
BATCH_ROWS = 1024


class FullyConnected:
    """The fully connected layers that follow pool5, for features as they are stored.

    Args:
        module: maps (n, S) float32 to (n, D) float32; in evaluation mode.
        dim: D.
        device: device that it runs on.
    """

    def __init__(self, module: nn.Module, dim: int, device: torch.device):
        self.dim = dim
        self._device = device
        self._module = module.to(device)

    @torch.inference_mode()
    def __call__(self, pool5: np.ndarray) -> np.ndarray:
        """Return the features after the layers, (n, D) float32, of (n, S) float32 or float16."""
        features = np.empty((len(pool5), self.dim), np.float32)
        for first in range(0, len(pool5), BATCH_ROWS):
            # Copied: torch knows no memory that is only to be read, such as that of a mapped file.
            batch = torch.tensor(pool5[first : first + BATCH_ROWS]).to(self._device).float()
            torch.from_numpy(features[first : first + BATCH_ROWS]).copy_(self._module(batch))
        return features


def load_head(
    settings: dict[str, Any], layer: str, weights: str | os.PathLike | None = None
) -> tuple[FullyConnected, dict[str, Any]]:
    """Load the fully connected layers of the network that a pool5 cache was made with.

    They run on a GPU where there is one.

    Args:
        settings: the settings of the cache.
        layer: `fc6` or `fc7`; after its ReLU.
        weights: the weights file, where the cache was made with one.

    Returns:
        The layers, and the settings of features made by the whole network up to `layer`: equal to those of a
        cache of that layer, so that a model serves both.

    Raises:
        InputError: the weights at hand are not those of the cache, from the first layer to `layer`, or the cache
            does not say which they are.

    Source: `rcnn_pool5_to_fcX.m`.
    """
    backbone = load_recorded(settings, weights, layer)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    head = FullyConnected(backbone.layers_after_pool5(), backbone.dim, device)
    return head, FeatureSettings.from_json(settings).with_backbone(backbone.settings).to_json()


def layer_cache(cache: FeatureCache, layer: str, weights: str | os.PathLike | None = None) -> FeatureCache:
    """Return a cache of `layer` over a cache of pool5: same rows, features computed when they are read.

    Args:
        cache: a cache of pool5; or one of `layer` itself, which is returned as it is.
        layer: `pool5`, `fc6` or `fc7`.
        weights: the weights file, where the cache was made with one.

    Raises:
        InputError: the cache holds another layer, or the weights at hand are not those of the cache.
    """
    if layer not in PAPER_LAYERS:
        raise InputError(f"layer {plain(layer)!r} is unknown; expected {', '.join(PAPER_LAYERS)}")
    found = FeatureSettings.from_json(cache.settings)
    if found.layer == layer:
        return cache
    if not found.can_compute(layer):
        raise InputError(
            f"layer {layer} cannot be computed from {cache.name}, whose features are of layer "
            f"{found.layer or 'unknown'}; fc6 and fc7 follow from a cache of pool5 only, so extract that or the layer "
            "itself"
        )
    head, settings = load_head(cache.settings, layer, weights)
    return cache.derived(head, head.dim, settings)
