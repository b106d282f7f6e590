#!/usr/bin/env python3
"""Hard negative mining side by side: a plain loop around scikit-learn, and ours with either solver.

All run on the same feature cache in one process, one after the other:

  python benchmarks/mining.py                      a generated cache of 60 images
  python benchmarks/mining.py --features DIR       a cache of the extract or import stage
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from rcnn_svm.cache import FeatureCache
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.reports.tables import text_table

HARD, EVICT, LIMIT = -1.0001, -1.2, 2000


def generated_cache(num_images: int, num_boxes: int = 1000, dim: int = 1024, num_classes: int = 20) -> FeatureCache:
    """Return a seeded cache whose classes resemble each other and part of the background."""
    rng = np.random.default_rng(0)
    prototypes = rng.gamma(2.0, 1.0, (num_classes, dim)) * (rng.random((num_classes, dim)) < 0.35)
    background = rng.gamma(2.0, 1.0, (10, dim)) * (rng.random((10, dim)) < 0.35)
    count = num_images * num_boxes
    start = np.arange(num_images + 1) * num_boxes
    gt = np.arange(count) % num_boxes < 3
    label = np.where(gt, 1 + (np.cumsum(gt) - 1) % num_classes, 0)
    overlap = np.zeros((count, num_classes), np.float32)
    overlap[np.arange(count), rng.integers(0, num_classes, count)] = rng.beta(0.5, 2.0, count)
    overlap[gt] = 0
    overlap[np.flatnonzero(gt), label[gt] - 1] = 1
    features = overlap @ (0.5 * prototypes).astype(np.float32)
    features += rng.dirichlet(np.full(10, 0.3), count).astype(np.float32) @ background.astype(np.float32)
    features += 0.3 * rng.standard_normal((count, dim), dtype=np.float32)
    return FeatureCache.from_arrays(
        features=np.maximum(features, 0),
        image_start=start,
        boxes=np.zeros((count, 4)),
        gt=gt,
        label=label,
        overlap=overlap,
        classes=[f"class{c}" for c in range(num_classes)],
        name="generated",
    )


def plain_loop(cache: FeatureCache, norm: float) -> tuple[int, int]:
    """Mine as one writes it down with LinearSVC; return the numbers of updates and of negatives added."""
    scale, num_classes = np.float32(20 / norm), len(cache.classes)
    regions = [cache.regions(i) for i in range(cache.num_images)]
    positives = [
        np.vstack([r.features[r.gt & (r.label == c + 1)] for r in regions]) * scale for c in range(num_classes)
    ]
    negatives = [np.empty((0, cache.dim), np.float32) for _ in range(num_classes)]
    pending, weights, bias = np.zeros(num_classes, int), np.zeros((cache.dim, num_classes)), np.zeros(num_classes)
    updates = added = 0
    for i, region in enumerate(regions):
        features = region.features * scale
        scores = features @ weights.astype(np.float32) + bias
        for c in range(num_classes):
            hard = (region.overlap[:, c] < 0.3) & ((i == 0) | (scores[:, c] > HARD))
            negatives[c] = np.vstack([negatives[c], features[hard]])
            pending[c] += hard.sum()
            added += int(hard.sum())
        for c in range(num_classes):
            if not (i in (0, len(regions) - 1) or pending[c] > LIMIT) or not len(negatives[c]):
                continue
            rows = np.vstack([positives[c], negatives[c]])
            y = np.repeat([1, -1], [len(positives[c]), len(negatives[c])])
            svm = LinearSVC(C=1e-3, loss="hinge", tol=0.1, intercept_scaling=10, class_weight={1: 2}, random_state=3)
            svm.fit(rows, y)
            weights[:, c], bias[c] = svm.coef_[0], svm.intercept_[0]
            negatives[c] = negatives[c][svm.decision_function(negatives[c]) >= EVICT]
            pending[c], updates = 0, updates + 1
    return updates, added


def bare_pass(cache: FeatureCache) -> None:
    """Multiply every feature with one matrix: what any scan must do at least."""
    weights = np.ones((cache.dim, len(cache.classes)), np.float32)
    for _, arrays, rows in cache.runs(32 << 20):
        np.dot(arrays.features[rows], weights)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", metavar="DIR", type=Path, help="feature cache (default: a generated one)")
    parser.add_argument("--images", type=int, default=60, help="of the generated cache (default: %(default)s)")
    args = parser.parse_args()
    cache = FeatureCache.open(args.features) if args.features else generated_cache(args.images)
    print(cache, flush=True)
    HardNegativeMiner(n_jobs=1).fit(generated_cache(2, 50, 8, 2))  # compiles the solver
    norm = HardNegativeMiner(n_jobs=1).fit(cache).detector_.feat_norm_mean  # and brings the cache into memory

    def ours(**options) -> Callable[[], tuple[int, int]]:
        def run() -> tuple[int, int]:
            miner = HardNegativeMiner(feat_norm_mean=norm, **options).fit(cache)
            return miner.history_.num_updates, miner.history_.num_added

        return run

    variants = {
        "plain loop, LinearSVC, tolerance 0.1, 1 thread": (1, lambda: plain_loop(cache, norm)),
        "ours, liblinear, tolerance 0.1, 1 thread": (1, ours(solver="liblinear", n_jobs=1)),
        "ours, dcd, relative gap 1e-2, 1 thread": (1, ours(tolerance=1e-2, n_jobs=1)),
        "ours, dcd, relative gap 1e-6, 1 thread": (1, ours(tolerance=1e-6, n_jobs=1)),
        "ours, dcd, relative gap 1e-10, 1 thread": (1, ours(tolerance=1e-10, n_jobs=1)),
        "ours, dcd, relative gap 1e-6, all threads": (None, ours(tolerance=1e-6, n_jobs=-1)),
        "one bare pass over the features, 1 thread": (1, lambda: bare_pass(cache)),
    }
    rows, first = [], None
    for name, (threads, run) in variants.items():
        with threadpool_limits(threads):
            start = time.perf_counter()
            counts = run() or ("", "")
            seconds = time.perf_counter() - start
        first = first or seconds
        rows.append([name, f"{seconds:.2f}", f"{first / seconds:.1f} x", *map(str, counts)])
    print(text_table(("", "seconds", "plain / this", "updates", "negatives added"), rows))


if __name__ == "__main__":
    main()
