"""Training of bounding-box regression on a feature cache, read as a stream.

All that a class's ridge regression needs are sums over its examples, so memory holds the sums of some classes
and never the features of all examples. What it would do to the boxes of images that it did not see follows from the
same sums and those images' own examples, without another training.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve, solve_triangular
from scipy.linalg.blas import dsyrk
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from rcnn_svm import paper
from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.boxes import apply_box_deltas, box_deltas, clip_boxes, iou_matrix
from rcnn_svm.cache.blocks import Block
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale, mean_feature_norm
from rcnn_svm.detection.bbox_regression import PER_CLASS, BoxRegressor
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import NONE, SEED, check_parameters, checks, plain, real, whole
from rcnn_svm.progress import progress_bar

# A fifth of a class's examples is held out at a time to see what corrections do to boxes that no fit has seen; of more
# examples, so many, since the work grows with their square.
HELD_OUT_FOLDS = 5
MOST_HELD_OUT = 1024
# A product of fewer rows spends its time on the matrix it is added to.
ROWS_PER_PRODUCT = 512


class BoxRegressorTrainer(BaseEstimator):
    """Trains a `BoxRegressor` on a feature cache.

    Args:
        ridge_lambda: weight of the squared weights against the squared errors of whitened targets.
        min_overlap: a region is an example when its IoU with an object is strictly above this.
        feat_norm_mean: mean norm of the features; measured on a seeded sample where None.
        seed: seeds the sample of norms.
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

        Every image's boxes are also corrected as by a regressor trained without it; classes in which that makes the
        mean IoU of boxes with their objects no better are trained and recorded, and not used.

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
        """Write the regressor with the record of its training; `BoxRegressor.load` reads it.

        Raises:
            NotFittedError: `fit` was not called.
            InputError: it cannot be written.
        """
        check_is_fitted(self)
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
        self._factor: np.ndarray | None = None

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
        self._factor, _ = cho_factor(left, lower=True, overwrite_a=True, check_finite=False)
        return {"mu": mu, "T": T, "T_inv": T_inv, "Beta": cho_solve((self._factor, True), right, check_finite=False)}

    def without_some(self) -> WithoutSome:
        """Return what predicts from the last solution as if some examples had been left out."""
        if self._factor is None:
            raise ValueError("there is no solution yet; call solve first")
        return WithoutSome(self._factor, np.column_stack([self._zy, self._zz[-1]]))


