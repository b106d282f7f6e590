"""Bootstrapping against a literal transcription, against training on everything, and as a scikit-learn estimator."""

from __future__ import annotations

import itertools
import warnings
from typing import ClassVar

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_blobs, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM
from sklearn.utils.estimator_checks import parametrize_with_checks

from rcnn_svm.errors import InputError
from rcnn_svm.mining import bootstrap
from rcnn_svm.mining.bootstrap import BootstrapClassifier, Scan, example_losses, margins, predictions


def test_margins_losses_and_predictions_by_hand():
    binary, target = np.array([2.0, -0.5, 0.0]), np.array([1, 1, 0])
    np.testing.assert_array_equal(margins(binary, target), [2, -0.5, 0])
    np.testing.assert_array_equal(predictions(binary), [1, 0, 0])
    np.testing.assert_array_equal(example_losses(binary, target, False), [0, 1.5, 1])
    many = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2]])
    np.testing.assert_allclose(margins(many, np.array([0, 2])), [0.5, -0.2])
    np.testing.assert_array_equal(predictions(many), [0, 0])
    np.testing.assert_allclose(example_losses(many, np.array([0, 2]), True), -np.log([0.7, 0.2]))
    np.testing.assert_allclose(example_losses(many, np.array([0, 2]), False), [0.5, 1.2])


