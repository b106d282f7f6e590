#!/usr/bin/env python3
"""Sung and Poggio's bootstrapping beside training on a random subset of the same size and on everything.

  python -m benchmarks.bootstrap_faces

Faces: the 200 patches of 25 x 25 pixels that scikit-image ships, half of them faces, and windows of its pictures
without people; training and test windows are from different pictures. Digits: scikit-learn's, one against the others.
The classifier is a small network (MLPClassifier) as theirs was; the false positives of every round join its set.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from rcnn_svm.mining.bootstrap import BootstrapClassifier
from rcnn_svm.reports.table import Table

TRAIN_PICTURES = ("brick", "coffee", "coins", "grass", "moon", "page")
TEST_PICTURES = ("chelsea", "clock", "gravel", "text")
PATCH = 25
SCALES = (1.0, 0.5, 0.25)
STEP = 10
DIGIT = 8


@dataclass(frozen=True)
class Split:
    """Training and test examples, labels 1 (the object) and 0."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def normalised(patches: np.ndarray) -> np.ndarray:
    """Return (N, D) patches with zero mean and unit variance, so that light and contrast do not matter."""
    flat = patches.reshape(len(patches), -1)
    return (flat - flat.mean(axis=1, keepdims=True)) / (flat.std(axis=1, keepdims=True) + 1e-3)


def windows(name: str) -> np.ndarray:
    """Return (N, 25, 25) windows of one of scikit-image's pictures, at several scales."""
    from skimage import data
    from skimage.color import rgb2gray
    from skimage.transform import rescale
    from skimage.util import img_as_float

    picture = getattr(data, name)()
    grey = rgb2gray(picture) if picture.ndim == 3 else img_as_float(picture)
    parts = []
    for scale in SCALES:
        scaled = rescale(grey, scale, anti_aliasing=scale < 1)
        views = np.lib.stride_tricks.sliding_window_view(scaled, (PATCH, PATCH))[::STEP, ::STEP]
        parts.append(views.reshape(-1, PATCH, PATCH))
    return np.concatenate(parts)


def faces(seed: int) -> Split:
    """Return the faces, split at random, and the windows, split by picture."""
    from skimage.data import lfw_subset

    patches, y = lfw_subset(), np.repeat([1, 0], 100)
    patches, patches_test, y, y_test = train_test_split(patches, y, test_size=0.5, stratify=y, random_state=seed)
    others, others_test = (
        np.concatenate([windows(name) for name in names]) for names in (TRAIN_PICTURES, TEST_PICTURES)
    )
    return Split(
        normalised(np.concatenate([patches, others])),
        np.append(y, np.zeros(len(others), int)),
        normalised(np.concatenate([patches_test, others_test])),
        np.append(y_test, np.zeros(len(others_test), int)),
    )


def digits(seed: int) -> Split:
    """Return one digit against the others."""
    X, y = load_digits(return_X_y=True)
    y = (y == DIGIT).astype(int)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=seed)
    return Split(X, y, X_test, y_test)


def network(seed: int, warm_start: bool = False) -> MLPClassifier:
    """Return an untrained network."""
    return MLPClassifier((20,), alpha=1e-3, max_iter=300, warm_start=warm_start, random_state=seed)


def figures(classifier, split: Split, examples: int, seconds: float) -> list[float]:
    """Return size of the training set; average precision, accuracy, missed objects, false positives in %; seconds."""
    found = classifier.predict(split.X_test)
    accuracy = (found == split.y_test).mean()
    missed, false = (found[split.y_test == 1] == 0).mean(), found[split.y_test == 0].mean()
    precision = average_precision_score(split.y_test, classifier.predict_proba(split.X_test)[:, 1])
    return [examples, 100 * precision, 100 * accuracy, 100 * missed, 100 * false, seconds]


def compare(split: Split, seed: int) -> dict[str, list[float]]:
    """Train in every way on one split."""
    initial, rows = int(split.y.sum()), {}
    for name, warm_start in (("bootstrapping, warm start", True), ("bootstrapping", False)):
        start = time.perf_counter()
        classifier = BootstrapClassifier(
            network(seed, warm_start), initial_size=initial, max_rounds=10, random_state=seed
        ).fit(split.X, split.y)
        size, seconds = len(classifier.indices_), time.perf_counter() - start
        rows[name] = figures(classifier, split, size, seconds)
    # The subset is as large as the set that bootstrapping without warm start ended with.
    negatives = np.random.default_rng(seed).permutation(np.flatnonzero(split.y == 0))
    for name, count in (("random subset", size - initial), ("everything", len(negatives))):
        chosen = np.append(np.flatnonzero(split.y), negatives[:count])
        start = time.perf_counter()
        trained = network(seed).fit(split.X[chosen], split.y[chosen])
        rows[name] = figures(trained, split, len(chosen), time.perf_counter() - start)
    return rows


def main() -> None:
    """Train on every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", metavar="N", type=int, default=5, help="splits and seeds (default: %(default)s)")
    args = parser.parse_args()
    try:
        import skimage  # noqa: F401
    except ImportError:
        parser.error("the faces come with scikit-image, which is not installed; run: pip install scikit-image")
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = []
    for name, load in (("faces", faces), ("digits", digits)):
        runs = [compare(load(seed), seed) for seed in range(args.seeds)]
        for way in runs[0]:
            values = np.array([run[way] for run in runs])
            cells = [
                f"{m:.{p}f} ± {s:.{p}f}"
                for m, s, p in zip(values.mean(0), values.std(0), (0, 1, 2, 1, 2, 2), strict=True)
            ]
            rows.append([f"{name}: {way}", *cells])
    print(
        Table(
            ("trained on", "examples", "average precision %", "accuracy %", "missed %", "false positives %", "seconds"),
            rows,
        ).text()
    )
    print(f"mean ± standard deviation over {args.seeds} seeds; seconds of bootstrapping with all its rounds and scans")


if __name__ == "__main__":
    main()
