"""Networks of AlexNet's structure, small enough for tests, and what puts them in AlexNet's place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from rcnn_svm.data.voc import load_voc
from rcnn_svm.features import backbones
from rcnn_svm.features.backbones import Source, load_backbone
from rcnn_svm.features.extract import FeatureExtractor, extract_database
from rcnn_svm.features.runtime import make_runtime
from rcnn_svm.proposals.methods import make_proposer
from rcnn_svm.proposals.propose import propose_database
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc

CROP = 64


class SmallAlexNet(nn.Module):
    """AlexNet's structure with narrow layers."""

    def __init__(self, _: int):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 11, stride=4), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        dropouts = nn.Dropout(), nn.Dropout()
        linears = nn.Linear(288, 48), nn.Linear(48, 32)
        hidden = [module for pair in zip(dropouts, linears, strict=True) for module in (*pair, nn.ReLU())]
        self.classifier = nn.Sequential(*hidden, nn.Linear(32, 1000))


@contextmanager
def small_alexnet(name: str = "alexnet") -> Iterator[None]:
    """Have the backbone alexnet, or a VGG network, be the small one."""
    with pytest.MonkeyPatch.context() as patch:
        source = dataclasses.replace(backbones._find_source(name), build=SmallAlexNet, crop_size=CROP)
        patch.setitem(backbones.SOURCES, name, lambda: source)
        yield


@contextmanager
def layer_caches(root: Path) -> Iterator[Path]:
    """Make caches of a toy image set by layer, and have the backbone alexnet be the small one until the end.

    Yields:
        `root`, with `voc/`, the proposals `train.h5` and `test.h5`, caches such as `train.pool5/`, and `net.pt`, the
        weights that they are made with.
    """
    with small_alexnet():
        write_synthetic_voc(root / "voc", num_train=8, num_test=2, seed=1)
        torch.manual_seed(5)
        # Features of random weights all look alike; these spread, as trained ones do.
        state = SmallAlexNet(CROP).state_dict()
        state |= {key: 3 * value for key, value in state.items() if key.endswith("weight")}
        torch.save(state, root / "net.pt")
        for name, split in (("train", "trainval"), ("test", "test")):
            database = load_voc(root / "voc", split=split, classes=SYNTHETIC_CLASSES)
            proposer = make_proposer({"method": "sliding", "max_boxes": 25})
            proposals = propose_database(database, proposer, root / f"{name}.h5")
            for layer in ("pool5", "fc6", "fc7"):
                backbone = load_backbone("alexnet", layer, root / "net.pt")
                extractor = FeatureExtractor(backbone, make_runtime(backbone, threads=1))
                folder = root / f"{name}.{layer}"
                extract_database(database, proposals, extractor, folder, shard_images=3, dtype="float32")
        yield root


class SmallRoINetwork(nn.Module):
    """The parts of AlexNet that pool RoIs, with fewer channels."""

    def __init__(self, _: int):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 8, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((3, 3))
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(16 * 9, 24), nn.ReLU(inplace=True), nn.Linear(24, 1000)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(images)), 1))


def small_roi_source() -> Source:
    """Return the entry of the small network in the table of backbones, with fixed weights."""

    def published() -> dict[str, torch.Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return SmallRoINetwork(64).state_dict()

    return Source(SmallRoINetwork, published, crop_size=64, mean=(120.0,) * 3, std=(60.0,) * 3)


class SmallPooledNetwork(nn.Module):
    """Blocks, an average over the last map, a linear layer, as modern networks have them."""

    def __init__(self, _: int):
        super().__init__()
        layers = zip((3, 8, 5, 12), (8, 5, 12, 16), (8, 2, 2, 1), strict=True)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(a, b, s, s), nn.ReLU()) for a, b, s in layers))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(16, 1000)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(torch.flatten(self.pool(self.blocks(images)), 1))


@contextmanager
def small_pooled_network() -> Iterator[None]:
    """Have a backbone `pooled`, which takes 64-pixel crops, with one thread."""
    source = Source(SmallPooledNetwork, lambda: {}, crop_size=CROP, mean=(120.0,) * 3, std=(60.0,) * 3)
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.SOURCES, "pooled", lambda: source)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Run networks in one thread: more would only wait for each other, where layers or crops are this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@contextmanager
def small_roi_networks() -> Iterator[None]:
    """Have the backbone alexnet be a small one that pools RoIs, with one thread."""
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.SOURCES, "alexnet", small_roi_source)
        yield


def image_set_with_proposals(root: Path) -> Path:
    """Write seven synthetic images below `root`, with proposals `trainval.h5` and `test.h5`; return `root`."""
    write_synthetic_voc(root / "VOCdevkit", num_train=5, num_test=2, seed=1)
    for split in ("trainval", "test"):
        database = load_voc(root / "VOCdevkit", split=split, classes=SYNTHETIC_CLASSES)
        propose_database(database, make_proposer({"method": "sliding", "max_boxes": 80}), root / f"{split}.h5")
    return root
