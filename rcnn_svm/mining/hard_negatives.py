"""Training of R-CNN's SVMs by hard negative mining, key by key like rcnn_train.m.

What is a negative, what is hard, when a class is trained and what is easy are the four rules of `rules.py`.
`reference.py` puts them together image by image, as the original does: it is the definition. This estimator finds the
same keys some hundred times faster, because every class goes through many images at once: `engine/class_miner.py` is
one class, `engine/class_cache.py` its examples, `engine/scan.py` hands blocks of images to the classes.
"""

from __future__ import annotations

import importlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import cpu_count
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from rcnn_svm import paper
from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.feature_norm import feature_scale, mean_feature_norm
from rcnn_svm.cache.folds import split_folds
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.engine.budget import MemoryBudget
from rcnn_svm.mining.engine.class_miner import ClassMiner, Setting, phase
from rcnn_svm.mining.engine.feature_pool import FeaturePool
from rcnn_svm.mining.engine.history import training_record
from rcnn_svm.mining.engine.scan import MiningLoop
from rcnn_svm.mining.engine.validation import Validation, check_validation
from rcnn_svm.mining.engine.watch import Watch
from rcnn_svm.mining.examples import class_columns, class_positives
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.parameters import NAMES, NONE, SEED, THREADS, check_parameters, checks, one_of, plain, real, whole
from rcnn_svm.svm.class_weights import AUTO, balanced_weight
from rcnn_svm.svm.solvers import SOLVERS, make_solver

# Beyond this, products with features leave the range of single precision.
LARGEST = 1e9
# A smaller relative gap drowns in the rounding of the objective.
MIN_TOLERANCE = 1e-13


