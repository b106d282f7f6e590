"""Training of bounding-box regression on a feature cache, read as a stream.

All that a class's ridge regression needs are sums over its examples, so memory holds the sums of some classes
and never the features of all examples.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk
from sklearn.base import BaseEstimator
from tqdm import tqdm

from rcnn_svm import paper
from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.boxes import box_deltas, iou_matrix
from rcnn_svm.cache.blocks import Block
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale, mean_feature_norm
from rcnn_svm.cache.folds import split_folds
from rcnn_svm.detection.bbox_regression import PER_CLASS, BoxRegressor
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import NONE, SEED, check_parameters, checks, plain, real, whole
from rcnn_svm.progress import progress_bar

# A fifth of the images is held out to see what corrections do to boxes that no fit has seen.
HELD_OUT_FOLDS = 5
# A product of fewer rows spends its time on the matrix it is added to.
ROWS_PER_PRODUCT = 512


class BoxRegressorTrainer(BaseEstimator):
    """Trains a `BoxRegressor` on a feature cache.

    Args:
        ridge_lambda: weight of the squared weights against the squared errors of whitened targets.
        min_overlap: a region is an example when its IoU with an object is strictly above this.
        feat_norm_mean: mean norm of the features; measured on a seeded sample where None.
        seed: seeds the sample of norms and the draw of held-out images.
        max_bytes: most bytes for the sums of the classes that are trained in one pass over the images; a class
            whose sums are larger is trained alone.

    Attributes set by `fit`:
        regressor_: the trained `BoxRegressor`.

    Source: `rcnn_train_bbox_regressor.m` and appendix C of the R-CNN paper.
    """

    PARAMETER_CHECKS = checks(
        ridge_lambda=real(above=0),
        min_overlap=real(at_least=0, below=1),
        feat_norm_mean=real(above=0) | NONE,
        seed=SEED,
        max_bytes=whole(at_least=0),
    )

    def __init__(
        self,
        *,
        ridge_lambda: float = paper.BBOX_RIDGE_LAMBDA,
        min_overlap: float = paper.BBOX_MIN_OVERLAP,
        feat_norm_mean: float | None = None,
        seed: int = paper.SEED,
        max_bytes: int = 2 << 30,
    ):
        self.ridge_lambda = ridge_lambda
        self.min_overlap = min_overlap
        self.feat_norm_mean = feat_norm_mean
        self.seed = seed
        self.max_bytes = max_bytes

    def fit(self, cache: FeatureCache, y: None = None, *, checkpoint: str | Path | None = None) -> BoxRegressorTrainer:
        """Train on a feature cache, and measure what the corrections do to the boxes of examples.

        A fifth of the images is first left out and the IoU of its corrected boxes measured, then included.

        Args:
            cache: regions and features of the training images.
            y: not used; objects are in the cache.
            checkpoint: file where classes that are done are kept; a training that finds one of its own goes on
                from there. Delete it when the result is safe.

        Raises:
            InputError: a parameter is out of range, no region is an example, features are not finite, or the
                checkpoint is of another training.
        """
        check_parameters(self)
        self.regressor_ = _Training(self, cache, checkpoint).run()
        return self

    def identity(self, cache: FeatureCache) -> dict[str, Any]:
        """Return what decides the result of a training on `cache`: parameters, classes and the cache itself."""
        parameters = {k: v for k, v in self.get_params().items() if k != "max_bytes"}
        return {"parameters": parameters, "classes": list(cache.classes), "cache": cache.fingerprint}

    def save(self, path: str | Path) -> None:
        """Write the regressor with the record of its training; `BoxRegressor.load` reads it."""
        self.regressor_.save(path)


@dataclass(frozen=True)
class BoxExamples:
    """The regions of an image that box regression learns from.

    Attributes:
        rows: (n,) int64, rows within the image; ground-truth rows are among them.
        objects: (n,) int64, the row of the object that each overlaps best.
        overlap: (n,) float32, IoU with that object, by areas of inclusive pixels.
        cls: (n,) int64, class index of that object.
        targets: (n, 4) float64, dx dy dw dh from region to object.
    """

    rows: np.ndarray
    objects: np.ndarray
    overlap: np.ndarray
    cls: np.ndarray
    targets: np.ndarray


def box_examples(boxes: np.ndarray, gt: np.ndarray, label: np.ndarray, min_overlap: float) -> BoxExamples:
    """Return the regions of an image that overlap an object enough, each with the object it overlaps best.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        gt: (N,) bool, the row is a ground-truth object.
        label: (N,) int, class index + 1 of a ground-truth row.
        min_overlap: examples have an IoU strictly above it, in single precision.

    Source: `rcnn_train_bbox_regressor.m`. The best object may be of any class; the first one on ties.
    """
    objects = np.flatnonzero(gt)
    if not len(objects):
        none = np.empty(0, np.int64)
        return BoxExamples(none, none, np.empty(0, np.float32), none, np.empty((0, 4)))
    iou = iou_matrix(boxes, boxes[objects])
    overlap = iou.max(axis=1).astype(np.float32)
    rows = np.flatnonzero(overlap > np.float32(min_overlap))
    best = objects[iou[rows].argmax(axis=1)]
    return BoxExamples(
        rows=rows,
        objects=best,
        overlap=overlap[rows],
        cls=label[best].astype(np.int64) - 1,
        targets=box_deltas(boxes[rows], boxes[best]),
    )


class NormalEquations:
    """Sums over the examples of a class from which its ridge regression is solved, in double precision.

    Args:
        dim: D.

    Source: `rcnn_train_bbox_regressor.m` solves the same equations from a matrix of all examples, in single
    precision.
    """

    def __init__(self, dim: int):
        # Z'Z, Z'Y and Y'Y of the features followed by a 1 (Z) and the targets (Y); of Z'Z only the lower triangle.
        # BLAS adds to it in place where it is stored column by column.
        self._zz = np.zeros((dim + 1, dim + 1), order="F")
        self._zy = np.zeros((dim + 1, 4))
        self._yy = np.zeros((4, 4))
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_pending = 0

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Add examples.

        Args:
            features: (n, D) float32, scaled.
            targets: (n, 4) float64.
        """
        self._pending.append((features, targets))
        self._num_pending += len(features)
        if self._num_pending >= ROWS_PER_PRODUCT:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        z = np.ones((self._num_pending, len(self._zz)))
        np.concatenate([features for features, _ in self._pending], out=z[:, :-1])
        y = np.concatenate([targets for _, targets in self._pending])
        self._zz = dsyrk(1.0, z.T, beta=1.0, c=self._zz, lower=1, overwrite_c=1)
        self._zy += z.T @ y
        self._yy += y.T @ y
        self._pending, self._num_pending = [], 0

    def solve(self, ridge_lambda: float) -> dict[str, np.ndarray]:
        """Return mu (4,), T (4, 4), T_inv (4, 4) and Beta (D + 1, 4) of the examples so far; empty without any.

        Args:
            ridge_lambda: weight of the squared weights, bias included.
        """
        self._flush()
        count = self._zz[-1, -1]
        if not count:
            return {}
        mu = self._zy[-1] / count
        values, vectors = np.linalg.eigh(self._yy / count - np.outer(mu, mu))
        T, T_inv = ((vectors * (values + paper.BBOX_WHITENING_EPS) ** power) @ vectors.T for power in (-0.5, 0.5))
        # Sums of whitened targets follow from those of the targets: (Y - mu) T is linear in Y.
        right = (self._zy - np.outer(self._zz[-1], mu)) @ T
        left = self._zz.copy(order="F")
        left[np.diag_indices_from(left)] += ridge_lambda
        factor = cho_factor(left, lower=True, overwrite_a=True, check_finite=False)
        return {"mu": mu, "T": T, "T_inv": T_inv, "Beta": cho_solve(factor, right, check_finite=False)}


