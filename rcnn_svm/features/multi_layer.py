"""Features of several layers of one pass: the last vector of a network and pooled maps before it, each of length 1.

What a network saw early is finer and less about ImageNet's classes than its last vector; a linear SVM on top of frozen
features has use for both. The part with the largest norm would decide everything, so each is normalised by itself.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rcnn_svm.errors import InputError

MULTI = "multi"
# Maps this many times smaller than the crop, and smaller ones, have channels that stand for parts of objects.
FINEST_STRIDE = 16
# Cells of a pooled map, in each direction: what is above, below, left and right stays apart.
GRID = 2
# A part is cut into cells up to this length; wider maps are averaged over the whole crop.
LONGEST_PART = 2048
_CONTAINERS = (nn.Sequential, nn.ModuleList)
_SHORTEST = 1e-12


@dataclass(frozen=True)
class MapPart:
    """A map of the network, averaged over the cells of a grid.

    Attributes:
        module: name of the module whose output it is.
        grid: G; the map is cut into G x G cells.
    """

    module: str
    grid: int


class MultiLayer(nn.Module):
    """Maps (N, 3, S, S) crops to (N, D): the parts in order, then the last vector, each divided by its L2 norm.

    Args:
        classifier: a network whose last layer is an `nn.Identity`; its tensors are shared.
        last: name of that layer.
        parts: the maps, in order.
        map_shapes: (C, height, width) of every map.

    Attributes:
        maps_dim: length of the parts before the last vector, together.
    """

    def __init__(self, classifier: nn.Module, last: str, parts: Sequence[MapPart], map_shapes: Sequence[Sequence[int]]):
        super().__init__()
        self._parts = tuple(parts)
        self.maps_dim = sum(shape[0] * part.grid**2 for part, shape in zip(parts, map_shapes, strict=True))
        names = {part.module: f"map{index}" for index, part in enumerate(parts)}
        self.network = extractor_of(classifier, {**names, last: "last"})
        self.pools = nn.ModuleList(
            FixedPool(nn.AdaptiveAvgPool2d(part.grid), shape[1:]) for part, shape in zip(parts, map_shapes, strict=True)
        )

    def parts_settings(self) -> list[dict[str, Any]]:
        """Return which maps on which grids, JSON-able; the last vector follows them."""
        return [{"module": part.module, "grid": part.grid} for part in self._parts]

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        outputs = self.network(crops)
        pooled = [pool(outputs[f"map{index}"]) for index, pool in enumerate(self.pools)]
        vectors = [vector.flatten(1) for vector in (*pooled, outputs["last"])]
        return torch.cat([vector / vector.norm(dim=1, keepdim=True).clamp_min(_SHORTEST) for vector in vectors], dim=1)


def multi_layer(classifier: nn.Module, last: str, name: str, crop_size: int) -> MultiLayer:
    """Return the multi-layer features of a network whose last layer is an `nn.Identity`.

    Args:
        classifier: the network.
        last: name of its last layer.
        name: name of the network, for messages.
        crop_size: S, pixels.

    Raises:
        InputError: the network has no maps that can be had.
    """
    shapes = map_sizes(classifier, crop_size)
    parts = choose_parts(shapes, crop_size)
    if not parts:
        raise InputError(f"backbone {name} gives no maps before its last vector; use --layer penultimate")
    return MultiLayer(classifier, last, parts, [shapes[part.module] for part in parts])


class FixedPool(nn.Module):
    """Adaptive average pooling of maps of one size, as matrix products.

    The same numbers; ONNX has no adaptive pooling to a size that does not divide the map's.
    """

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, pool: nn.AdaptiveAvgPool2d, map_size: Sequence[int]):
        super().__init__()
        pooled_size = pool.output_size if isinstance(pool.output_size, tuple) else (pool.output_size,) * 2
        for name, length, pooled in zip(("rows", "columns"), map_size, pooled_size, strict=True):
            size = length if pooled is None else pooled
            matrix = nn.functional.adaptive_avg_pool1d(torch.eye(length)[None], size)[0]  # (length, size)
            self.register_buffer(name, matrix, persistent=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.rows.T @ maps @ self.columns


def extractor_of(classifier: nn.Module, names: dict[str, str]) -> nn.Module:
    """Return the part of a network that computes the outputs of modules: names of theirs -> names of outputs.

    Raises:
        InputError: the network's code cannot be followed.
    """
    # Imported when used: it takes as long to load as torch itself.
    from torchvision.models.feature_extraction import create_feature_extractor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on training, which does not concern a frozen network
        try:
            return create_feature_extractor(classifier.eval(), return_nodes=names)
        except Exception as error:  # whatever its code does that tracing cannot follow
            raise InputError(
                f"the maps of this network cannot be had ({str(error).splitlines()[0] if str(error) else error!r}); "
                "use --layer penultimate"
            ) from error


@torch.inference_mode()
def map_sizes(classifier: nn.Module, crop_size: int) -> dict[str, tuple[int, int, int]]:
    """Return the shapes (C, H, W) of the maps that the blocks of a network give, in order: name -> shape.

    A block is a member of a sequence or of the network itself, and no sequence; what is inside it is its own business.
    One that is used several times, as an activation may be, gives no map of its own.
    """
    shapes: dict[str, tuple[int, int, int]] = {}
    seen: Counter[str] = Counter()
    hooks = []

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            seen[name] += 1
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                channels, height, width = output.shape[1:]
                shapes[name] = (channels, height, width)

        return hook

    for name, block in _blocks(classifier):
        hooks.append(block.register_forward_hook(record(name)))
    try:
        classifier.eval()(torch.zeros(1, 3, crop_size, crop_size))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: shape for name, shape in shapes.items() if seen[name] == 1}


def _blocks(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, _CONTAINERS):
            yield from _blocks(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def choose_parts(shapes: dict[str, tuple[int, int, int]], crop_size: int) -> list[MapPart]:
    """Return the maps that `multi` takes: the last of every run of maps of one shape, but for those at the very end.

    The last run is what the last vector is the average of. One of the same size right before it, which it widens, adds
    length and nothing else: 41.5 mAP with it, 41.4 without (VOC subset, lite0, cross-validated). Runs finer than stride
    16 are left out, and runs of one pixel, which are no maps.

    Args:
        shapes: what `map_sizes` returns.
        crop_size: S, pixels.
    """
    runs: list[tuple[str, tuple[int, int, int]]] = []
    for name, shape in shapes.items():
        if runs and runs[-1][1] == shape:
            runs[-1] = (name, shape)
        else:
            runs.append((name, shape))
    maps = [(name, shape) for name, shape in runs if min(shape[1:]) > 1]
    return [
        MapPart(name, GRID if channels * GRID**2 <= LONGEST_PART else 1)
        for name, (channels, *size) in maps[: -2 if _is_widened(maps) else -1]
        if max(size) * FINEST_STRIDE <= crop_size
    ]


def _is_widened(maps: Sequence[tuple[str, tuple[int, int, int]]]) -> bool:
    """Return whether the last of three maps of one size is a wider one of what the second holds."""
    sizes = [shape[1:] for _, shape in maps[-3:]]
    return len(sizes) == 3 and sizes[0] == sizes[1] == sizes[2] and maps[-1][1][0] > maps[-2][1][0]
