"""Training of a RoI head on cached features: Fast R-CNN's last layers, its network held still."""

from __future__ import annotations

import functools
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from rcnn_svm import paper
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale, mean_feature_norm
from rcnn_svm.descent import Descent, Schedule, step_seed
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.network import COLUMNS, MinibatchLoss, RoIPredictor
from rcnn_svm.fast_rcnn.roi_head import RoIHead
from rcnn_svm.fast_rcnn.samplers import SAMPLERS, make_sampler
from rcnn_svm.fast_rcnn.targets import BOX_TARGETS, FIXED, BoxScale, RoITargets, region_targets
from rcnn_svm.mining.sampling import AllRoIs
from rcnn_svm.parameters import NONE, SEED, check_parameters, checks, one_of, real, whole
from rcnn_svm.threads import one_thread

# Images are drawn from all over the cache; so many shards of it stay open.
SHARDS_MAPPED = 64
# Over the RoIs of so many images, the same ones throughout, a training measures its loss.
PROBE_IMAGES = 20


class RoIHeadTrainer(BaseEstimator):
    """Trains a `RoIHead` on a feature cache.

    Features are scaled to a mean norm of 20, as for the SVMs: fc7 of AlexNet is about that long by itself, and the
    paper's learning rate then serves every layer.

    Args:
        sampler: which RoIs of an image take part in a step: `random`, `heuristic`, `ohem`, `ratio` or `all`.
        iterations: steps.
        hidden: width of a layer with ReLU before the last ones; 0 for none.
        lr: learning rate of weights.
        momentum, weight_decay, step: as in `Schedule`.
        images_per_batch: N, images of a step.
        rois_per_image: R / N, RoIs of an image that a step uses at most; `ratio` and `all` have no such number.
        box_targets: how these are normalised: `fixed`, divided by `paper.BOX_STDS` as in py-faster-rcnn, or
            `per-class`, by each class's mean and standard deviation in the cache, as in the paper.
        feat_norm_mean: mean norm of the features; measured on a seeded sample where None.
        seed: seeds the sample, the initial weights, the order of images and the draws of RoIs.

    Attributes set by `fit`:
        head_: the trained `RoIHead`.
        history_: `steps` (iterations, 4) float32, classification loss, box loss, RoIs taken and of these foreground,
            of every mini-batch before its step; `probes` (n, 3) float32, step, classification and box loss over all
            RoIs of the same images throughout.

    Source: Fast R-CNN section 2.3. Images are not mirrored, for the cache has no features of their mirrors.
    """

    PARAMETER_CHECKS = checks(
        **Schedule.PARAMETER_CHECKS,
        sampler=one_of(SAMPLERS),
        hidden=whole(at_least=0),
        images_per_batch=whole(at_least=1),
        rois_per_image=whole(at_least=1),
        box_targets=one_of(BOX_TARGETS),
        feat_norm_mean=real(above=0) | NONE,
        seed=SEED,
    )

    def __init__(
        self,
        *,
        sampler: str = "heuristic",
        iterations: int = paper.FAST_RCNN_ITERATIONS,
        hidden: int = 0,
        lr: float = paper.LR,
        momentum: float = paper.MOMENTUM,
        weight_decay: float = paper.WEIGHT_DECAY,
        step: int | None = None,
        images_per_batch: int = paper.IMAGES_PER_BATCH,
        rois_per_image: int = paper.ROIS_PER_IMAGE,
        box_targets: str = FIXED,
        feat_norm_mean: float | None = None,
        seed: int = paper.SEED,
    ):
        self.sampler = sampler
        self.iterations = iterations
        self.hidden = hidden
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.step = step
        self.images_per_batch = images_per_batch
        self.rois_per_image = rois_per_image
        self.box_targets = box_targets
        self.feat_norm_mean = feat_norm_mean
        self.seed = seed

    def fit(
        self,
        cache: FeatureCache,
        y: None = None,
        *,
        checkpoint: str | Path | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> RoIHeadTrainer:
        """Train on a feature cache; memory holds the features of a mini-batch.

        The same settings and cache give the same weights, however often the training was interrupted.

        Args:
            cache: regions and features of the training images.
            y: not used; objects are in the cache.
            checkpoint, checkpoint_seconds: as in `Descent.run`.

        Raises:
            InputError: a parameter is out of range, no image shows an object, features or the loss are not finite,
                or the checkpoint is of another training.
        """
        check_parameters(self)
        batches = _Minibatches(self, cache)
        network = RoIPredictor(cache.dim, len(cache.classes), self.hidden, self.seed)
        loss = MinibatchLoss(network, make_sampler(self.sampler, self.rois_per_image))
        over_all = MinibatchLoss(network, AllRoIs())
        descent = Descent(
            self._schedule(),
            network,
            lambda step, batch: loss(*batch, seed=step_seed(self.seed, step)),
            batches.of_steps,
            columns=COLUMNS,
            probe=lambda: batches.mean_loss(over_all),
        )
        with one_thread():
            descent.run(checkpoint=checkpoint, identity=self.identity(cache), checkpoint_seconds=checkpoint_seconds)
        self.history_ = {"steps": descent.history, "probes": descent.probes}
        if batches.box_scale is not None:
            batches.box_scale.fold_into(network.boxes)
        self.head_ = self._head(network, cache, batches.norm)
        return self

    def identity(self, cache: FeatureCache) -> dict[str, Any]:
        """Return what decides the result of a training on `cache`: parameters, classes and the cache itself."""
        parameters = self.get_params()
        if self.box_targets == FIXED:  # as before there was another
            del parameters["box_targets"]
        return {"parameters": parameters, "classes": list(cache.classes), "cache": cache.fingerprint}

    def save(self, path: str | Path) -> None:
        """Write the head with the history of its training; `RoIHead.load` reads it.

        Raises:
            NotFittedError: `fit` was not called.
            InputError: it cannot be written.
        """
        check_is_fitted(self)
        self.head_.save(path, self.history_)

    def _schedule(self) -> Schedule:
        return Schedule(
            iterations=self.iterations,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            step=self.step,
        )

    def _head(self, network: RoIPredictor, cache: FeatureCache, norm: float) -> RoIHead:
        def arrays(layer: torch.nn.Linear | None) -> tuple[np.ndarray, np.ndarray]:
            if layer is None:
                return np.empty((cache.dim, 0), np.float32), np.empty(0, np.float32)
            return np.ascontiguousarray(layer.weight.detach().numpy().T), layer.bias.detach().numpy().copy()

        hidden_W, hidden_B = arrays(network.hidden)
        W, B = arrays(network.classes)
        box_W, box_B = arrays(network.boxes)
        return RoIHead(
            classes=cache.classes,
            W=W,
            B=B,
            box_W=box_W,
            box_B=box_B,
            hidden_W=hidden_W,
            hidden_B=hidden_B,
            box_stds=paper.BOX_STDS if self.box_targets == FIXED else (1.0, 1.0, 1.0, 1.0),
            feat_norm_mean=norm,
            feature_settings=cache.settings,
            training={
                "identity": self.identity(cache),
                "image_set": cache.name,
                "num_images": cache.num_images,
                "num_regions": cache.num_rows,
            },
        )


class _Minibatches:
    """The images of every step, which depend on the seed and the number of the step alone."""

    def __init__(self, trainer: RoIHeadTrainer, cache: FeatureCache):
        self._trainer = trainer
        self._cache = cache
        self._images = np.flatnonzero(np.diff(cache.image_start))
        if not any(block.gt.any() for block in cache.blocks()):
            raise InputError(
                f"no image of {cache.name} shows an object; the cache must hold ground truth to learn from"
            )
        norm = trainer.feat_norm_mean
        self.norm = mean_feature_norm(cache, trainer.seed) if norm is None else float(norm)
        self._scale = feature_scale(self.norm)
        self.box_scale = None if trainer.box_targets == FIXED else self._box_scale()
        self._order = functools.lru_cache(maxsize=2)(self._permutation)

    def of_steps(self, steps: range) -> Generator[tuple[list[Tensor], list[RoITargets]], None, None]:
        """Yield scaled features and targets of the images of each step; every image comes once in an epoch."""
        count = self._trainer.images_per_batch
        for step in steps:
            places = [divmod(step * count + n, len(self._images)) for n in range(count)]
            yield self._load([self._order(epoch)[place] for epoch, place in places])

    def mean_loss(self, loss: MinibatchLoss) -> Tensor:
        """Return (2,), the mean losses over all RoIs of some images, the same ones always."""
        chosen = self._images[np.unique(np.linspace(0, len(self._images) - 1, PROBE_IMAGES).astype(int))]
        parts = torch.stack([loss(*self._load([image]), seed=0) for image in chosen])
        return (parts[:, :2] * parts[:, 2:3]).sum(0) / parts[:, 2].sum()

    def _box_scale(self) -> BoxScale:
        num_classes = len(self._cache.classes)
        plain = BoxScale.plain(num_classes)
        targets = (region_targets(self._cache.block(int(image)), plain) for image in self._images)
        return BoxScale.of_images(targets, num_classes)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._trainer.seed, epoch]).permutation(self._images)

    def _load(self, images: list[int]) -> tuple[list[Tensor], list[RoITargets]]:
        regions = [self._cache.regions(int(image)) for image in images]
        for image, region in zip(images, regions, strict=True):
            first = self._cache.image_start[image]
            self._cache.check_finite(range(first, first + len(region)), region.computed_features.sum(axis=1))
        features = [torch.from_numpy(region.computed_features * self._scale) for region in regions]
        return features, [region_targets(region, self.box_scale) for region in regions]
