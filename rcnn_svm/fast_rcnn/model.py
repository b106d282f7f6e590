"""A trained Fast R-CNN network and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import h5py
import numpy as np
import torch

from rcnn_svm.artefacts.model_file import Model
from rcnn_svm.fast_rcnn.roi_pool import RoIPoolingNetwork
from rcnn_svm.features.backbones import RANDOM, weights_digest


@dataclass(frozen=True, repr=False)
class FastRCNN(Model):
    """A trained `RoIPoolingNetwork`, with the settings of its training.

    Attributes:
        network: the network, on the CPU and in evaluation mode.
        training: `identity`: what `FastRCNNTrainer.identity` returned before the training.
    """

    KIND: ClassVar[str] = "Fast R-CNN network"

    network: RoIPoolingNetwork
    training: dict[str, Any]
    classes: tuple[str, ...] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "classes", self.network.classes)

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with any weight."""
        return weights_digest(self.network)[:16]

    def settings(self) -> dict[str, Any]:
        """Return all that a file records of the network but its weights, JSON-able."""
        return {"classes": list(self.classes), "network": self.network.settings, "training": self.training}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights by the names of their datasets."""
        return {f"state/{name}": tensor.numpy() for name, tensor in self.network.state_dict().items()}

    @classmethod
    def _restored(cls, settings: dict[str, Any], datasets: Mapping[str, h5py.Dataset], **more: Any) -> FastRCNN:
        built = settings["network"]
        sides = {name: built[name] for name in ("short_side", "long_side")}
        network = RoIPoolingNetwork(built["name"], settings["classes"], RANDOM, **sides)
        network.load_state_dict(
            {name: torch.from_numpy(np.asarray(datasets[f"state/{name}"])) for name in network.state_dict()}
        )
        network.settings = built
        return cls(network.eval(), settings["training"], **more)
