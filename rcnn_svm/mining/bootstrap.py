"""Bootstrapping for any classifier: train on few examples, scan all of them, add what is hard, train again.

Only the training set is in memory; all the data are a stream of batches that is gone through once a round. An
example is known by its position in the stream, so it is never in the set twice.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.utils import check_array, check_random_state, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from rcnn_svm.errors import InputError
from rcnn_svm.mining.example_stream import Batch, ExampleSet, ExampleStream, FitParameters
from rcnn_svm.parameters import FLAG, INFINITY, NONE, Check, check_parameters, checks, one_of, plain, real, whole
from rcnn_svm.progress import progress_bar

# Rows of an array that are scored at once.
BLOCK_ROWS = 8192
# As scikit-learn's log loss has it: no probability counts as smaller.
SMALLEST_PROBABILITY = np.finfo(np.float64).eps
DTYPES = (np.float64, np.float32)
MINED = ("negatives", "all")

_SCORED = Check(
    lambda value: (
        hasattr(value, "__sklearn_tags__")
        and not isinstance(value, type)
        and is_classifier(value)
        and (hasattr(value, "decision_function") or hasattr(value, "predict_proba"))
    ),
    "a classifier with a decision function or probabilities, which say what is hard",
)
_RANDOM_STATE = Check(lambda value: isinstance(value, np.random.RandomState), "a RandomState")


@dataclass(frozen=True)
class BootstrapRound:
    """One round: a training and the scan that follows it.

    Attributes:
        examples: number of examples in the set that was trained on.
        hard: number of examples outside the set that the scan found hard.
        added: number of these that came into the set of the next round.
        evicted: number of easy examples that left the set.
        loss: loss summed over the set: the hinge loss of a decision function, the log loss of probabilities.
        loss_all: loss summed over all data.
        score: score on the validation data, NaN where there are none.
        fit_seconds: seconds that the training took.
        scan_seconds: seconds that the scan took.
    """

    examples: int
    hard: int
    added: int
    evicted: int
    loss: float
    loss_all: float
    score: float
    fit_seconds: float
    scan_seconds: float


def class_scores(estimator: BaseEstimator, X: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return an estimator's scores and whether they are probabilities.

    Args:
        estimator: fitted; its decision function is preferred to its probabilities.
        X: (N, D).

    Returns:
        (N,) scores of the second class from a binary decision function, else (N, K).

    Raises:
        InputError: the decision function has not one column for every class, or a score is not a number.
    """
    probabilities = not hasattr(estimator, "decision_function")
    scores = estimator.predict_proba(X) if probabilities else estimator.decision_function(X)
    if np.isnan(scores).any():
        raise InputError(
            f"{type(estimator).__name__} gives scores that are not numbers, so nothing is easy or hard; it "
            "has probably diverged: scale the features or train it more carefully"
        )
    if probabilities:
        return scores, True
    if scores.ndim == 2 and scores.shape[1] != len(estimator.classes_):
        raise InputError(
            f"the decision function of {type(estimator).__name__} has {scores.shape[1]} columns for "
            f"{len(estimator.classes_)} classes; one for every class is needed (decision_function_shape='ovr')"
        )
    return scores, False


