"""The last layers of Fast R-CNN, and the loss of a mini-batch for any network that ends in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rcnn_svm import paper
from rcnn_svm.descent import Columns
from rcnn_svm.fast_rcnn.targets import RoITargets
from rcnn_svm.mining.fast_rcnn import assign_labels
from rcnn_svm.mining.multi_task_loss import fast_rcnn_loss_per_roi
from rcnn_svm.mining.sampling import BACKGROUND, RoIs, Sampler, sampled_loss

# What `MinibatchLoss` returns.
COLUMNS = Columns(
    ("class_loss", "box_loss", "rois", "foreground"), num_losses=2, shown="loss {class_loss:.3f} + boxes {box_loss:.3f}"
)


class RoIPredictor(nn.Module):
    """Class scores and box corrections from features of RoIs.

    Args:
        dim: D.
        num_classes: K.
        hidden: width of a layer with ReLU before the two linear ones; 0 for none.
        seed: seeds the initial weights.

    Source: Fast R-CNN section 2.3, "Initializing from pre-trained networks": normal distributions with standard
    deviations 0.01 and 0.001. The layer between is ours; it is initialised as He et al. 2015.
    """

    def __init__(self, dim: int, num_classes: int, hidden: int = 0, seed: int = paper.SEED):
        super().__init__()
        self.hidden = nn.utils.skip_init(nn.Linear, dim, hidden) if hidden else None
        self.classes = nn.utils.skip_init(nn.Linear, hidden or dim, num_classes + 1)
        self.boxes = nn.utils.skip_init(nn.Linear, hidden or dim, 4 * (num_classes + 1))
        generator = torch.Generator().manual_seed(seed)
        if self.hidden is not None:
            nn.init.normal_(self.hidden.weight, std=(2 / dim) ** 0.5, generator=generator)
            nn.init.zeros_(self.hidden.bias)
        for layer, std in ((self.classes, paper.CLASS_STD), (self.boxes, paper.BOX_STD)):
            nn.init.normal_(layer.weight, std=std, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores before the softmax, (R, K + 1), and box corrections of every class, (R, 4 (K + 1))."""
        if self.hidden is not None:
            features = self.hidden(features).relu()
        return self.classes(features), self.boxes(features)

    def of_rows(self, inputs: Sequence[Tensor], images: Sequence[RoITargets]) -> Callable[[list[Tensor]], tuple]:
        """As in `RoINetwork`; the inputs are the features of every image's RoIs, (R, D) float32."""
        return lambda rows: self(torch.cat([features[row] for features, row in zip(inputs, rows, strict=True)]))


class RoINetwork(Protocol):
    """A network that `MinibatchLoss` can train."""

    def of_rows(self, inputs: Any, images: Sequence[RoITargets]) -> Callable[[list[Tensor]], tuple[Tensor, Tensor]]:
        """Return a function that scores some RoIs of the images, rows (S,) int64 of every image, as often as called."""


class MinibatchLoss(nn.Module):
    """The loss of the RoIs that a sampler takes from a mini-batch.

    A module, so that whatever wraps modules for many GPUs can wrap it.

    Args:
        network: scores the RoIs.
        sampler: chooses those of each image that count.
    """

    def __init__(self, network: RoINetwork, sampler: Sampler):
        super().__init__()
        self.network = network
        self.sampler = sampler

    def forward(self, inputs: Any, images: Sequence[RoITargets], seed: int) -> Tensor:
        """Return `COLUMNS`, (4,) float32: classification loss, box loss, number of RoIs taken, of these foreground.

        Args:
            inputs: the images or features that the network takes.
            images: the RoIs of every image.
            seed: seeds the sampler's draws.

        Source: Fast R-CNN equation 1.
        """
        labels = [assign_labels(image.max_overlaps, image.max_classes, bg_thresh_lo=0) for image in images]
        score = self.network.of_rows(inputs, images)

        def loss_per_roi(rows: list[Tensor]) -> Tensor:
            chosen = torch.cat([label[row] for label, row in zip(labels, rows, strict=True)])
            targets = torch.cat([image.regression_targets[row] for image, row in zip(images, rows, strict=True)])
            return fast_rcnn_loss_per_roi(*score(rows), chosen, targets)

        rois = [
            RoIs(label, image.boxes, image.max_overlaps, image.max_classes)
            for label, image in zip(labels, images, strict=True)
        ]
        # A generator anew at every step, so that a training goes on from a checkpoint with the same draws.
        generator = torch.Generator().manual_seed(seed)
        loss, taken = sampled_loss(self.sampler, self, loss_per_roi, rois, generator)
        foreground = torch.stack([(label > BACKGROUND).sum() for label in taken.labels if label is not None]).sum()
        return torch.stack([*loss, loss.new_tensor(sum(map(len, taken.rows))), foreground.to(loss)])