@parametrize_with_checks(
    [
        BootstrapClassifier(LinearSVC()),
        BootstrapClassifier(RidgeClassifier(), mined="all", hard_margin=1.0, evict_margin=1.5, stop_ratio=1.05),
        BootstrapClassifier(GaussianNB(), mined="all", validation_fraction=0.2, max_added=7),
        BootstrapClassifier(SGDClassifier(warm_start=True), max_rounds=5),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def few_faces(seed: int = 0, count: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Many negatives, few positives, not quite separable."""
    return make_classification(count, 12, n_informative=6, weights=[0.93], class_sep=1.2, random_state=seed)


def three_classes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X, y = make_blobs([600, 60, 50], 5, cluster_std=4.0, random_state=seed)
    return X, np.array(["background", "cat", "dog"])[y]


def svm(C: float = 0.02) -> LinearSVC:
    return LinearSVC(C=C, loss="hinge", tol=1e-9, max_iter=10**6, random_state=0)


def in_batches(X, y, size: int = 97):
    return lambda: ((X[i : i + size], y[i : i + size]) for i in range(0, len(y), size))


@pytest.mark.parametrize("mined", ["negatives", "all"])
@pytest.mark.parametrize("data", [few_faces, three_classes])
@pytest.mark.parametrize("make", [svm, GaussianNB])
def test_exactly_the_misclassified_are_added_and_never_twice(data, mined, make):
    X, y = data()
    classifier = BootstrapClassifier(make(), mined=mined, initial_size=0.05, max_rounds=6, random_state=1)
    snapshots = []
    fit = classifier._trained
    classifier._trained = lambda *a: snapshots.append((a[1].indices, fit(*a))) or snapshots[-1][1]
    classifier.fit(X, y)
    is_mined = (y == classifier.classes_[0]) | (mined == "all")
    assert set(np.flatnonzero(~is_mined)) <= set(snapshots[0][0])
    for number, (indices, estimator) in enumerate(snapshots):
        assert len(set(indices)) == len(indices) == classifier.history_[number].examples
        np.testing.assert_array_equal(np.sort(indices), indices)
        wrong = np.flatnonzero(is_mined & (estimator.predict(X) != y))
        new = np.setdiff1d(wrong, indices)
        assert classifier.history_[number].hard == len(new)
        if number + 1 < len(snapshots):
            np.testing.assert_array_equal(snapshots[number + 1][0], np.union1d(indices, new))
            assert classifier.history_[number].added == len(new) > 0
    assert len(snapshots) > 1
    np.testing.assert_array_equal(classifier.indices_, snapshots[-1][0])
    last = classifier.history_[-1]
    assert last.added == 0 and (classifier.stopped_by_ == "nothing new") == (last.hard == 0)
    counts = np.bincount(classifier.added_round_, minlength=len(snapshots))
    assert counts.tolist() == [snapshots[0][0].size, *(entry.added for entry in classifier.history_[:-1])]


@pytest.mark.parametrize("evict_margin", [None, 1.2])
@pytest.mark.parametrize("seed", range(3))
def test_a_linear_svm_reaches_the_optimum_of_all_data(seed, evict_margin):
    """Hinge loss is zero beyond the margin: when nothing new is within it, what is left out does not matter."""
    X, y = few_faces(seed)
    classifier = BootstrapClassifier(
        svm(), hard_margin=1.0, evict_margin=evict_margin, initial_size=20, max_rounds=100, random_state=seed
    ).fit(X, y)
    assert classifier.stopped_by_ == "nothing new"
    left_out = np.setdiff1d(np.arange(len(y)), classifier.indices_)
    assert len(left_out) > 100
    np.testing.assert_array_less(classifier.decision_function(X[left_out]), -1 + 1e-9)
    full = svm().fit(X, y)
    np.testing.assert_allclose(classifier.estimator_.coef_, full.coef_, atol=2e-4 * np.abs(full.coef_).max())
    assert classifier.history_[-1].loss_all == pytest.approx(classifier.history_[-1].loss, rel=1e-9)
    assert any(entry.evicted for entry in classifier.history_) == (evict_margin is not None)


def test_losses_are_those_of_the_set_and_of_all_data():
    X, y = three_classes()
    classifier = BootstrapClassifier(GaussianNB(), mined="all", max_rounds=3, random_state=0).fit(X, y)
    own = classifier.predict_proba(X)[np.arange(len(y)), np.searchsorted(classifier.classes_, y)]
    assert classifier.history_[-1].loss_all == pytest.approx(-np.log(own).sum())
    assert classifier.history_[-1].loss == pytest.approx(-np.log(own[classifier.indices_]).sum())


@pytest.mark.parametrize("mined", ["negatives", "all"])
def test_a_stream_of_batches_gives_what_the_array_gives(mined):
    X, y = three_classes()
    options = {"mined": mined, "hard_margin": 0.5, "validation_fraction": 0.2, "random_state": 3, "evict_margin": 4.0}
    whole = BootstrapClassifier(svm(), **options).fit(X, y)
    for classes in (None, ["dog", "cat", "background"]):
        parts = BootstrapClassifier(svm(), **options).fit_batches(in_batches(X, y), classes=classes)
        np.testing.assert_array_equal(parts.indices_, whole.indices_)
        np.testing.assert_array_equal(parts.estimator_.coef_, whole.estimator_.coef_)
        assert [e.added for e in parts.history_] == [e.added for e in whole.history_]
        np.testing.assert_array_equal(parts.predict(X), whole.predict(X))


def test_arrays_are_scanned_block_by_block():
    X, y = few_faces(count=bootstrap.BLOCK_ROWS + 800)
    blocks = BootstrapClassifier(svm(), random_state=3).fit(X, y)
    whole = BootstrapClassifier(svm(), random_state=3).fit_batches(in_batches(X, y, len(y)))
    np.testing.assert_array_equal(blocks.indices_, whole.indices_)


def test_sparse_rows_give_what_dense_rows_give():
    X, y = few_faces()
    X[np.abs(X) < 0.8] = 0
    dense = BootstrapClassifier(svm(), random_state=3).fit(X, y)
    thin = BootstrapClassifier(svm(), random_state=3).fit(sparse.csr_matrix(X), y)
    np.testing.assert_array_equal(dense.indices_, thin.indices_)


@pytest.mark.parametrize("size", [40, 700])
def test_with_a_limit_the_hardest_are_added(size):
    X, y = few_faces()
    options = {"initial_size": 5, "random_state": 0, "hard_margin": 1.0}
    first = BootstrapClassifier(svm(), max_rounds=1, **options).fit(X, y)
    second = BootstrapClassifier(svm(), max_rounds=2, max_added=25, **options).fit_batches(in_batches(X, y, size))
    outside = np.setdiff1d(np.flatnonzero(y == 0), first.indices_)
    hardest = outside[np.argsort(-first.decision_function(X[outside]), kind="stable")[:25]]
    np.testing.assert_array_equal(np.setdiff1d(second.indices_, first.indices_), np.sort(hardest))
    assert second.history_[0].added == 25 < second.history_[0].hard == first.history_[0].hard


def test_the_easy_leave_but_never_a_whole_class():
    X, y = few_faces()
    classifier = BootstrapClassifier(
        svm(), mined="all", initial_size=0.5, hard_margin=0.1, evict_margin=0.1, max_rounds=2, random_state=0
    )
    first = BootstrapClassifier(svm(), mined="all", initial_size=0.5, max_rounds=1, random_state=0).fit(X, y)
    second = classifier.fit(X, y)
    signed = np.where(y == 1, 1, -1) * first.decision_function(X)
    expected = np.union1d(first.indices_[signed[first.indices_] <= 0.1], np.flatnonzero(signed < 0.1))
    np.testing.assert_array_equal(second.indices_, expected)
    # Far apart, every example is easy at once; a wrong one, outside the set, keeps the rounds going.
    X, y = np.array([[-9.0], [-8.0], [-1.0], [8.0], [9.0], [-9.5]]), np.array([0, 0, 0, 1, 1, 1])
    classifier = BootstrapClassifier(LogisticRegression(C=100), mined="all", evict_margin=0.0, max_rounds=2)
    classifier.fit(X, y, initial=[0, 1, 2, 3, 4])
    assert set(classifier.classes_[np.isin([0, 1], y[classifier.indices_])]) == {0, 1}
    assert classifier.history_[0].evicted == 3 and set(classifier.indices_) == {2, 3, 5}


class Given(ClassifierMixin, BaseEstimator):
    """Its scores are the examples themselves: nothing is learnt, so that they can be chosen."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return X[:, 0] if X.shape[1] == 1 else X

    def predict(self, X):
        return self.classes_[predictions(self.decision_function(X))]


NEGATIVES, POSITIVES = [-2.0, -1.0, -1.0, -0.99, 0.0, 0.5], [2.0, 1.0, 1.0, 0.99, 0.0, -0.5]


@pytest.mark.parametrize(
    ("hard_margin", "added"),
    # A tie counts for the first class, so that it is wrong for the other.
    [(0.0, [0.5, 0.0, -0.5]), (1.0, [-0.99, 0.0, 0.5, 0.99, 0.0, -0.5])],
)
def test_hard_is_strictly_below_the_margin_or_wrong(hard_margin, added):
    X, y = np.array([*NEGATIVES, *POSITIVES])[:, None], np.repeat([0, 1], 6)
    classifier = BootstrapClassifier(Given(), mined="all", hard_margin=hard_margin, max_rounds=2)
    classifier.fit(X, y, initial=[0, 1, 6, 7])
    new = classifier.indices_[classifier.added_round_ == 1]
    assert X[new, 0].tolist() == added
    assert classifier.history_[0].hard == len(added)


def test_evicted_is_strictly_above_the_margin():
    X, y = np.array([*NEGATIVES, *POSITIVES])[:, None], np.repeat([0, 1], 6)
    classifier = BootstrapClassifier(Given(), mined="all", hard_margin=1.0, evict_margin=1.0, max_rounds=2)
    classifier.fit(X, y, initial=[0, 1, 2, 6, 7, 8])
    assert classifier.indices_[classifier.added_round_ == 0].tolist() == [1, 2, 7, 8]
    assert classifier.history_[0].evicted == 2


def test_a_tie_of_several_classes_is_won_by_the_first():
    scores = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3], [1, 1, 0], [1, 1, 0], [0, 1, 1]])
    y = np.array(["a", "b", "c", "a", "b", "b"])
    classifier = BootstrapClassifier(Given(), mined="all", max_rounds=2).fit(scores, y, initial=[0, 1, 2])
    assert classifier.indices_.tolist() == [0, 1, 2, 4]