def margins(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return by how much every example's own class is ahead of the best other one.

    Args:
        scores: (N,) of the second class against the first, or (N, K).
        target: (N,) int, index of the own class.

    Returns:
        (N,) float64; negative for what is classified wrongly.
    """
    if scores.ndim == 1:
        return np.where(target == 1, scores, -scores).astype(np.float64)
    rows = np.arange(len(target))
    others = scores.astype(np.float64)
    own = others[rows, target]
    others[rows, target] = -np.inf
    return own - others.max(axis=1)


def predictions(scores: np.ndarray) -> np.ndarray:
    """Return (N,) int, the class with the highest score; the first of several."""
    return (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)


def example_losses(scores: np.ndarray, target: np.ndarray, probabilistic: bool) -> np.ndarray:
    """Return (N,) float64: log loss of probabilities, else hinge loss of the margin (Crammer & Singer's for K > 2)."""
    if probabilistic:
        own = scores[np.arange(len(target)), target].astype(np.float64)
        return -np.log(np.maximum(own, SMALLEST_PROBABILITY))
    return np.maximum(0.0, 1.0 - margins(scores, target))


@dataclass(frozen=True)
class Scan:
    """What a pass over all data found.

    Attributes:
        new: the hard examples outside the set, at most as many as may be added.
        num_hard: so many there are.
        margin: (n,) float64, of the examples in the set.
        loss: summed over the set.
        loss_all: summed over all data.
        confusion: (K, K) int64, number of examples of all data by class and predicted class.
    """

    new: list[ExampleSet]
    num_hard: int
    margin: np.ndarray
    loss: float
    loss_all: float
    confusion: np.ndarray

    def collapse(self, classes: np.ndarray, is_mined: np.ndarray) -> str | None:
        """Return a sentence where the classifier hardly predicts what is not mined; None where it does.

        Nothing new is hard to such a classifier, as it has no false positives. The measure is ours: fewer than a tenth
        of these examples are found; or fewer than half as many are predicted as there are, most of them wrongly. A
        regularised classifier may well find less than half of them. Where all classes are mined: one is never said.
        """
        total = self.confusion.sum()
        if is_mined.all():
            never = classes[self.confusion.sum(axis=0) == 0]
            return f"the classifier says {plain(never[0])!r} to none of {total} examples" if len(never) else None
        predicted = self.confusion[:, ~is_mined].sum()
        present, found = self.confusion[~is_mined].sum(), self.confusion[np.ix_(~is_mined, ~is_mined)].sum()
        negative = repr(plain(classes[is_mined][0]))
        if predicted == 0:
            return f"the classifier says {negative} to all {total} examples"
        if 10 * found < present or (2 * predicted < present and 2 * found < predicted):
            return (
                f"the classifier has collapsed: it says other than {negative} to {predicted} of {total} examples, "
                f"{found} of them rightly, where {present} are"
            )
        return None


class BootstrapClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier trained by bootstrapping: on a small set that grows by the examples it gets wrong.

    Every round trains a classifier on the set, applies it to all data, and adds what is hard and not in the set.
    The rounds end when nothing new is hard, when one of the tests below says so, or after `max_rounds`.

    Args:
        estimator: a classifier with a decision function or probabilities. Every round trains a clone; one that has
            `partial_fit` and its own `warm_start=True` goes on from its parameters of the round before.
        mined: which examples are sampled at first and added when hard. `negatives`: those of the class whose label
            sorts first (0 of 0 and 1, -1 of -1 and 1; of "face" and "other" it is "face", and a warning says so where
            it is rare) or of `negative_label`, so that false positives are added; all others are in the set from the
            start. `all`: those of any class.
        negative_label: the label of the negatives, which are mined with `mined="negatives"`.
        initial_size: size of the first sample, in every mined class: a number of examples, or a fraction of at most
            1.0.
        hard_margin: an example is hard when it is classified wrongly, or when the score of its class is ahead of the
            best other by strictly less than this (of a binary decision function: y f(x), so 1 is the SVM's margin).
        evict_margin: an example of a mined class leaves when it is ahead by strictly more than this; it returns when
            it is hard again, and the hardest of a class always stays. Nor does an example leave where that would give
            a set that was trained on before: support vectors at the margin would leave and return for ever. No
            example leaves where None.
        max_added: largest number of examples added in a round, the hardest first; no limit where None.
        stop_ratio: stop when the loss summed over all data is below this times that over the set, such as 1.05. No
            such test where None.
        validation_fraction: fraction of every class that is held out to score the rounds; nothing is held out where
            None.
        scoring: scores the validation data, as in scikit-learn; the estimator's own score where None.
        n_rounds_no_change: number of rounds that do not beat the best one on validation data, after which it stops.
        max_rounds: largest number of rounds.
        random_state: seeds the sample, the choice of validation data, and the estimator's seeds that are None.
        verbose: whether to show progress.

    Attributes set by `fit`, complete after every round, so that an interrupted fit keeps the last one:
        classes_: (K,) the labels.
        estimator_: the classifier of the last round; with validation data, of the best.
        indices_: (n,) int64, the examples it was trained on: rows of X, or positions in the stream.
        added_round_: (n,) int32, the round in which each of them came into the set.
        history_: a `BootstrapRound` for every round.
        n_rounds_: the number of rounds.
        stopped_by_: `nothing new`, `stop_ratio`, `validation` or `max_rounds`; `collapse` where nothing new is hard
            because the classifier hardly predicts what is not mined, of which a warning says more.

    Examples:
        >>> import numpy as np
        >>> from sklearn.svm import LinearSVC
        >>> from rcnn_svm import BootstrapClassifier
        >>> y = np.arange(2000) % 100 == 0  # 20 positives
        >>> X = np.random.default_rng(0).standard_normal((2000, 2)) + 3 * y[:, None]
        >>> classifier = BootstrapClassifier(LinearSVC(), initial_size=20, random_state=0).fit(X, y)
        >>> [(one.examples, one.added) for one in classifier.history_]  # of 2000 examples
        [(40, 52), (92, 0)]
        >>> classifier.score(X, y)
        0.998

    Source: Sung and Poggio, Example-based learning for view-based human face detection (1994, 1998). `stop_ratio`
    and `evict_margin`: Felzenszwalb et al., Object detection with discriminatively trained part-based models (2010),
    and voc-dpm, whose ratio is of objectives: with the regulariser, which only the estimator knows, on both sides it
    is nearer to 1 than ours of losses.
    """

    PARAMETER_CHECKS = checks(
        estimator=_SCORED,
        mined=one_of(MINED),
        initial_size=whole(at_least=1) | real(above=0, at_most=1, noun="a fraction"),
        hard_margin=real(at_least=0) | INFINITY,
        evict_margin=real() | INFINITY | NONE,
        max_added=whole(at_least=1) | NONE,
        stop_ratio=real(above=1, hint=", such as 1.05") | NONE,
        validation_fraction=real(above=0, below=1) | NONE,
        scoring=Check(lambda value: isinstance(value, str) or callable(value), "a name or a function") | NONE,
        n_rounds_no_change=whole(at_least=1),
        max_rounds=whole(at_least=1),
        random_state=whole(at_least=0, at_most=2**32 - 1) | _RANDOM_STATE | NONE,
        verbose=FLAG,
    )

    def __init__(
        self,
        estimator: BaseEstimator,
        *,
        mined: str = "negatives",
        negative_label: Any = None,
        initial_size: int | float = 0.1,
        hard_margin: float = 0.0,
        evict_margin: float | None = None,
        max_added: int | None = None,
        stop_ratio: float | None = None,
        validation_fraction: float | None = None,
        scoring: str | Callable | None = None,
        n_rounds_no_change: int = 1,
        max_rounds: int = 20,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ):
        self.estimator = estimator
        self.mined = mined
        self.negative_label = negative_label
        self.initial_size = initial_size
        self.hard_margin = hard_margin
        self.evict_margin = evict_margin
        self.max_added = max_added
        self.stop_ratio = stop_ratio
        self.validation_fraction = validation_fraction
        self.scoring = scoring
        self.n_rounds_no_change = n_rounds_no_change
        self.max_rounds = max_rounds
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        X_val: np.ndarray | None = None,
        y_val: np.ndarray | None = None,
        initial: np.ndarray | None = None,
        new_batches: Callable[[], Iterable[Batch]] | None = None,
        **fit_params: Any,
    ) -> BootstrapClassifier:
        """Train on arrays.

        Args:
            X: (N, D) examples.
            y: (N,) labels.
            X_val, y_val: validation data, instead of `validation_fraction`.
            initial: (n,) int, rows to begin with instead of a sample, such as `indices_` of an interrupted fit. The
                classes that are not mined are in the set in any case, validation data in none.
            new_batches: returns batches of further examples, as for `fit_batches` but others in every call, such as new
                images without a face: Sung and Poggio's way to mine. Every scan goes through one call's after X.
                Their positions go on from N through all calls. Fitting ends when one call brings nothing hard.
            fit_params: what `estimator.fit` takes besides, such as `sample_weight`, (N,), which weights the losses of
                the history too; what has N entries is taken by example. With scikit-learn's metadata routing, what
                the estimator requests.

        Raises:
            InputError: a parameter is out of range, a class has no example to begin with, or weights do not fit.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, **self._array_checks())
        check_classification_targets(y)
        self.classes_, target = np.unique(y, return_inverse=True)

        def blocks() -> Iterator[Batch]:
            for first in range(0, len(target), BLOCK_ROWS):
                rows = slice(first, first + BLOCK_ROWS)
                yield X[rows], target[rows]

        counts = np.bincount(target, minlength=len(self.classes_))
        return self._fit(blocks, counts, X_val, y_val, initial, new_batches, fit_params)

    def fit_batches(
        self,
        batches: Callable[[], Iterable[Batch]],
        *,
        classes: Sequence | None = None,
        X_val: np.ndarray | None = None,
        y_val: np.ndarray | None = None,
        initial: np.ndarray | None = None,
        new_batches: Callable[[], Iterable[Batch]] | None = None,
        **fit_params: Any,
    ) -> BootstrapClassifier:
        """Train on data of which only the set and one batch are in memory.

        Args:
            batches: returns the batches, (n, D) examples and (n,) labels each, anew whenever it is called and always
                in the same order. It is called twice to begin with, and once a round.
            classes: the labels; those that appear where not given.
            X_val, y_val, initial, new_batches, fit_params: as in `fit`, with positions in the stream for rows.

        Raises:
            InputError: as in `fit`; or batches that do not fit together, hold unknown labels, or change.
        """
        self._check_parameters()
        _check_callable(batches, "batches")
        self.n_features_in_ = None  # as in the first batch
        counts = self._count(batches, classes)
        return self._fit(lambda: self._encoded(batches), counts, X_val, y_val, initial, new_batches, fit_params)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return which metadata of `fit` the estimator gets."""
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    @available_if(lambda self: hasattr(self.estimator, "decision_function"))
    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the decision function of `estimator_`, (N,) or (N, K)."""
        X = self._checked(X)
        return self.estimator_.decision_function(X)

    @available_if(lambda self: hasattr(self.estimator, "predict_proba"))
    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probabilities of `estimator_`, (N, K)."""
        X = self._checked(X)
        return self.estimator_.predict_proba(X)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the labels that `estimator_` predicts, (N,)."""
        X = self._checked(X)
        return self.estimator_.predict(X)

    def __sklearn_tags__(self):
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.input_tags.sparse = inner.input_tags.sparse
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        if inner.classifier_tags is not None:
            tags.classifier_tags.multi_class = inner.classifier_tags.multi_class
            tags.classifier_tags.poor_score = inner.classifier_tags.poor_score
        return tags

    def _check_parameters(self) -> None:
        check_parameters(self)
        hard, evicted = plain(self.hard_margin), plain(self.evict_margin)
        if evicted is not None and evicted < hard:
            raise InputError(
                f"evict_margin = {evicted!r} must not be below hard_margin = {hard!r}, or examples would come and go"
            )

        if self.negative_label is not None and self.mined == "all":
            raise InputError("negative_label is for mined = 'negatives'; with mined = 'all' leave it out")

    def _is_mined(self, counts: np.ndarray) -> np.ndarray:
        """Return (K,) bool, which classes are mined."""
        labels = self.classes_.tolist()
        if self.mined == "all":
            return np.ones(len(labels), bool)
        negative = labels[0] if self.negative_label is None else plain(self.negative_label)
        is_mined = np.array([isinstance(negative, (str, bool, int, float)) and label == negative for label in labels])
        if not is_mined.any():
            raise InputError(f"negative_label = {negative!r} is none of the classes {', '.join(map(str, labels))}")
        others, total = int(counts[~is_mined].sum()), int(counts.sum())
        if self.negative_label is None and 2 * counts[0] < others:
            warnings.warn(
                f"the {counts[0]} examples of class {negative!r} are mined, as this label sorts first, and training "
                f"begins with all others, {others} of {total}; give negative_label where another class is meant",
                stacklevel=4,
            )
        return is_mined

    def _array_checks(self) -> dict:
        return {
            "accept_sparse": "csr",
            "dtype": DTYPES,
            "ensure_all_finite": not get_tags(self.estimator).input_tags.allow_nan,
        }

    def _checked(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self, "estimator_")
        return validate_data(self, X, reset=False, **self._array_checks())

    def _labelled(self, batches: Callable[[], Iterable[Batch]]) -> Iterator[Batch]:
        """Yield checked batches."""
        for number, batch in enumerate(batches()):
            if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
                raise InputError(f"batch {number} is a {type(batch).__name__}, expected a pair of examples and labels")
            X, y = batch
            X, y = check_array(X, ensure_min_samples=0, **self._array_checks()), np.asarray(y)
            if self.n_features_in_ is None:
                self.n_features_in_ = X.shape[1]
            if X.shape[1] != self.n_features_in_ or y.shape != (X.shape[0],):
                raise InputError(
                    f"batch {number} has examples of shape {X.shape} and labels of shape {y.shape}, expected "
                    f"(n, {self.n_features_in_}) and (n,)"
                )
            yield X, y

    def _encoded(self, batches: Callable[[], Iterable[Batch]]) -> Iterator[Batch]:
        """Yield checked batches with the indices of the classes instead of the labels."""
        for X, y in self._labelled(batches):
            target = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
            if (self.classes_[target] != y).any():
                unknown = np.setdiff1d(y, self.classes_)[0]
                raise InputError(
                    f"label {plain(unknown)!r} is none of the classes {', '.join(map(str, self.classes_))}"
                )
            yield X, target

    def _count(self, batches: Callable[[], Iterable[Batch]], classes: Sequence | None) -> np.ndarray:
        """Set `classes_` and return how many examples each has."""
        if classes is None:
            counts: dict = {}
            for _, y in self._labelled(batches):
                check_classification_targets(y)
                for label, count in zip(*np.unique(y, return_counts=True), strict=True):
                    counts[label] = counts.get(label, 0) + int(count)
            self.classes_ = np.array(sorted(counts))
            return np.array([counts[label] for label in self.classes_])
        self.classes_ = np.unique(classes)
        nothing = np.zeros(len(self.classes_), np.int64)
        return sum((np.bincount(target, minlength=len(nothing)) for _, target in self._encoded(batches)), nothing)

    def _fit(
        self,
        batches: Callable[[], Iterable[Batch]],
        counts: np.ndarray,
        X_val: np.ndarray | None,
        y_val: np.ndarray | None,
        initial: np.ndarray | None,
        new_batches: Callable[[], Iterable[Batch]] | None,
        fit_params: dict[str, Any],
    ) -> BootstrapClassifier:
        """Run the rounds over batches of examples and class indices.

        Args:
            counts: (K,) int, examples of every class.
        """
        if len(counts) < 2 or not counts.all():
            found = ", ".join(f"{label}: {count}" for label, count in zip(self.classes_, counts, strict=True)) or "none"
            raise InputError(
                f"there are examples of {np.count_nonzero(counts)} class(es) ({found}); expected two classes or more, "
                "and examples of each"
            )
        seeds = check_random_state(self.random_state)
        generator = np.random.default_rng(seeds.randint(np.iinfo(np.int32).max))
        is_mined = self._is_mined(counts)
        fraction = self.validation_fraction if X_val is None else None
        further = None
        if new_batches is not None:
            _check_callable(new_batches, "new_batches")

            def further() -> Iterator[Batch]:
                return self._encoded(new_batches)

        stream = ExampleStream(batches, int(counts.sum()), further)
        parameters = FitParameters.routed(self, fit_params, stream)
        examples, held_out = stream.begin(*self._draw(counts, is_mined, fraction, initial, generator))
        self._check_initial(examples)
        validation = self._validation(held_out, X_val, y_val)
        self.history_, estimator, best = [], None, (-np.inf, -1)
        trained_on = {examples.digest()}
        with progress_bar(self.max_rounds, "bootstrap", "round", disable=not self.verbose) as bar:
            for number in range(self.max_rounds):
                start = time.perf_counter()
                estimator = self._trained(estimator, examples, seeds, parameters)
                trained = time.perf_counter()
                score = validation(estimator)
                scan = self._scan(estimator, stream, examples, is_mined, number, parameters)
                collapse = scan.collapse(self.classes_, is_mined)
                if score > best[0]:
                    best = score, number
                stopped_by = self._stopped_by(scan, number, None if np.isnan(score) else best[1])
                if stopped_by == "nothing new" and collapse:
                    stopped_by = "collapse"
                stays = np.ones(len(examples), bool) if stopped_by else self._stays(scan.margin, examples, is_mined)
                following = examples if stopped_by else ExampleSet.merged([examples.take(stays), *scan.new])
                if not stopped_by and following.digest() in trained_on:
                    stays[:] = True
                    following = ExampleSet.merged([examples, *scan.new])
                trained_on.add(following.digest())
                added = 0 if stopped_by else sum(map(len, scan.new))
                self.history_.append(
                    BootstrapRound(
                        examples=len(examples),
                        hard=scan.num_hard,
                        added=added,
                        evicted=int((~stays).sum()),
                        loss=scan.loss,
                        loss_all=scan.loss_all,
                        score=score,
                        fit_seconds=trained - start,
                        scan_seconds=time.perf_counter() - trained,
                    )
                )
                if np.isnan(score) or best[1] == number:
                    # A warm start goes on with the same object.
                    self.estimator_ = copy.deepcopy(estimator) if _goes_on(estimator) else estimator
                    self.indices_, self.added_round_ = examples.indices, examples.added_round
                    kept_collapse = collapse
                self.n_rounds_, self.stopped_by_ = number + 1, stopped_by
                bar.update()
                bar.set_postfix(examples=len(examples), hard=scan.num_hard)
                if stopped_by:
                    break
                examples = following
        if kept_collapse or stopped_by == "collapse":
            done = "; nothing new is hard to it, but it is not done" if stopped_by == "collapse" else ""
            warnings.warn(
                f"{kept_collapse or collapse}{done}; begin with more examples (initial_size), weight the classes "
                "(class_weight), or mine all of them (mined='all')",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _draw(
        self,
        counts: np.ndarray,
        is_mined: np.ndarray,
        fraction: float | None,
        initial: np.ndarray | None,
        generator: np.random.Generator,
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """Choose what to begin with and what to hold out.

        Returns:
            of every class the numbers of both kinds within the class, rising; and the positions given by the user.
        """
        begin, held_out = [], []
        for count, mined in zip(counts.tolist(), is_mined, strict=True):
            kept = 0 if fraction is None else min(max(round(fraction * count), 1), count - 1)
            size = self.initial_size
            size = min(max(size if isinstance(size, Integral) else round(size * count), 1), count - kept)
            drawn = generator.choice(count, size + kept, replace=False)
            held_out.append(np.sort(drawn[:kept]))
            if mined:
                begin.append(np.sort(drawn[kept:]) if initial is None else np.empty(0, np.int64))
            else:
                begin.append(np.setdiff1d(np.arange(count), held_out[-1], assume_unique=True))
        return begin, held_out, self._given(initial, int(counts.sum()))

    @staticmethod
    def _given(initial: np.ndarray | None, total: int) -> np.ndarray:
        given = np.unique([] if initial is None else initial)
        if not len(given):
            return np.empty(0, np.int64)
        if given.dtype.kind not in "iu" or given[0] < 0 or given[-1] >= total:
            raise InputError(f"initial must hold positions of examples, whole numbers from 0 to {total - 1}")
        return given.astype(np.int64)

    def _check_initial(self, examples: ExampleSet) -> None:
        missing = np.setdiff1d(np.arange(len(self.classes_)), examples.target)
        if len(missing):
            raise InputError(
                f"there is no example of class {plain(self.classes_[missing[0]])!r} to begin with; `initial` must hold "
                "some of every class that is mined, beside those held out for validation"
            )

    def _validation(
        self, held_out: ExampleSet, X_val: np.ndarray | None, y_val: np.ndarray | None
    ) -> Callable[[BaseEstimator], float]:
        """Return what scores an estimator on the validation data; NaN where there are none."""
        if (X_val is None) != (y_val is None):
            raise InputError("X_val and y_val must be given together")
        if X_val is not None:
            X, y = validate_data(self, X_val, y_val, reset=False, **self._array_checks())
        elif self.validation_fraction is not None:
            X, y = held_out.X, self.classes_[held_out.target]
        else:
            return lambda estimator: float("nan")

        def score(estimator: BaseEstimator) -> float:
            value = float(check_scoring(estimator, self.scoring)(estimator, X, y))
            if np.isnan(value):
                raise InputError(
                    f"the score of the validation data is not a number with scoring = {plain(self.scoring)!r}; give "
                    "another scoring, or validation data with examples of every class"
                )
            return value

        return score

    def _trained(
        self,
        last: BaseEstimator | None,
        examples: ExampleSet,
        seeds: np.random.RandomState,
        parameters: FitParameters,
    ) -> BaseEstimator:
        if last is not None and _goes_on(last):
            estimator = last
        else:
            estimator = clone(self.estimator)
            unseeded = [
                name
                for name, value in sorted(estimator.get_params().items())
                if value is None and (name == "random_state" or name.endswith("__random_state"))
            ]
            estimator.set_params(**{name: int(seeds.randint(np.iinfo(np.int32).max)) for name in unseeded})
        return estimator.fit(examples.X, self.classes_[examples.target], **parameters.of(examples.indices))

    def _scan(
        self,
        estimator: BaseEstimator,
        stream: ExampleStream,
        examples: ExampleSet,
        is_mined: np.ndarray,
        number: int,
        parameters: FitParameters,
    ) -> Scan:
        """Go through all data once."""
        num_classes = len(self.classes_)
        confusion = np.zeros(num_classes**2, np.int64)
        margin = np.empty(len(examples))
        loss = loss_all = 0.0
        num_hard, new, new_margin = 0, [], np.empty(0)
        for index, X, target in stream.scanned(examples):
            scores, probabilistic = class_scores(estimator, X)
            batch_margin = margins(scores, target)
            batch_loss = example_losses(scores, target, probabilistic) * parameters.weights(index)
            predicted = predictions(scores)
            confusion += np.bincount(target * num_classes + predicted, minlength=num_classes**2)
            in_batch, rows = examples.found_in(index, X, target)
            margin[in_batch] = batch_margin[rows]
            loss += float(batch_loss[rows].sum())
            loss_all += float(batch_loss.sum())
            hard = is_mined[target] & ((predicted != target) | (batch_margin < self.hard_margin))
            hard[rows] = False
            hits = np.flatnonzero(hard)
            if not len(hits):
                continue
            num_hard += len(hits)
            new.append(ExampleSet(index[hits], X[hits], target[hits], np.full(len(hits), number + 1, np.int32)))
            new_margin = np.append(new_margin, batch_margin[hits])
            if self.max_added is not None and len(new_margin) > self.max_added:
                hardest = np.sort(np.argsort(new_margin, kind="stable")[: self.max_added])
                new, new_margin = [ExampleSet.merged(new).take(hardest)], new_margin[hardest]
        return Scan(new, num_hard, margin, loss, loss_all, confusion.reshape(num_classes, num_classes))

    def _stopped_by(self, scan: Scan, number: int, best: int | None) -> str | None:
        if not scan.num_hard:
            return "nothing new"
        if self.stop_ratio is not None and scan.loss_all < self.stop_ratio * scan.loss:
            return "stop_ratio"
        if best is not None and number - best >= self.n_rounds_no_change:
            return "validation"
        return "max_rounds" if number + 1 == self.max_rounds else None

    def _stays(self, margin: np.ndarray, examples: ExampleSet, is_mined: np.ndarray) -> np.ndarray:
        """Return (n,) bool, which examples of the set are not evicted."""
        if self.evict_margin is None:
            return np.ones(len(examples), bool)
        stays = ~is_mined[examples.target] | (margin <= self.evict_margin)
        for c in np.flatnonzero(is_mined):
            rows = np.flatnonzero(examples.target == c)
            stays[rows[margin[rows].argmin()]] = True
        return stays


def _check_callable(batches: Any, name: str) -> None:
    if not callable(batches):
        raise InputError(
            f"{name} is a {type(batches).__name__}, expected a function that returns them anew in every call"
        )


def _goes_on(estimator: BaseEstimator) -> bool:
    """Return whether the next fit of an estimator starts from its present parameters, on other data too."""
    # The warm start of ensembles, which have no partial_fit, keeps the members that were trained on the old data.
    return bool(getattr(estimator, "warm_start", False)) and hasattr(estimator, "partial_fit")
