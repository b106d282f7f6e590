"""The maps of a network that sees the whole image at once: one pass an image, whatever the number of its boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from joblib import cpu_count
from torch import nn

from rcnn_svm.data.images import check_image
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import RANDOM, load_trunk, weights_digest
from rcnn_svm.features.multi_layer import extractor_of, map_sizes
from rcnn_svm.features.runtime import choose_runtime, export_onnx, onnx_session, openvino_requests
from rcnn_svm.threads import one_thread

LONG_SIDE = 448
# Both sides of what the network sees are multiples of it: no stride meets a side that it does not divide.
COARSEST_STRIDE = 32
STRIDES = (8, 16, COARSEST_STRIDE)
# Of the square that strides are measured on, pixels.
_MEASURED = 256

RunMaps = Callable[[np.ndarray], list[np.ndarray]]


class ImageMaps:
    """Whole image in, maps out; several threads may call it at once.

    Args:
        module: (1, 3, h, w) float32 to a tuple of maps, (1, C, h / stride, w / stride).
        settings: JSON-able, everything that decides the maps of an image; see `load_image_maps`.
        runtime, device, threads: as in `make_runtime`; `threads` is how many call it at once.

    Raises:
        InputError: as `make_runtime`.
    """

    def __init__(
        self,
        module: nn.Module,
        settings: Mapping[str, Any],
        *,
        runtime: str = "auto",
        device: str = "auto",
        threads: int | None = None,
    ):
        self.settings = dict(settings)
        self._long_side = settings["long_side"]
        self._mean, self._std = (np.float32(settings[name]).reshape(3, 1, 1) for name in ("mean", "std"))
        kind, found = choose_runtime(runtime, device)
        if kind == "torch":
            self._run = _torch(module, found)
        else:
            make = _openvino if kind == "openvino" else _onnx
            self._run = make(module, settings["name"], len(settings["modules"]), threads or cpu_count())

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        """Return the maps of an image, fine ones first, (C, h, w) float32; each covers it from border to border.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: `image` is no such array, or a map is not finite.
        """
        maps = self._run(self._seen(check_image(image)))
        if not all(np.isfinite(values).all() for values in maps):
            raise InputError(
                f"network {self.settings['name']} makes maps of an image that are not finite; look for damaged weights"
            )
        return [values[0] for values in maps]

    def _seen(self, image: np.ndarray) -> np.ndarray:
        """Return what the network sees, (1, 3, h, w) float32."""
        height, width = seen_size(image.shape[:2], self._long_side)
        shrinks = height < image.shape[0] or width < image.shape[1]
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        seen = np.ascontiguousarray(resized.transpose(2, 0, 1)[None], np.float32)
        seen -= self._mean
        seen /= self._std
        return seen


def seen_size(image_size: tuple[int, int], long_side: int = LONG_SIDE) -> tuple[int, int]:
    """Return (height, width) of what the network sees of an image: multiples of 32, its aspect kept as they allow."""
    scale = long_side / max(image_size)
    height, width = (max(1, round(side * scale / COARSEST_STRIDE)) * COARSEST_STRIDE for side in image_size)
    return height, width


@one_thread()
def load_image_maps(
    name: str,
    weights: str | Path | None = None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> ImageMaps:
    """Load a network as a source of maps of whole images.

    Args:
        name, weights: as in `load_backbone`.
        runtime, device, threads: as in `ImageMaps`.

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
    return ImageMaps(module, settings, runtime=runtime, device=device, threads=threads)


def load_recorded_maps(
    settings: Mapping[str, Any],
    weights: str | Path | None = None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> ImageMaps:
    """Load the network that maps were made with.

    Args:
        settings: those of the `ImageMaps`.
        weights: weights file to take where the maps were not made with the published weights.
        runtime, device, threads: as in `ImageMaps`.

    Raises:
        InputError: the weights at hand, or the maps that this version takes of the network, are not those recorded.
    """
    name = settings.get("name")
    if not isinstance(name, str):
        raise InputError("the settings of the ranker's maps name no network; train the ranker again")
    published = RANDOM if settings.get("weights") == RANDOM else None
    for source in (published, weights):
        maps = load_image_maps(name, source, runtime=runtime, device=device, threads=threads)
        if maps.settings == dict(settings):
            return maps
        if weights is None:
            break
    raise InputError(
        f"the {weights or published or 'published'} weights of {name} do not make the maps that the ranker was trained "
        "on; give the weights file that it was trained with, or train it again"
    )


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


def _torch(module: nn.Module, device: torch.device) -> RunMaps:
    module = module.to(device=device)

    @torch.inference_mode()
    def run(seen: np.ndarray) -> list[np.ndarray]:
        return [values.cpu().numpy() for values in module(torch.from_numpy(seen).to(device))]

    return run


def _onnx(module: nn.Module, name: str, count: int, threads: int) -> RunMaps:
    session = onnx_session(_exported(module, name, count))
    return lambda seen: session.run(None, {"images": seen})


def _openvino(module: nn.Module, name: str, count: int, threads: int) -> RunMaps:
    idle = openvino_requests(lambda: _exported(module, name, count), threads)

    def run(seen: np.ndarray) -> list[np.ndarray]:
        request = idle.get()
        try:
            outputs = request.infer([seen], share_inputs=True)
            return [outputs[index] for index in range(count)]
        finally:
            idle.put(request)

    return run


def _exported(module: nn.Module, name: str, count: int) -> bytes:
    names = [f"map{index}" for index in range(count)]
    free = {"images": {2: "height", 3: "width"}} | {
        output: {2: f"height{index}", 3: f"width{index}"} for index, output in enumerate(names)
    }
    return export_onnx(module, torch.zeros(1, 3, 96, 128), name, names, free)
