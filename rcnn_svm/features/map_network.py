"""Networks whose maps of whole images are taken: which maps, with which weights, and what runs them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from joblib import cpu_count
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import RANDOM, load_trunk, weights_digest
from rcnn_svm.features.image_maps import COARSEST_STRIDE, LONG_SIDE, ImageMaps, RunMaps
from rcnn_svm.features.multi_layer import extractor_of, map_sizes
from rcnn_svm.features.onnx_session import onnx_session
from rcnn_svm.features.runtime import choose_runtime, export_onnx, openvino_requests
from rcnn_svm.threads import one_thread

STRIDES = (8, 16, COARSEST_STRIDE)
# Of the square that strides are measured on, pixels.
_MEASURED = 256


@dataclass(frozen=True)
class MapNetwork:
    """The part of a network up to its maps.

    Attributes:
        module: maps (1, 3, h, w) float32 to a tuple of maps.
        settings: JSON-able, everything that decides the maps of an image.
    """

    module: nn.Module
    settings: dict[str, Any]

    def to_onnx(self) -> bytes:
        """Return it as an ONNX model with free sides: `images` in, `map0` and so on out.

        Raises:
            InputError: a network that cannot be converted.
        """
        names = [f"map{index}" for index in range(len(self.settings["modules"]))]
        free = {"images": {2: "height", 3: "width"}} | {
            output: {2: f"height{index}", 3: f"width{index}"} for index, output in enumerate(names)
        }
        return export_onnx(self.module, torch.zeros(1, 3, 96, 128), self.settings["name"], names, free)


@one_thread()
def load_map_network(name: str, weights: str | os.PathLike | None = None) -> MapNetwork:
    """Load a network up to its maps of whole images.

    Args:
        name, weights: as in `load_backbone`.

    Raises:
        InputError: as `load_backbone`, or the network takes no image of another shape than a crop's or has no maps at
            strides 8, 16 or 32.
    """
    trunk = load_trunk(name, weights)
    modules = choose_maps(_measured_sizes(trunk.module, name), _MEASURED)
    if not modules:
        raise InputError(f"backbone {name} gives no maps at strides 8, 16 or 32; take another, such as lite0")
    module = _Maps(trunk.module, modules).eval().requires_grad_(False)
    settings = {
        "name": name,
        "weights": RANDOM if weights == RANDOM else "trained",
        "weights_digest": weights_digest(module),
        "modules": modules,
        "long_side": LONG_SIDE,
        "mean": list(trunk.mean),
        "std": list(trunk.std),
    }
    return MapNetwork(module, settings)


def load_recorded_network(settings: Mapping[str, Any], weights: str | os.PathLike | None = None) -> MapNetwork:
    """Load the network that maps were made with.

    Args:
        settings: those of the `ImageMaps`.
        weights: weights file to take where the maps were not made with the published weights.

    Raises:
        InputError: the weights at hand, or the maps that this version takes of the network, are not those recorded.
    """
    name = settings.get("name")
    if not isinstance(name, str):
        raise InputError("the settings of the ranker's maps name no network; train the ranker again")
    published = RANDOM if settings.get("weights") == RANDOM else None
    for source in (published, weights):
        network = load_map_network(name, source)
        if network.settings == dict(settings):
            return network
        if weights is None:
            break
    raise InputError(
        f"the {weights or published or 'published'} weights of {name} do not make the maps that the ranker was trained "
        "on; give the weights file that it was trained with, or train it again"
    )


def load_image_maps(
    name: str,
    weights: str | os.PathLike | None = None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> ImageMaps:
    """Load a network as a source of maps of whole images.

    Args:
        name, weights: as in `load_map_network`.
        runtime, device, threads: as in `make_runtime`; `threads` is how many call it at once.

    Raises:
        InputError: as `load_map_network` and `make_runtime`.
    """
    return _running(load_map_network(name, weights), runtime, device, threads)


def load_recorded_maps(
    settings: Mapping[str, Any],
    weights: str | os.PathLike | None = None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> ImageMaps:
    """Load what made maps.

    Args:
        settings, weights: as in `load_recorded_network`.
        runtime, device, threads: as in `load_image_maps`.

    Raises:
        InputError: as `load_recorded_network` and `make_runtime`.
    """
    return _running(load_recorded_network(settings, weights), runtime, device, threads)


def choose_maps(shapes: Mapping[str, tuple[int, int, int]], side: int) -> list[str]:
    """Return the names of the maps that are taken, one at every stride of 8, 16 and 32.

    At strides 8 and 16 it is the last map of all, which the network saw most before; at 32 the last of the first run
    of one shape: what follows is wider, no finer, and more about ImageNet's classes.

    Args:
        shapes: what `map_sizes` returns.
        side: of the square image that it was measured on, pixels.
    """
    of_stride: dict[int, tuple[str, tuple[int, int, int]]] = {}
    previous = None
    for name, shape in shapes.items():
        stride = 2 ** round(np.log2(side / shape[1]))
        is_map = shape[1] == shape[2]  # else its last axis is that of channels
        known = of_stride.get(stride)
        if is_map and stride in STRIDES and (stride < COARSEST_STRIDE or known in (None, (previous, shape))):
            of_stride[stride] = (name, shape)
        previous = name
    return [of_stride[stride][0] for stride in STRIDES if stride in of_stride]


def _measured_sizes(classifier: nn.Module, name: str) -> dict[str, tuple[int, int, int]]:
    try:
        return map_sizes(classifier, _MEASURED)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"backbone {name} takes no images but crops of its own size ({str(error).splitlines()[0]}); take another "
            "for the maps, such as lite0"
        ) from error


class _Maps(nn.Module):
    """The part of a network up to its maps, which it returns as a tuple."""

    def __init__(self, classifier: nn.Module, modules: Sequence[str]):
        super().__init__()
        self._names = [f"map{index}" for index in range(len(modules))]
        self.network = extractor_of(classifier, dict(zip(modules, self._names, strict=True)))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.network(images)
        return tuple(outputs[name] for name in self._names)


def _running(network: MapNetwork, runtime: str, device: str, threads: int | None) -> ImageMaps:
    """Return what runs a network on images."""
    kind, found = choose_runtime(runtime, device)
    if kind == "torch":
        run = _torch(network.module, found)
    elif kind == "openvino":
        run = _openvino(network, threads or cpu_count())
    else:
        run = _onnx(network)
    return ImageMaps(run, network.settings)


def _torch(module: nn.Module, device: torch.device) -> RunMaps:
    module = module.to(device=device)

    @torch.inference_mode()
    def run(seen: np.ndarray) -> list[np.ndarray]:
        return [values.cpu().numpy() for values in module(torch.from_numpy(seen).to(device))]

    return run


def _onnx(network: MapNetwork) -> RunMaps:
    session = onnx_session(network.to_onnx())
    return lambda seen: session.run(None, {"images": seen})


def _openvino(network: MapNetwork, threads: int) -> RunMaps:
    idle = openvino_requests(network.to_onnx, threads)

    def run(seen: np.ndarray) -> list[np.ndarray]:
        request = idle.get()
        try:
            outputs = request.infer([seen], share_inputs=True)
            return [outputs[index] for index in range(len(network.settings["modules"]))]
        finally:
            idle.put(request)

    return run