class _Image(NamedTuple):
    """The regions of an image, and which of them are examples."""

    image_id: str
    regions: Block
    examples: BoxExamples

    def features_of(self, examples: np.ndarray) -> np.ndarray:
        """Return the (n, D) float32 features of some of the examples, by number or mask."""
        rows = self.examples.rows[examples]
        features = self.regions.features(rows)
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            raise InputError(
                f"row {rows[finite.argmin()]} of image {self.image_id} has features that are not finite numbers; "
                "extract them again (the inspect stage verifies a cache)"
            )
        return features


class _Training:
    """The state of one run of `BoxRegressorTrainer.fit`."""

    def __init__(self, trainer: BoxRegressorTrainer, cache: FeatureCache, checkpoint: str | Path | None):
        self.trainer = trainer
        self.cache = cache
        self.identity = trainer.identity(cache)
        self.checkpoint = None if checkpoint is None else Checkpoint(checkpoint, self.identity)
        norm = trainer.feat_norm_mean
        self.norm = mean_feature_norm(cache, trainer.seed) if norm is None else float(norm)
        self.held_out = np.zeros(cache.num_images, bool)
        if cache.num_images > 1:
            self.held_out[split_folds(cache.num_images, min(HELD_OUT_FOLDS, cache.num_images), trainer.seed)[0]] = True

    def run(self) -> BoxRegressor:
        """Train as many classes at once as memory allows, until all are done."""
        count = len(self.cache.classes)
        regressor = self._untrained()
        # Per class: examples; number and summed IoU, before and after, of the proposals among them; the same three
        # of the proposals that were held out.
        sums = np.zeros((count, 7))
        done = self._load(regressor, sums)
        # A solution takes as much memory as the sums it is made from.
        at_once = max(self.trainer.max_bytes // (8 * (self.cache.dim + 1) ** 2) - 1, 1)
        total = 2 * self.cache.num_images * -(-(count - done) // at_once)
        with progress_bar(total, f"boxes {self.cache.name}", "image") as bar:
            for first in range(done, count, at_once):
                group = range(first, min(first + at_once, count))
                self._train(group, regressor, sums, bar)
                self._save(group.stop, regressor, sums)
        self._report(sums[:, 0])
        regressor.training = {
            "identity": self.identity,
            "image_set": self.cache.name,
            "num_images": self.cache.num_images,
            "num_held_out": int(self.held_out.sum()),
            "examples": sums[:, 0].astype(int).tolist(),
            "proposals": _means(sums[:, 1:4]),
            "held_out": _means(sums[:, 4:]),
        }
        return regressor

    def _untrained(self) -> BoxRegressor:
        cache = self.cache
        return BoxRegressor.identity(cache.classes, cache.dim, self.norm, feature_settings=cache.settings)

    def _train(self, group: range, regressor: BoxRegressor, sums: np.ndarray, bar: tqdm) -> None:
        """Train a group of classes: their part of `regressor` and of `sums`."""
        equations = {c: NormalEquations(self.cache.dim) for c in group}
        for image in self._images(~self.held_out):
            self._add(image, equations)
            bar.update()
        others = self._untrained()
        self._solve(equations, others)
        for image in self._images(self.held_out):
            self._measure(image, group, others, sums[:, 4:])
            self._add(image, equations)
            bar.update()
        self._solve(equations, regressor)
        for image in self._images(np.ones_like(self.held_out)):
            in_group = np.isin(image.examples.cls, group)
            np.add.at(sums[:, 0], image.examples.cls[in_group], 1)
            self._measure(image, group, regressor, sums[:, 1:4])
            bar.update()

    def _images(self, wanted: np.ndarray) -> Iterator[_Image]:
        """Yield the images that `wanted`, (I,) bool, names, in order, with their examples."""
        for image in np.flatnonzero(wanted).tolist():
            regions = self.cache.block(image)
            examples = box_examples(regions.boxes, regions.gt, regions.label, self.trainer.min_overlap)
            yield _Image(self.cache.image_ids[image], regions, examples)

    def _add(self, image: _Image, equations: dict[int, NormalEquations]) -> None:
        """Add the examples of an image to the sums of their classes."""
        for c, of_class in _by_class(image.examples.cls, equations):
            scaled = image.features_of(of_class) * feature_scale(self.norm)
            equations[c].add(scaled, image.examples.targets[of_class])

    def _solve(self, equations: dict[int, NormalEquations], regressor: BoxRegressor) -> None:
        """Set the classes of `regressor` that have examples."""
        for c, sums in equations.items():
            for name, array in sums.solve(self.trainer.ridge_lambda).items():
                getattr(regressor, name)[c] = array

    def _measure(self, image: _Image, group: range, regressor: BoxRegressor, sums: np.ndarray) -> None:
        """Add number and IoU, before and after correction, of an image's proposals to the (K, 3) `sums`."""
        regions, examples = image.regions, image.examples
        chosen = np.isin(examples.cls, group) & ~regions.gt[examples.rows]
        if not chosen.any():
            return
        rows, cls = examples.rows[chosen], examples.cls[chosen]
        size = tuple(regions.image_size[0].tolist())
        corrected = regressor.correct(image.features_of(chosen), regions.boxes[rows], cls, size)
        # Ground truth comes first, so that an object's row is its number.
        iou = iou_matrix(corrected, regions.boxes[regions.gt])[np.arange(len(rows)), examples.objects[chosen]]
        np.add.at(sums, cls, np.column_stack([np.ones(len(rows)), examples.overlap[chosen], iou]))

    def _report(self, counts: np.ndarray) -> None:
        """Refuse a training without examples, warn of classes without."""
        if not counts.any():
            raise InputError(
                f"no region of {self.cache.name} overlaps an object by more than {self.trainer.min_overlap:g}; "
                "the cache must hold ground truth to learn from"
            )
        for name, count in zip(self.cache.classes, counts, strict=True):
            if not count:
                warnings.warn(f"class {plain(name)!r} has no examples: its boxes stay uncorrected", stacklevel=4)

    def _load(self, regressor: BoxRegressor, sums: np.ndarray) -> int:
        """Take over a checkpoint, if there is one, and return the number of classes done."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return 0

        def take_over(done: int, arrays: dict[str, np.ndarray]) -> int:
            for name in PER_CLASS:
                getattr(regressor, name)[...] = arrays[name]
            sums[...] = arrays["sums"]
            return done

        return self.checkpoint.resume(take_over)

    def _save(self, done: int, regressor: BoxRegressor, sums: np.ndarray) -> None:
        if self.checkpoint is not None:
            self.checkpoint.save(done, {"sums": sums, **{name: getattr(regressor, name) for name in PER_CLASS}})


def _by_class(cls: np.ndarray, wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the wanted classes that occur in `cls`, each with where."""
    for c in np.intersect1d(cls, list(wanted)):
        yield int(c), np.flatnonzero(cls == c)


def _means(sums: np.ndarray) -> dict[str, list]:
    """Return number and mean IoU before and after correction of every class, JSON-able; None without boxes."""
    rows = sums.tolist()
    return {
        "number": [int(number) for number, _, _ in rows],
        "iou": [before / number if number else None for number, before, _ in rows],
        "corrected_iou": [after / number if number else None for number, _, after in rows],
    }
