"""The network that is fine-tuned: a published one with a new last layer for K classes and the background."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rcnn_svm import paper
from rcnn_svm.features.backbones import load_trunk, replace_layer, weights_digest
from rcnn_svm.features.warp import plan_crops

# Output 0 is the background, output c + 1 is class c.


@dataclass(frozen=True)
class FineTuneNetwork:
    """A classifier of windows with the preprocessing of its crops.

    Attributes:
        module: maps (N, 3, S, S) float32 crops to (N, K + 1) float32 scores before the softmax, background first.
        classes: K class names.
        last_layer: name of the new linear layer in `module`.
        crop_size, padding, mean, std: as in `Backbone`.
        settings: JSON-able, everything that decides the network before the first step.
    """

    module: nn.Module
    classes: tuple[str, ...]
    last_layer: str
    crop_size: int
    padding: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    settings: dict[str, Any]


def build_network(
    name: str,
    classes: Sequence[str],
    weights: str | os.PathLike | None = None,
    *,
    crop_size: int | None = None,
    padding: int | None = None,
    seed: int = paper.SEED,
) -> FineTuneNetwork:
    """Load a network and give it a new last layer: normal weights of standard deviation 0.01, no bias.

    Args:
        name, weights, crop_size, padding: as in `load_backbone`.
        classes: K class names.
        seed: seeds the new layer's weights.

    Raises:
        InputError: as `load_backbone`, or a padding that leaves no room for the box.

    Source: R-CNN section 2.3; `fc8_pascal` of `pascal_finetune_train.prototxt`.
    """
    trunk = load_trunk(name, weights, crop_size=crop_size, padding=padding)
    # Refuses a geometry without meaning now, not when the first crop is warped.
    plan_crops(np.empty((0, 4)), (1, 1), crop_size=trunk.crop_size, padding=trunk.padding)
    layer = nn.utils.skip_init(nn.Linear, trunk.dim, len(classes) + 1)
    nn.init.normal_(layer.weight, std=paper.NEW_LAYER_STD, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(layer.bias)
    replace_layer(trunk.module, trunk.last_layer, layer)
    return FineTuneNetwork(
        module=trunk.module,
        classes=tuple(classes),
        last_layer=trunk.last_layer,
        crop_size=trunk.crop_size,
        padding=trunk.padding,
        mean=trunk.mean,
        std=trunk.std,
        settings={
            "name": name,
            "last_layer": trunk.last_layer,
            "initial_digest": weights_digest(trunk.module),
            "crop_size": trunk.crop_size,
            "padding": trunk.padding,
            "mean": list(trunk.mean),
            "std": list(trunk.std),
        },
    )


def set_training_mode(module: nn.Module) -> None:
    """Switch dropout on and leave batch normalisation as it is at test time.

    Three quarters of a batch are background and many crops show the mean colour beyond the image's border: the
    statistics of such batches are neither those the weights were trained for nor those of a test image's regions,
    whose features use the running ones. Scale and shift of the normalisation are trained like other weights.
    """
    module.train()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
