"""The whole network of Fast R-CNN: layers over the image, their last map pooled in every RoI, layers after that."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align, roi_pool

from rcnn_svm import paper
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.network import RoIPredictor
from rcnn_svm.fast_rcnn.targets import RoITargets
from rcnn_svm.features.backbones import load_trunk, weights_digest

STRIDE = 16
RoIPooling = Callable[[Tensor, Tensor], Tensor]


class RoIPoolingNetwork(nn.Module):
    """A classifier of torchvision made to score RoIs.

    Args:
        name: AlexNet, a VGG or a ResNet (not ResNeXt) of torchvision. The first two lose their last pooling to RoI
            max pooling and keep fc6 and fc7; a ResNet is cut after its third stage, pooled by RoIAlign, and its
            fourth follows.
        classes: K class names.
        weights: state dict file, as in `load_backbone`.
        seed: seeds the initial weights of the last layers.
        short_side: pixels of an image's shorter side as the network sees it.
        long_side: pixels that the longer side may have.

    Attributes:
        classes: K class names.
        settings: JSON-able, everything that decides the network before training.

    Raises:
        InputError: as `load_trunk`, or a network of another kind.

    Source: Fast R-CNN section 2.1 and 2.2; He et al. 2016, appendix A, for ResNets, with RoIAlign (Mask R-CNN) in
    place of RoI pooling. As in these, the first layers and all batch normalisation stay as they were.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        weights: str | os.PathLike | None = None,
        *,
        seed: int = paper.SEED,
        short_side: int = paper.SHORT_SIDE,
        long_side: int = paper.LONG_SIDE,
    ):
        super().__init__()
        if not STRIDE <= short_side <= long_side:
            raise InputError(
                f"short_side = {short_side} and long_side = {long_side} must be at least {STRIDE} pixels, in this order"
            )
        trunk = load_trunk(name, weights)
        self.maps, self.after, self._pool, frozen = _cut(trunk.module, name)
        self.predictor = RoIPredictor(trunk.dim, len(classes), seed=seed)
        for part in frozen:
            part.requires_grad_(False)
        for part in self.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.requires_grad_(False)
        self.classes = tuple(classes)
        self._sides = short_side, long_side
        self.register_buffer("mean", torch.tensor(trunk.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(trunk.std).view(3, 1, 1), persistent=False)
        self.settings = {
            "name": name,
            "initial_digest": weights_digest(self),
            "short_side": short_side,
            "long_side": long_side,
            "mean": list(trunk.mean),
            "std": list(trunk.std),
            "box_stds": list(paper.BOX_STDS),
        }

    def train(self, mode: bool = True) -> RoIPoolingNetwork:
        """Switch dropout; batch normalisation always uses its running statistics."""
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self

    def of_rows(self, inputs: Sequence[Tensor], images: Sequence[RoITargets]) -> Callable[[list[Tensor]], tuple]:
        """As in `RoINetwork`.

        Args:
            inputs: images, (3, H, W) uint8 RGB each.
            images: the RoIs of every image.
        """
        prepared = [self._prepare(image) for image in inputs]
        height, width = (max(image.shape[axis] for image, _ in prepared) for axis in (1, 2))
        batch = torch.stack(
            [nn.functional.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image, _ in prepared]
        )
        maps = self.maps(batch)  # (N, C, height / 16, width / 16)
        boxes = [image.boxes * scale for image, (_, scale) in zip(images, prepared, strict=True)]

        def score(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
            rois = [of_image[row] for of_image, row in zip(boxes, rows, strict=True)]
            number = [roi.new_full((len(roi), 1), n) for n, roi in enumerate(rois)]
            pooled = self._pool(maps, torch.cat([torch.cat(number), torch.cat(rois)], dim=1))
            return self.predictor(self.after(pooled))

        return score

    def _prepare(self, image: Tensor) -> tuple[Tensor, float]:
        """Return an image as the network takes it, (3, h, w) float32, and how much larger it is than before."""
        short_side, long_side = self._sides
        sides = sorted(image.shape[1:])
        scale = min(short_side / sides[0], long_side / sides[1])
        size = [max(round(side * scale), STRIDE) for side in image.shape[1:]]
        resized = nn.functional.interpolate(image[None].float(), size, mode="bilinear", align_corners=False)[0]
        return (resized - self.mean) / self.std, scale


def _cut(classifier: Any, name: str) -> tuple[nn.Module, nn.Module, RoIPooling, list[nn.Module]]:
    """Return the layers over an image, those after the pooling, the pooling, and the layers that are not trained."""
    if name == "alexnet" or name.startswith("vgg"):
        size = classifier.avgpool.output_size
        # The convolutions before the second pooling of VGG, the first one of AlexNet (lr_mult 0 in the prototxt).
        poolings = [n for n, part in enumerate(classifier.features) if isinstance(part, nn.MaxPool2d)]
        frozen = classifier.features[: poolings[0 if name == "alexnet" else 1]]
        after = nn.Sequential(nn.Flatten(), classifier.classifier)
        return classifier.features[:-1], after, lambda m, rois: roi_pool(m, rois, size, 1 / STRIDE), [frozen]
    if name.startswith(("resnet", "wide_resnet")):
        stem = nn.Sequential(classifier.conv1, classifier.bn1, classifier.relu, classifier.maxpool, classifier.layer1)
        maps = nn.Sequential(stem, classifier.layer2, classifier.layer3)
        after = nn.Sequential(classifier.layer4, classifier.avgpool, nn.Flatten())
        return maps, after, lambda m, rois: roi_align(m, rois, 14, 1 / STRIDE, 2, aligned=True), [stem]
    raise InputError(f"backbone {name} cannot pool RoIs here; use alexnet, a vgg or a resnet of torchvision")
