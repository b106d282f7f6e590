"""Fast R-CNN: its last layers on cached features, and the whole network on images.

roi_targets        the class and the box that each RoI is trained towards
RoITargets         these targets
make_sampler       the choice of a mini-batch's RoIs by name: random, heuristic, ohem, ratio, all
RoIPredictor       the last layers: softmax and box regression
MinibatchLoss      the loss of a mini-batch
RoIHead            trained last layers, with their file
RoIHeadTrainer     trains them on a feature cache
RoIPoolingNetwork  the whole network
FastRCNNTrainer    trains it on images
FastRCNN           the trained network, with its file
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.fast_rcnn.head_training import RoIHeadTrainer
    from rcnn_svm.fast_rcnn.image_training import FastRCNNTrainer
    from rcnn_svm.fast_rcnn.model import FastRCNN
    from rcnn_svm.fast_rcnn.network import MinibatchLoss, RoIPredictor
    from rcnn_svm.fast_rcnn.roi_head import RoIHead
    from rcnn_svm.fast_rcnn.roi_pool import RoIPoolingNetwork
    from rcnn_svm.fast_rcnn.samplers import make_sampler
    from rcnn_svm.fast_rcnn.targets import RoITargets, roi_targets
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "FastRCNN",
    "FastRCNNTrainer",
    "MinibatchLoss",
    "RoIHead",
    "RoIHeadTrainer",
    "RoIPoolingNetwork",
    "RoIPredictor",
    "RoITargets",
    "make_sampler",
    "roi_targets",
]
