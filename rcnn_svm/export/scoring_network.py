"""The network of a detector with all linear layers after it, as one module: crops in, scores and corrections out."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import nn

from rcnn_svm.artefacts.exported_folder import CONTEXT, DELTAS, SCENE, SCORES
from rcnn_svm.cache.feature_norm import feature_scale
from rcnn_svm.detection.bbox_correction import check_regressor
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detector import Detector
from rcnn_svm.features.backbones import load_recorded
from rcnn_svm.features.runtime import export_onnx
from rcnn_svm.features.settings import FeatureSettings


class ScoringNetwork(nn.Module):
    """Maps crops, (N, 3, S, S), to a tuple of what `names` says: scores (N, K), corrections of boxes (N, K, 4).

    The features of a box are those of its crop, followed by the last part of what the network makes of its context and
    of the scene, where there are these. A linear layer of all of them is a sum over the crops: what it makes of each is
    an output of its own, and that of the box has the bias.

    Args:
        detector: has the SVMs, and the box regressor if there is one.
        weights: state dict file of the network, where the features were made with one.

    Attributes:
        backbone: the network that all crops go through first.
        names: names of the outputs, in order.

    Raises:
        InputError: the detector does not record its network, the weights at hand are not those of its features, or the
            box regressor was trained on other features.
    """

    def __init__(self, detector: Detector, weights: str | os.PathLike | None = None):
        super().__init__()
        settings, regressor = FeatureSettings.from_json(detector.feature_settings), detector.bbox_regressor
        scale = np.float64(feature_scale(detector.feat_norm_mean))
        layers = {SCORES: (detector.W * scale, detector.B)}
        recorded = detector.feature_settings
        self._from_pool5 = False
        if regressor is not None:
            layers[DELTAS] = _corrections(regressor, check_regressor(regressor, detector))
            self._from_pool5 = FeatureSettings.from_json(regressor.feature_settings).can_compute(settings.layer)
            recorded = regressor.feature_settings if self._from_pool5 else recorded
        self.backbone = load_recorded(recorded, weights)
        self.network = self.backbone.module
        # Boxes may be corrected from pool5 where regions are scored by fc6 or fc7, which follow.
        self.rest = load_recorded(recorded, weights, settings.layer).layers_after_pool5() if self._from_pool5 else None
        prefixes = ["", *([CONTEXT] if settings.context is not None else []), *([SCENE] if settings.scene else [])]
        ends = self.backbone.last_dim or 0  # context and scene are parts of features that end so
        self.linear = nn.ModuleDict()
        self._lengths: dict[str, int] = {}
        for name, (weight, bias) in layers.items():
            own = len(weight) - (len(prefixes) - 1) * ends
            starts = [0, *(own + place * ends for place in range(len(prefixes) - 1)), len(weight)]
            for place, prefix in enumerate(prefixes):
                part = weight[starts[place] : starts[place + 1]]
                self.linear[prefix + name] = _linear(part, None if prefix else bias)
                self._lengths[prefix + name] = len(part)
        self.names = list(self.linear)
        self.eval().requires_grad_(False)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = self.network(crops)
        features = {SCORES: first if self.rest is None else self.rest(first), DELTAS: first}
        outputs = []
        for name, linear in self.linear.items():
            of = SCORES if name.endswith(SCORES) else DELTAS
            values = linear(features[of][:, -self._lengths[name] :])
            outputs.append(values if of == SCORES else values.unflatten(1, (-1, 4)))
        return tuple(outputs)

    def to_onnx(self) -> bytes:
        """Return it as an ONNX model with a free number of crops: `crops` in, `names` out.

        Raises:
            InputError: a network that cannot be converted.
        """
        example = torch.zeros(2, 3, self.backbone.crop_size, self.backbone.crop_size)
        free = {name: {0: "batch"} for name in ("crops", *self.names)}
        return export_onnx(self, example, self.backbone.settings["name"], self.names, free)


def _corrections(regressor: BoxRegressor, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the linear layer that a box regressor is for features as they come: (D, 4 K) and (4 K,) float64.

    Args:
        regressor: corrects boxes, by features of mean norm 20 and in whitened targets.
        columns: (K,) int64, its class for each of the detector's.
    """
    layers = regressor.Beta[columns].astype(np.float64) @ regressor.T_inv[columns]  # (K, D + 1, 4)
    layers[:, -1] += regressor.mu[columns]
    layers[~regressor.used[columns]] = 0
    layers[:, :-1] *= feature_scale(regressor.feat_norm_mean)
    joined = layers.transpose(1, 0, 2).reshape(layers.shape[1], -1)
    return joined[:-1], joined[-1]


def _linear(weight: np.ndarray, bias: np.ndarray | None) -> nn.Linear:
    """Return the layer of weights (D, K) and biases (K,)."""
    layer = nn.Linear(weight.shape[0], weight.shape[1], bias=bias is not None)
    layer.weight.data = torch.from_numpy(np.ascontiguousarray(weight.T, np.float32))
    if bias is not None:
        layer.bias.data = torch.from_numpy(np.asarray(bias, np.float32))
    return layer