def test_of_equal_validation_scores_the_first_round_is_kept():
    X, y = np.array([*NEGATIVES, *POSITIVES])[:, None], np.repeat([0, 1], 6)
    classifier = BootstrapClassifier(Given(), mined="all", hard_margin=1.0, max_added=1)
    classifier.fit(X, y, initial=[0, 6], X_val=X, y_val=y)
    assert classifier.stopped_by_ == "validation" and classifier.n_rounds_ == 2
    assert classifier.indices_.tolist() == [0, 6]


def test_the_ratio_of_losses_stops():
    X, y = few_faces()
    options = {"hard_margin": 1.0, "initial_size": 10, "random_state": 0, "max_rounds": 50, "max_added": 40}
    exact = BootstrapClassifier(svm(), **options).fit(X, y)
    stopped = BootstrapClassifier(svm(), stop_ratio=1.3, **options).fit(X, y)
    ratios = [entry.loss_all / entry.loss for entry in exact.history_]
    assert stopped.stopped_by_ == "stop_ratio"
    assert stopped.n_rounds_ == next(n for n, ratio in enumerate(ratios) if ratio < 1.3) + 1 < exact.n_rounds_


@pytest.mark.parametrize("patience", [1, 2])
def test_validation_stops_and_the_best_round_is_kept(patience):
    X, y = few_faces(count=3000)
    options = {
        "initial_size": 10,
        "random_state": 0,
        "hard_margin": 1.0,
        "max_added": 40,
        "scoring": "balanced_accuracy",
    }
    data = {"X_val": X[2000:], "y_val": y[2000:]}
    X, y = X[:2000], y[:2000]
    everything = BootstrapClassifier(svm(), n_rounds_no_change=99, **options).fit(X, y, **data)
    classifier = BootstrapClassifier(svm(), n_rounds_no_change=patience, **options).fit(X, y, **data)
    scores = [entry.score for entry in classifier.history_]
    assert scores == [entry.score for entry in everything.history_][: len(scores)]
    assert classifier.stopped_by_ == "validation" and classifier.n_rounds_ < everything.n_rounds_
    best = int(np.argmax(scores))
    assert len(scores) == best + 1 + patience
    assert len(classifier.indices_) == classifier.history_[best].examples
    again = svm().fit(X[classifier.indices_], y[classifier.indices_])
    np.testing.assert_array_equal(classifier.estimator_.coef_, again.coef_)