class HardNegativeMiner(BaseEstimator):
    """Linear SVMs of all classes, trained on cached features by hard negative mining.

    Args:
        svm_C: weight of the hinge loss against the regulariser; `rcnn_svm.tuning.SvmCSearch` chooses it from data.
        pos_loss_weight: weight of a positive's loss relative to a negative's. Where `auto`, every class has its own,
            larger the fewer positives there are (`class_weights.py`).
        bias_mult: value of the feature that carries the bias, which is regularised like the weights.
        hard_thresh, evict_thresh, neg_overlap, retrain_limit: the numbers in the four rules (`rules.py`).
        max_epochs: largest number of passes over the images.
        stop_ratio: after every pass, compare each class's objective over all negatives of all images with that over
            its cache; stop when the ratio is below this for all (voc-dpm: 1.05). No such test where None.
        patience: where `fit` is given a cache to validate on, a class is mined no further after so many passes in a row
            that did not raise its average precision there; the detector of its best pass is kept.
        memory_budget: bytes for the examples of all classes. Every class has an equal share for its negatives; it
            is retrained before the share is full, and then gives up its easiest examples, but no support vectors,
            until half of its share is free (voc-dpm's policy). No limit where None. The table `budget` of the
            history has a row whenever it bound; results then differ from the original's.
        k_folds: also train this many detectors per class that each leave out one fold of the images; 0: none.
        solver: `dcd`, our warm-started dual coordinate descent, or `liblinear` through scikit-learn.
        tolerance: the solver stops at this relative duality gap with `dcd` (default 1e-6), and at this value of
            liblinear's own measure with `liblinear` (default 0.1, as published). Below about 1e-10 and 1e-8
            the optimum is reached to the last digit of a score and both find the same keys.
        classes: train only these (names of the cache's classes); all where None.
        feat_norm_mean: mean norm of the features; measured on a seeded sample where None.
        n_jobs: threads that share the classes among them; -1 for every core.
        seed: seeds the sample, the folds and the solver.
        block_bytes: bytes of features scored at once.

    Attributes set by `fit`:
        detector_: the trained `Detector`.
        history_: `MiningHistory`, with keys of everything added and evicted.
        negatives_: (N, 3) int32, class, image, row of the negatives in the caches at the end.
        support_: (S, 3) int32 and (S,) float32, class, image, row and score of the negatives on or inside the
            margin at the last training.
        image_ids_: identifiers of the images that keys count.
        folds_: the image indices of every fold.
        fold_detectors_: one `Detector` per fold.
        seconds_: time by phase: prepare, read, validate (by the calling thread), score, select, solve, evict (summed
            over threads).

    Examples:
        20 images of a dog and nine proposals each, whose features are smaller by one.

        >>> import numpy as np
        >>> from rcnn_svm import FeatureCache, HardNegativeMiner
        >>> dog = np.tile([1] + [0] * 9, 20)
        >>> cache = FeatureCache.from_arrays(
        ...     features=np.random.default_rng(0).random((200, 3)) + dog[:, None],
        ...     image_start=np.arange(0, 201, 10),
        ...     boxes=np.tile([0, 0, 9, 9], (200, 1)),
        ...     gt=dog,
        ...     label=dog,
        ...     overlap=dog[:, None],
        ...     classes=["dog"],
        ... )
        >>> miner = HardNegativeMiner(svm_C=0.1, retrain_limit=20).fit(cache)
        >>> scores = miner.detector_.scores(cache.regions(0).features)
        >>> (scores[:, 0] > 0).tolist()
        [True, False, False, False, False, False, False, False, False, False]
        >>> len(miner.negatives_)  # of 180 proposals; the others are easy
        5

    Source: `rcnn_train.m`. It differs in that liblinear there stops at tolerance 0.1 with a random order,
    which leaves the result uncertain by some percent; with a tight tolerance both give the same keys.
    """

    PARAMETER_CHECKS = checks(
        svm_C=real(above=0, at_most=LARGEST, hint=" (SvmCSearch chooses one)"),
        pos_loss_weight=real(above=0, at_most=LARGEST) | one_of([AUTO]),
        bias_mult=real(above=0, at_most=LARGEST),
        hard_thresh=real(at_least=-LARGEST, at_most=LARGEST),
        evict_thresh=real(at_least=-LARGEST, at_most=LARGEST),
        neg_overlap=real(at_least=0, at_most=1),
        retrain_limit=whole(at_least=0),
        max_epochs=whole(at_least=1),
        stop_ratio=real(above=1, hint=", such as 1.05") | NONE,
        patience=whole(at_least=1),
        memory_budget=whole(at_least=0) | NONE,
        k_folds=whole(at_least=0),
        solver=one_of(SOLVERS),
        tolerance=real(at_least=MIN_TOLERANCE, hint=", what double precision can show") | NONE,
        classes=NAMES | NONE,
        feat_norm_mean=real(above=0) | NONE,
        n_jobs=THREADS,
        seed=SEED,
        block_bytes=whole(at_least=1),
    )

    def __init__(
        self,
        *,
        svm_C: float = paper.SVM_C,
        pos_loss_weight: float | str = paper.POS_LOSS_WEIGHT,
        bias_mult: float = paper.BIAS_MULT,
        hard_thresh: float = paper.HARD_THRESH,
        evict_thresh: float = paper.EVICT_THRESH,
        neg_overlap: float = paper.NEG_OVERLAP,
        retrain_limit: int = paper.RETRAIN_LIMIT,
        max_epochs: int = paper.MAX_EPOCHS,
        stop_ratio: float | None = None,
        patience: int = 1,
        memory_budget: int | None = None,
        k_folds: int = 0,
        solver: str = "dcd",
        tolerance: float | None = None,
        classes: Sequence[str] | None = None,
        feat_norm_mean: float | None = None,
        n_jobs: int = -1,
        seed: int = paper.SEED,
        block_bytes: int = 32 << 20,
    ):
        self.svm_C = svm_C
        self.pos_loss_weight = pos_loss_weight
        self.bias_mult = bias_mult
        self.hard_thresh = hard_thresh
        self.evict_thresh = evict_thresh
        self.neg_overlap = neg_overlap
        self.retrain_limit = retrain_limit
        self.max_epochs = max_epochs
        self.stop_ratio = stop_ratio
        self.patience = patience
        self.memory_budget = memory_budget
        self.k_folds = k_folds
        self.solver = solver
        self.tolerance = tolerance
        self.classes = classes
        self.feat_norm_mean = feat_norm_mean
        self.n_jobs = n_jobs
        self.seed = seed
        self.block_bytes = block_bytes

    def fit(
        self,
        cache: FeatureCache,
        y: None = None,
        *,
        validate: FeatureCache | None = None,
        folds: Sequence[np.ndarray] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_seconds: float = 60.0,
        identity: dict[str, Any] | None = None,
        watch: Watch | None = None,
    ) -> HardNegativeMiner:
        """Train on a feature cache.

        Args:
            cache: regions and features of the training images.
            y: not used; labels are in the cache.
            validate: regions and features of other images, on which every class is judged after every pass: by its
                average precision (area), as in a test. A class whose precision no longer rises (see `patience`) is
                done, and all end with the detector of their best pass. All `max_epochs` passes where None.
            folds: image indices of every fold, instead of `k_folds` random ones.
            checkpoint: file where progress is kept, the end included; a training that finds one of its own goes
                on from there and ends with the same result. To be deleted when the result is safe.
            checkpoint_seconds: shortest time between two checkpoints.
            identity: what decides the result, for checkpoint and model; that of `identity` where None. A search
                around the miner has its own.
            watch: called after every training of a class with its examples and their scores (`WatchedTraining`), from
                the thread of the class.

        Raises:
            InputError: a parameter is out of range, a class is unknown or has no ground truth, features are not finite,
                the checkpoint is of another training, or `validate` cannot judge (see `check_validation`).
        """
        check_parameters(self)
        columns = class_columns(cache, self.classes)
        folds = split_folds(cache.num_images, self.k_folds, self.seed) if folds is None else list(folds)
        if validate is not None and self.max_epochs < 2:
            raise InputError(
                f"max_epochs = {self.max_epochs} leaves no pass that validation could spare; give 2 or more, or no "
                "cache to validate on"
            )
        identity = self.identity(cache, validate) if identity is None else identity
        seconds: dict[str, float] = defaultdict(float)
        with phase(seconds, "prepare"):
            norm = self._norm_of(cache)

            def detector(classes: Sequence[ClassMiner], parts: Sequence[tuple[np.ndarray, np.float32]]) -> Detector:
                weights, biases = zip(*parts, strict=True)
                return Detector(
                    classes=tuple(miner.name for miner in classes),
                    W=np.ascontiguousarray(np.stack(weights, axis=1)),
                    B=np.array(biases, np.float32),
                    feat_norm_mean=norm,
                    feature_settings=cache.settings,
                    training={
                        "identity": identity,
                        "image_set": cache.name,
                        "num_images": cache.num_images,
                        "num_regions": cache.num_rows,
                        "svm_C": self.svm_C,
                        "pos_loss_weight": [miner.pos_loss_weight for miner in classes],
                    },
                )

            def detector_of(classes: Sequence[ClassMiner]) -> Detector:
                return detector(classes, [(miner.weights, miner.bias) for miner in classes])

            classes = self._make_classes(cache, columns, norm, watch)
            if validate is not None:
                check_validation(validate, cache, detector_of(classes))
            loop = MiningLoop(
                cache,
                classes,
                max_epochs=self.max_epochs,
                stop_ratio=self.stop_ratio,
                validation=None if validate is None else Validation(validate, self.patience),
                detector_of=detector_of,
                block_bytes=self.block_bytes,
                checkpoint=None if checkpoint is None else Checkpoint(checkpoint, identity),
                checkpoint_seconds=checkpoint_seconds,
            )
            loop.load()
        left_out = loop.run(folds)
        for miner in classes:
            if not miner.num_updates:
                warnings.warn(
                    f"class {plain(miner.name)!r} never had a negative and is not trained: every region scores 0",
                    stacklevel=2,
                )
        self.detector_ = detector_of(classes)
        self.history_ = loop.history
        self.negatives_ = _with_class([miner.cache.negatives for miner in classes])
        keys, scores = zip(*(miner.cache.support for miner in classes), strict=True)
        self.support_ = _with_class(keys), np.concatenate(scores)
        self.image_ids_ = cache.image_ids
        self.folds_ = folds
        self.fold_detectors_ = [detector(classes, parts) for parts in left_out]
        self.seconds_ = {**seconds, **loop.seconds}
        return self

    def mine_classes(
        self,
        cache: FeatureCache,
        classes: Sequence[int],
        checkpoint: Checkpoint,
        *,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        """Mine some of the classes, as a part of a training that several processes share (`engine/parts.py`).

        Args:
            cache: regions and features of the training images.
            classes: numbers of the classes among those of the training.
            checkpoint: where they are kept; progress is found there too.
            checkpoint_seconds: shortest time between two checkpoints.

        Raises:
            InputError: as `fit`; or `stop_ratio` is given, which looks at all classes together.
        """
        check_parameters(self)
        if self.stop_ratio is not None:
            raise InputError(
                "stop_ratio looks at all classes together, so that no part of them can be mined alone; give the number "
                "of passes as max_epochs instead"
            )
        columns = class_columns(cache, self.classes)
        norm = self._norm_of(cache)
        loop = MiningLoop(
            cache,
            self._make_classes(cache, columns, norm, None, classes),
            max_epochs=self.max_epochs,
            stop_ratio=None,
            validation=None,
            detector_of=None,
            block_bytes=self.block_bytes,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
        )
        loop.load()
        loop.run([])

    def _make_classes(
        self,
        cache: FeatureCache,
        columns: Sequence[int],
        norm: float,
        watch: Watch | None,
        numbers: Sequence[int] | None = None,
    ) -> list[ClassMiner]:
        """Return the classes, or those of some numbers, before their first image.

        Neighbours share no pool, and every thread has one.
        """
        numbers = range(len(columns)) if numbers is None else numbers
        positives = class_positives(cache, columns)
        counts = [len(regions) for regions in positives]
        setting = Setting(
            rules=self.rules,
            solver=make_solver(self.solver, self.tolerance),
            svm_C=self.svm_C,
            bias_mult=self.bias_mult,
            seed=self.seed,
            image_start=cache.image_start,
            budget=MemoryBudget.of_bytes(self.memory_budget, counts, cache.dim),
            watch=watch,
        )
        num_pools, scale = min(self._num_threads, len(numbers)), feature_scale(norm)
        in_pools = [[counts[number] for number in numbers[pool::num_pools]] for pool in range(num_pools)]
        max_rows = [setting.budget.max_rows(of_pool, cache.num_rows) for of_pool in in_pools]
        pools = [FeaturePool(cache.dim, scale, rows, cache.check_finite) for rows in max_rows]
        return [
            ClassMiner(
                index,
                columns[index],
                cache.classes[columns[index]],
                positives[index],
                pos_loss_weight=self._weight_of_positives(counts[index], cache.num_rows),
                setting=setting,
                pool=pools[place % num_pools],
            )
            for place, index in enumerate(numbers)
        ]

    def _norm_of(self, cache: FeatureCache) -> float:
        """Return the mean norm of the features: what was given, or what is measured."""
        if self.feat_norm_mean is not None:
            return float(self.feat_norm_mean)
        return mean_feature_norm(cache, self.seed, self._num_threads)

    def _weight_of_positives(self, num_positives: int, num_regions: int) -> float:
        """Return the weight of a positive's loss for a class, the same in all its trainings."""
        if not isinstance(self.pos_loss_weight, str):  # which is AUTO
            return self.pos_loss_weight
        return balanced_weight(num_positives, self.retrain_limit, num_regions)

    @property
    def _num_threads(self) -> int:
        return self.n_jobs if self.n_jobs > 0 else max(cpu_count() + 1 + self.n_jobs, 1)

    def identity(self, cache: FeatureCache, validate: FeatureCache | None = None) -> dict[str, Any]:
        """Return what decides the result of a training on `cache`: parameters, classes and the caches themselves."""
        ignored = {"n_jobs", "block_bytes"} | ({"patience"} if validate is None else set())
        parameters = {k: v for k, v in self.get_params().items() if k not in ignored}
        parameters["classes"] = list(cache.classes if self.classes is None else self.classes)
        identity = {"parameters": parameters, "cache": cache.fingerprint}
        return identity if validate is None else {**identity, "validate": validate.fingerprint}

    @property
    def rules(self) -> MiningRules:
        """What is a negative, what is hard or easy, and when a class is retrained."""
        return MiningRules(self.hard_thresh, self.evict_thresh, self.neg_overlap, self.retrain_limit)

    def save(self, path: str | Path) -> None:
        """Write the detector with the whole record of its training; `Detector.load` reads it.

        Raises:
            NotFittedError: `fit` was not called.
            InputError: it cannot be written.
        """
        check_is_fitted(self)
        record = training_record(self.history_, self.negatives_, self.support_, self.image_ids_)
        if self.fold_detectors_:
            record["fold_W"] = np.stack([detector.W for detector in self.fold_detectors_])
            record["fold_B"] = np.stack([detector.B for detector in self.fold_detectors_])
            record["fold_of_image"] = np.empty(len(self.image_ids_), np.int32)
            for number, fold in enumerate(self.folds_):
                record["fold_of_image"][fold] = number
        self.detector_.save(path, record)

    def report(self, cache: FeatureCache, folder: str | Path, **options: Any) -> Path:
        """Write a page that shows what was hard, and return its path.

        Args:
            cache: the features that the miner was fitted on.
            folder: where to write it; made if needed.
            options: arguments of `rcnn_svm.Report`, such as the `images`.

        Raises:
            NotFittedError: `fit` was not called.
            InputError: as `Report.save`.
        """
        check_is_fitted(self)
        record = training_record(self.history_, self.negatives_, self.support_, self.image_ids_)
        # By name, as reports import mining.
        report = importlib.import_module("rcnn_svm.reports.html").Report
        return report(self.detector_, record, cache, n_jobs=self.n_jobs, **options).save(folder)


def _with_class(keys: Sequence[np.ndarray]) -> np.ndarray:
    """Return (N, 3) int32, class, image and row, of every class's keys (n, 2)."""
    return np.concatenate([np.insert(part, 0, index, axis=1) for index, part in enumerate(keys)]).astype(np.int32)