class WithoutSome:
    """Predictions of a ridge regression for some of its examples as if it had been trained without them.

    Args:
        factor: (D + 1, D + 1) float64, lower Cholesky factor of Z'Z + lambda over all examples; Z are their features
            followed by a 1.
        products: (D + 1, 5) float64, Z'Y for their targets followed by a 1 (Y).

    Source: residuals of examples that are left out together are (I - H)^-1 times those of the fit, where H is their
    block of Z (Z'Z + lambda)^-1 Z': Cook & Weisberg, Residuals and Influence in Regression, 1982, section 3.6. The
    whitening of the targets cancels: all four have the same lambda.
    """

    def __init__(self, factor: np.ndarray, products: np.ndarray):
        self._factor, self._products = factor, products
        self._weights = cho_solve((factor, True), products, check_finite=False)

    @property
    def count(self) -> int:
        """Number of all examples."""
        return round(self._products[-1, -1])

    def predict(self, features: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return what the other examples predict for these: (m, 4) float64, dx dy dw dh.

        Args:
            features: (m, D) float32, scaled, of some of the examples, not of all.
            targets: (m, 4) float64, of the same.
        """
        z = np.hstack([features.astype(np.float64), np.ones((len(features), 1))])
        y = np.hstack([targets, np.ones((len(targets), 1))])
        half = solve_triangular(self._factor, z.T, lower=True, check_finite=False)
        # A little more on the diagonal: where lambda is tiny, examples explain themselves and I - H is singular.
        left = (1 + 1e-10) * np.eye(len(z)) - half.T @ half
        residuals = solve(left, y - z @ self._weights, assume_a="pos", check_finite=False)
        mu = (self._products[-1, :4] - targets.sum(axis=0)) / (self.count - len(z))
        # The regression is of targets minus their mean, which without these examples is another.
        predicted = y - residuals
        return mu + predicted[:, :4] - np.outer(predicted[:, 4], mu)


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


class _OfClass(NamedTuple):
    """The examples of a class in an image.

    Attributes:
        features: (m, D) float32, scaled.
        targets: (m, 4) float64.
        boxes, objects: (m, 4) float32, the regions and the object of each, x1 y1 x2 y2, 0-based inclusive pixels.
        overlap: (m,) float32, their IoU.
        proposals: (m,) bool, which are no ground truth themselves.
        image_size: height and width.
    """

    features: np.ndarray
    targets: np.ndarray
    boxes: np.ndarray
    objects: np.ndarray
    overlap: np.ndarray
    proposals: np.ndarray
    image_size: tuple[int, int]

    def measure(self, deltas: np.ndarray) -> np.ndarray:
        """Return number, and summed IoU before and after corrections, (m, 4), of the proposals: (3,) float64."""
        corrected = clip_boxes(apply_box_deltas(self.boxes, deltas), self.image_size)
        iou = np.diagonal(iou_matrix(corrected, self.objects))
        chosen = self.proposals
        return np.array([chosen.sum(), self.overlap[chosen].sum(dtype=np.float64), iou[chosen].sum()])


@dataclass
class _HeldOut:
    """Measures a class on examples that are held out, some images at a time.

    Attributes:
        fit: predicts without some examples.
        waiting: examples that are held out next, image by image.
        sums: (3,) float64, number of proposals and their summed IoU before and after correction.
    """

    fit: WithoutSome
    waiting: list[_OfClass] = field(default_factory=list)
    sums: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def add(self, examples: _OfClass) -> None:
        """Add those of the next image."""
        self.waiting.append(examples)
        if sum(len(part.boxes) for part in self.waiting) >= min(-(-self.fit.count // HELD_OUT_FOLDS), MOST_HELD_OUT):
            self.measure()

    def measure(self) -> None:
        """Correct the boxes of the waiting examples by all others."""
        waiting, self.waiting = self.waiting, []
        count = sum(len(part.boxes) for part in waiting)
        # Where all are of one image, nothing is left to learn from.
        if not 0 < count < self.fit.count:
            return
        features, targets = (np.concatenate(parts) for parts in list(zip(*waiting, strict=True))[:2])
        deltas = self.fit.predict(features, targets)
        ends = np.cumsum([len(part.boxes) for part in waiting])
        for part, of_part in zip(waiting, np.split(deltas, ends[:-1]), strict=True):
            self.sums += part.measure(of_part)


class _Training:
    """The state of one run of `BoxRegressorTrainer.fit`."""

    def __init__(self, trainer: BoxRegressorTrainer, cache: FeatureCache, checkpoint: str | Path | None):
        self.trainer = trainer
        self.cache = cache
        self.identity = trainer.identity(cache)
        self.checkpoint = None if checkpoint is None else Checkpoint(checkpoint, self.identity)
        norm = trainer.feat_norm_mean
        self.norm = mean_feature_norm(cache, trainer.seed) if norm is None else float(norm)

    def run(self) -> BoxRegressor:
        """Train as many classes at once as memory allows, until all are done."""
        count = len(self.cache.classes)
        regressor = self._untrained()
        # Per class: examples; number and summed IoU, before and after, of the proposals among them; the same three
        # where they were held out.
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
        number, before, after = sums[:, 4:].T
        regressor.used = (number == 0) | (after > before)
        regressor.training = {
            "identity": self.identity,
            "image_set": self.cache.name,
            "num_images": self.cache.num_images,
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
        for image in self._images():
            for c, examples in self._by_class(image, group):
                equations[c].add(examples.features, examples.targets)
            bar.update()
        held_out = {}
        for c in group:
            sums_of_class = equations.pop(c)  # its factor takes the place of its sums
            solution = sums_of_class.solve(self.trainer.ridge_lambda)
            if solution:
                for name, array in solution.items():
                    getattr(regressor, name)[c] = array
                held_out[c] = _HeldOut(sums_of_class.without_some())
        for image in self._images():
            for c, examples in self._by_class(image, group):
                deltas = regressor.deltas(examples.features, np.full(len(examples.boxes), c))
                sums[c, 0] += len(examples.boxes)
                sums[c, 1:4] += examples.measure(deltas)
                held_out[c].add(examples)
            bar.update()
        for c, of_class in held_out.items():
            of_class.measure()
            sums[c, 4:] = of_class.sums

    def _images(self) -> Iterator[_Image]:
        """Yield the images, in order, with their examples."""
        for image, image_id in enumerate(self.cache.image_ids):
            regions = self.cache.block(image)
            yield _Image(
                image_id, regions, box_examples(regions.boxes, regions.gt, regions.label, self.trainer.min_overlap)
            )

    def _by_class(self, image: _Image, wanted: Iterable[int]) -> Iterator[tuple[int, _OfClass]]:
        """Yield the wanted classes that have examples in an image, each with these."""
        regions, examples = image.regions, image.examples
        for c in np.intersect1d(examples.cls, list(wanted)).tolist():
            chosen = np.flatnonzero(examples.cls == c)
            rows = examples.rows[chosen]
            yield (
                c,
                _OfClass(
                    features=image.features_of(chosen) * feature_scale(self.norm),
                    targets=examples.targets[chosen],
                    boxes=regions.boxes[rows],
                    objects=regions.boxes[examples.objects[chosen]],
                    overlap=examples.overlap[chosen],
                    proposals=~regions.gt[rows],
                    image_size=tuple(regions.image_size[0].tolist()),
                ),
            )

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


def _means(sums: np.ndarray) -> dict[str, list]:
    """Return number and mean IoU before and after correction of every class, JSON-able; None without boxes."""
    rows = sums.tolist()
    return {
        "number": [int(number) for number, _, _ in rows],
        "iou": [before / number if number else None for number, before, _ in rows],
        "corrected_iou": [after / number if number else None for number, _, after in rows],
    }