def test_examples_held_out_are_never_trained_on():
    X, y = few_faces()
    classifier = BootstrapClassifier(
        svm(), mined="all", initial_size=1.0, validation_fraction=0.25, random_state=0
    ).fit(X, y)
    held_out = np.setdiff1d(np.arange(len(y)), classifier.indices_)
    np.testing.assert_array_equal(np.bincount(y[held_out]), np.round(np.bincount(y) / 4))
    assert classifier.history_[0].score == classifier.estimator_.score(X[held_out], y[held_out])


def test_the_initial_sample_has_its_size_and_seed():
    X, y = three_classes()
    sample = {}
    for seed in (0, 0, 1):
        classifier = BootstrapClassifier(GaussianNB(), mined="all", initial_size=12, max_rounds=1, random_state=seed)
        indices = classifier.fit(X, y).indices_
        assert np.unique(y[indices], return_counts=True)[1].tolist() == [12, 12, 12]
        np.testing.assert_array_equal(sample.setdefault(seed, indices), indices)
    assert not np.array_equal(sample[0], sample[1])


def test_a_given_initial_set_goes_on_where_an_interrupted_fit_stopped():
    X, y = few_faces()
    options = {"hard_margin": 1.0, "max_added": 40, "random_state": 0}
    whole = BootstrapClassifier(svm(), initial_size=5, **options).fit(X, y)
    assert whole.n_rounds_ > 3

    calls = itertools.count()

    def batches():
        # Counting, the first sample, and the scans of two rounds; then the user has enough.
        if next(calls) == 4:
            raise KeyboardInterrupt
        return in_batches(X, y)()

    part = BootstrapClassifier(svm(), initial_size=5, **options)
    with pytest.raises(KeyboardInterrupt):
        part.fit_batches(batches)
    assert part.n_rounds_ == len(part.history_) == 2 and part.stopped_by_ is None
    assert part.predict(X).shape == y.shape
    rest = BootstrapClassifier(svm(), **options).fit(X, y, initial=part.indices_)
    np.testing.assert_array_equal(rest.indices_, whole.indices_)
    assert [e.examples for e in rest.history_] == [e.examples for e in whole.history_][1:]


class RecordingNetwork(MLPClassifier):
    """Notes the weights that every training starts from."""

    starts: ClassVar[list] = []

    def fit(self, X, y):
        self.starts.append(self.coefs_[0].copy() if hasattr(self, "coefs_") else None)
        return super().fit(X, y)


def test_a_warm_start_goes_on_from_the_last_round():
    X, y = few_faces()
    for warm in (True, False):
        RecordingNetwork.starts.clear()
        network = RecordingNetwork((4,), max_iter=3, warm_start=warm)
        with pytest.warns(UserWarning, match="Maximum iterations"):
            BootstrapClassifier(network, hard_margin=0.5, max_added=50, max_rounds=3, random_state=0).fit(X, y)
        assert [start is not None for start in RecordingNetwork.starts] == [False, warm, warm]
        assert not hasattr(network, "coefs_")


def test_seeds_reach_the_estimators_and_given_ones_stay():
    X, y = few_faces()
    nested = make_pipeline(StandardScaler(), LinearSVC())
    seeds = [BootstrapClassifier(nested, random_state=s).fit(X, y).estimator_[-1].random_state for s in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]
    given = BootstrapClassifier(LinearSVC(random_state=5), random_state=1).fit(X, y)
    assert given.estimator_.random_state == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mined": "positives"}, "must be one of negatives, all"),
        ({"initial_size": 0}, "whole number of at least 1, or a fraction above 0 and at most 1"),
        ({"initial_size": 1.5}, "whole number of at least 1, or a fraction above 0 and at most 1"),
        ({"hard_margin": -1.0}, "hard_margin = -1.0 must be a number of at least 0"),
        ({"hard_margin": 1.0, "evict_margin": 0.5}, "must not be below"),
        ({"stop_ratio": 1.0}, "above 1"),
        ({"validation_fraction": 1.0}, "above 0 and below 1"),
        ({"max_added": 0}, "max_added = 0"),
        ({"max_rounds": 2.5}, "max_rounds = 2.5"),
        ({"estimator": StandardScaler()}, "must be a classifier with a decision function"),
        ({"estimator": OneClassSVM()}, "must be a classifier with a decision function"),
        ({"estimator": NearestCentroid(metric="manhattan")}, "must be a classifier with a decision function"),
        ({"estimator": SVC(decision_function_shape="ovo")}, "6 columns for 4 classes"),
    ],
)
def test_bad_parameters_are_told(options, told):
    X, y = make_blobs(80, centers=4, random_state=0)
    classifier = BootstrapClassifier(**{"estimator": svm(), **options})
    with pytest.raises(InputError, match=told):
        classifier.fit(X, y)
    with pytest.raises(InputError, match=told):
        classifier.fit_batches(in_batches(X, y))


def shuffled(X, y):
    """Return batches that come in another order in every call, as those of many loaders do."""
    rng = np.random.default_rng(0)

    def batches():
        order = rng.permutation(len(y))
        return [(X[order], y[order])]

    return batches


def test_a_score_that_is_not_a_number_is_told():
    X, y = few_faces(count=300)
    classifier = BootstrapClassifier(svm(), scoring="roc_auc", random_state=0)
    with pytest.raises(InputError, match="not a number with scoring = 'roc_auc'"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(X, y, X_val=X[y == 0], y_val=y[y == 0])


def test_bad_data_are_told():
    X, y = few_faces(count=200)
    classifier = BootstrapClassifier(svm(), random_state=0)
    once = in_batches(X, y)()
    calls = [
        (lambda: classifier.fit_batches(once), "a generator, expected a function"),
        (lambda: classifier.fit_batches(lambda: once), "brought 0 examples, the first one 200"),
        (lambda: classifier.fit_batches(lambda: []), r"0 class\(es\) \(none\)"),
        (lambda: classifier.fit_batches(lambda: [], classes=[0, 1]), r"0 class\(es\) \(0: 0, 1: 0\)"),
        (lambda: classifier.fit_batches(lambda: [X]), "batch 0 is a ndarray, expected a pair"),
        (lambda: classifier.fit_batches(lambda: [(X, y, y)]), "batch 0 is a tuple, expected a pair"),
        (lambda: classifier.fit_batches(shuffled(X, y)), "0 to 199 are not those of the pass before"),
        (lambda: classifier.fit_batches(shuffled(sparse.csr_matrix(X), y)), "are not those of the pass before"),
        (lambda: classifier.fit_batches(lambda: [(X, y), (X[:, :3], y)]), "batch 1 has examples of shape"),
        (lambda: classifier.fit_batches(in_batches(X, y), classes=[1, 2]), "label 0 is none of the classes 1, 2"),
        (lambda: classifier.fit_batches(in_batches(X, y), classes=[0, 1, 2]), "2: 0"),
        (lambda: classifier.fit(X, y, initial=[0, 200]), "from 0 to 199"),
        (lambda: classifier.fit(X, y, initial=[int(np.argmax(y))]), "no example of class 0 to begin with"),
        (lambda: classifier.fit(X, y, X_val=X), "together"),
    ]
    for call, told in calls:
        with pytest.raises(InputError, match=told):
            call()


def test_data_that_scikit_learn_refuses_are_refused_in_its_words():
    """Before anything is trained, as that may take long."""

    class Untrained(GaussianNB):
        def fit(self, X, y):
            raise AssertionError("it is trained")

    X, y = few_faces(count=200)
    classifier = BootstrapClassifier(Untrained(), random_state=0)
    with pytest.raises(ValueError, match="Unknown label type"):
        classifier.fit_batches(in_batches(X, np.linspace(0, 1, len(X))))
    with pytest.raises(ValueError, match="BootstrapClassifier is expecting"):
        classifier.fit(X, y, X_val=X[:, :2], y_val=y)


@pytest.mark.parametrize("best", [0, 1, 5])
def test_rounds_without_a_better_score_are_counted_from_the_best(best):
    classifier = BootstrapClassifier(svm(), n_rounds_no_change=3, max_rounds=100)
    scan = Scan([], 1, np.zeros(2), 1.0, 1.0, np.zeros((2, 2), int))
    ends = [classifier._stopped_by(scan, number, best) for number in range(best, best + 4)]
    assert ends == [None, None, None, "validation"]


@pytest.mark.parametrize("mined", ["negatives", "all"])
@pytest.mark.parametrize(("count", "seed"), [(10, 6), (30, 0), (30, 2), (100, 1), (100, 7)])
def test_examples_at_the_margin_do_not_leave_and_return_for_ever(count, seed, mined):
    """The SVM puts its support vectors at the margin, above it or below by a rounding."""
    X, y = np.random.default_rng(seed).standard_normal((count, 2)), np.arange(count) % 2
    machine = LinearSVC(loss="hinge", C=1, random_state=0, max_iter=10**5)
    classifier = BootstrapClassifier(
        machine, mined=mined, hard_margin=1.0, evict_margin=1.0, max_rounds=200, random_state=seed
    ).fit(X, y)
    assert classifier.stopped_by_ == "nothing new"
    assert classifier.n_rounds_ < 50
    left_out = np.setdiff1d(np.arange(count), classifier.indices_)
    assert (np.where(y == 1, 1, -1) * classifier.decision_function(X) >= 1)[left_out].all()


def faces(num_faces=215, num_others=2000):
    rng = np.random.default_rng(0)
    y = np.array(["face"] * num_faces + ["nonface"] * num_others)
    return rng.standard_normal((len(y), 3)) + 4.0 * (y == "face")[:, None], y


def test_what_is_mined_can_be_said_and_is_said_where_the_first_label_is_rare():
    X, y = faces()
    with pytest.warns(UserWarning, match="215 examples of class 'face' are mined.*2000 of 2215; give negative_label"):
        first = BootstrapClassifier(svm(), max_rounds=1, random_state=0).fit(X, y)
    assert (y[first.indices_] == "nonface").sum() == 2000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = BootstrapClassifier(svm(), negative_label="nonface", max_rounds=1, random_state=0).fit(X, y)
        renamed = BootstrapClassifier(svm(), max_rounds=1, random_state=0).fit(X, np.where(y == "face", 1, 0))
        numbered = BootstrapClassifier(svm(), negative_label=np.int64(7), max_rounds=1, random_state=0)
        numbered.fit(X, np.where(y == "face", 2, 7))
    assert (y[named.indices_] == "face").sum() == 215
    assert (y[named.indices_] == "nonface").sum() == (y[renamed.indices_] == "nonface").sum() == 200
    assert (y[numbered.indices_] == "nonface").sum() == 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        truth = BootstrapClassifier(svm(), negative_label=True, max_rounds=1, random_state=0).fit(X, y == "nonface")
    np.testing.assert_array_equal(truth.indices_, numbered.indices_)
    for wrong in (
        {"negative_label": "no face"},
        {"negative_label": np.zeros(2)},
        {"negative_label": "face", "mined": "all"},
    ):
        with pytest.raises(InputError, match="negative_label"):
            BootstrapClassifier(svm(), **wrong).fit(X, y)


class Says(Given):
    """Gives all examples a score."""

    def decision_function(self, X):
        return np.full(len(X), -0.5)


def test_a_classifier_that_says_negative_to_all_is_not_done():
    X, y = few_faces(count=300)
    with pytest.warns(
        ConvergenceWarning,
        match="says 0 to all 300 examples; nothing new is hard to it, but it is not done; .*initial_size",
    ):
        classifier = BootstrapClassifier(Says(), random_state=0).fit(X, y)
    assert classifier.stopped_by_ == "collapse" and classifier.n_rounds_ == 1
    with pytest.warns(ConvergenceWarning, match="says 1 to none of 300 examples"):
        BootstrapClassifier(Says(), mined="all", random_state=0, max_rounds=1).fit(X, y)


@pytest.mark.parametrize(
    ("confusion", "says"),
    [
        ([[70, 4, 6], [4, 3, 2], [3, 2, 6]], None),
        ([[80, 0, 0], [9, 0, 0], [11, 0, 0]], "says 'none' to all 100 examples"),
        ([[61, 9, 10], [9, 0, 1], [10, 0, 0]], "to 20 of 100 examples, 1 of them rightly, where 20 are"),
        ([[60, 9, 9], [9, 1, 0], [9, 1, 2]], None),  # a tenth of 22 is 2.2
        ([[62, 9, 9], [9, 0, 1], [9, 1, 0]], None),  # exactly a tenth are found
        ([[75, 2, 3], [8, 1, 1], [8, 1, 1]], "to 9 of 100 examples, 4 of them rightly, where 20 are"),
        ([[76, 2, 2], [7, 1, 1], [8, 1, 2]], None),  # most of those predicted are right
        ([[76, 2, 2], [8, 1, 1], [8, 1, 1]], None),  # half of them are
        ([[74, 3, 3], [8, 1, 1], [8, 1, 1]], None),  # half as many are predicted as there are
    ],
)
def test_a_collapse_is_few_found_or_few_predicted_and_these_wrongly(confusion, says):
    scan = bootstrap.Scan([], 0, np.empty(0), 0.0, 0.0, np.array(confusion))
    told = scan.collapse(np.array(["none", "cat", "dog"]), np.array([True, False, False]))
    assert told is None if says is None else told is not None and says in told


@pytest.mark.parametrize("distance", [0.3, 1.0])
def test_a_collapse_on_overlapping_classes_is_said(distance):
    """The first model takes a third of all for positives; with them as negatives, it finds no positive any more."""
    rng = np.random.default_rng(0)
    y = (rng.random(3000) < 0.1).astype(int)
    X = rng.standard_normal((3000, 5))
    X[:, 0] += distance * y
    with pytest.warns(ConvergenceWarning, match="to (all|[0-9]+ of) 3000 examples.*nothing new is hard"):
        classifier = BootstrapClassifier(
            LogisticRegression(), initial_size=int(y.sum()), max_rounds=50, random_state=0
        ).fit(X, y)
    assert classifier.stopped_by_ == "collapse" and classifier.history_[-1].hard == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X[:, 0] += 5 * y
        BootstrapClassifier(LogisticRegression(), random_state=0).fit(X, y)


def test_every_pass_can_bring_new_examples():
    """As Sung and Poggio mine: images without a face, one after the other; what is hard in one stays in the set."""
    X, y = np.array([[2.0], [3.0], [-4.0], [-5.0]]), np.array([1, 1, 0, 0])
    images = [[[-3.0], [0.5]], [[0.7], [-6.0], [0.9]], [[-7.0]], [[8.0]]]
    calls = iter(images)

    def new_batches():
        image = np.array(next(calls))
        yield image[:1], np.zeros(1, int)
        yield image[1:], np.zeros(len(image) - 1, int)

    def fit(method, *data):
        nonlocal calls
        calls = iter(images)
        return method(*data, new_batches=new_batches)

    for number in range(2):
        classifier = BootstrapClassifier(Given(), initial_size=2)
        if number:
            fit(classifier.fit_batches, in_batches(X, y, 3))
        else:
            fit(classifier.fit, X, y)
        # Positions go on: 4 and 5 are the first image's, 6 to 8 the second's.
        assert classifier.indices_.tolist() == [0, 1, 2, 3, 5, 6, 8]
        assert [one.added for one in classifier.history_] == [1, 2, 0]
        assert classifier.added_round_.tolist() == [0, 0, 0, 0, 1, 2, 2]
        assert classifier.stopped_by_ == "nothing new"  # the last image is never looked at
        assert classifier.history_[-1].loss == pytest.approx(1.5 + 1.7 + 1.9)
    with pytest.raises(InputError, match="label 7 is none of the classes"):
        BootstrapClassifier(Given()).fit(X, y, new_batches=lambda: [(X, y + 7)])
    with pytest.raises(InputError, match="new_batches is a list"):
        BootstrapClassifier(Given()).fit(X, y, new_batches=[(X, y)])


def test_weights_of_examples_reach_the_estimator_and_the_losses():
    X, y = few_faces(count=400)
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    options = {"initial_size": 1.0, "max_rounds": 1, "random_state": 0}
    expected = svm().fit(X, y, sample_weight=weight)
    weighted = BootstrapClassifier(svm(), **options).fit(X, y, sample_weight=weight)
    batched = BootstrapClassifier(svm(), **options).fit_batches(in_batches(X, y), sample_weight=weight.tolist())
    piped = BootstrapClassifier(make_pipeline(svm()), **options).fit(X, y, linearsvc__sample_weight=weight)
    hinge = np.maximum(0, 1 - np.where(y == 1, 1, -1) * expected.decision_function(X))
    for classifier in (weighted, batched, piped):
        np.testing.assert_allclose(classifier.decision_function(X), expected.decision_function(X), rtol=1e-6)
        assert classifier.history_[-1].loss_all == pytest.approx(hinge @ weight)
    few = BootstrapClassifier(svm(), initial_size=20, max_rounds=4, random_state=0).fit(X, y, sample_weight=weight)
    again = svm().fit(X[few.indices_], y[few.indices_], sample_weight=weight[few.indices_])
    np.testing.assert_array_equal(few.estimator_.coef_, again.coef_)
    for wrong, said in (
        (weight[1:], r"shape \(399,\), expected \(400,\)"),
        (-weight, "expected 0 or more"),
        (np.where(np.arange(400) == 7, -2, weight), "holds -2.0, expected 0 or more"),
        ("heavy", "a number for each"),
    ):
        with pytest.raises(InputError, match=said):
            BootstrapClassifier(svm()).fit(X, y, sample_weight=wrong)
    with pytest.raises(InputError, match="cannot weight the examples of new_batches"):
        BootstrapClassifier(svm()).fit(X, y, sample_weight=weight, new_batches=lambda: [])


def test_metadata_are_routed():
    X, y = few_faces(count=400)
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    with config_context(enable_metadata_routing=True):
        asks = BootstrapClassifier(svm().set_fit_request(sample_weight=True), initial_size=1.0, max_rounds=1)
        refuses = BootstrapClassifier(svm().set_fit_request(sample_weight=False), initial_size=1.0, max_rounds=1)
        expected = svm().fit(X, y, sample_weight=weight).coef_
        asks.fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(asks.estimator_.coef_, expected, rtol=1e-6)
        search = GridSearchCV(asks, {"hard_margin": [0.0]}, cv=2).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(search.best_estimator_.estimator_.coef_, expected, rtol=1e-6)
        with pytest.raises(TypeError, match="sample_weight"):
            refuses.fit(X, y, sample_weight=weight)


def test_progress_is_shown_when_asked_for(capfd):
    X, y = few_faces()
    BootstrapClassifier(svm(), verbose=True, random_state=0).fit(X, y)
    assert "bootstrap" in capfd.readouterr().err
    BootstrapClassifier(svm(), random_state=0).fit(X, y)
    assert not capfd.readouterr().err


@pytest.mark.parametrize("broken", [1, 10])
def test_scores_that_are_not_numbers_are_told(broken):
    class Broken(LinearSVC):
        def decision_function(self, X):
            return np.where(np.arange(len(X)) < broken, np.nan, 1.0)

    X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    with pytest.raises(InputError, match="Broken gives scores that are not numbers"):
        BootstrapClassifier(Broken(), initial_size=10, random_state=0).fit(X, y)
