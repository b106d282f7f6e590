#!/usr/bin/env python3
"""Hard negative mining side by side: a plain loop around scikit-learn, and ours with either solver.

All run on the same feature cache, one after the other, each in a process of its own, whose peak memory is shown:

  python -m benchmarks.mining perf_4096            a generated cache the original was timed on: perf (default),
                                                   perf_hard or perf_4096
  python -m benchmarks.mining --features DIR       a cache of the extract or import stage
  python -m benchmarks.mining --memory             memory for 1, 2 and 4 times the images instead
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from benchmarks.perf_cases import CASES, make_perf_cache
from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.feature_norm import mean_feature_norm
from rcnn_svm.cache.importers import write_cache
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.reports.table import Table
from rcnn_svm.svm.dual_coordinate_descent import DualCoordinateDescent
from rcnn_svm.svm.liblinear import Liblinear
from rcnn_svm.svm.problem import SvmProblem, SvmSolution
from rcnn_svm.svm.solvers import SOLVERS

RULES = MiningRules()
PHASES = ("prepare", "read", "score", "select", "solve", "evict")


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


def plain_loop(cache: FeatureCache, norm: float, svm_C: float) -> tuple[dict[str, float], int, int]:
    """Mine as one writes it down with LinearSVC; return seconds by phase, updates and negatives added."""
    seconds, last = dict.fromkeys(PHASES, 0.0), time.perf_counter()

    def count_to(phase: str) -> None:
        nonlocal last
        seconds[phase] += (now := time.perf_counter()) - last
        last = now

    scale, num_classes = np.float32(20 / norm), len(cache.classes)
    positives = [[] for _ in range(num_classes)]
    for i in range(cache.num_images):
        region = cache.regions(i)
        for c in range(num_classes):
            positives[c].append(region.features[region.gt & (region.label == c + 1)] * scale)
    positives = [np.vstack(rows) for rows in positives]
    negatives = [np.empty((0, cache.dim), np.float32) for _ in range(num_classes)]
    pending, weights, bias = np.zeros(num_classes, int), np.zeros((cache.dim, num_classes)), np.zeros(num_classes)
    updates = added = 0
    count_to("prepare")
    for i in range(cache.num_images):
        region = cache.regions(i)
        features = region.features * scale
        count_to("read")
        scores = features @ weights.astype(np.float32) + bias
        count_to("score")
        for c in range(num_classes):
            hard = RULES.negative(region.overlap[:, c]) & RULES.hard(scores[:, c], first_image=i == 0)
            negatives[c] = np.vstack([negatives[c], features[hard]])
            pending[c] += hard.sum()
            added += int(hard.sum())
        count_to("select")
        for c in range(num_classes):
            due = RULES.must_retrain(pending[c], i == 0, i == cache.num_images - 1)
            if not (due and len(negatives[c])):
                continue
            rows = np.vstack([positives[c], negatives[c]])
            y = np.repeat([1, -1], [len(positives[c]), len(negatives[c])])
            svm = LinearSVC(C=svm_C, loss="hinge", tol=0.1, intercept_scaling=10, class_weight={1: 2}, random_state=3)
            svm.fit(rows, y)
            weights[:, c], bias[c] = svm.coef_[0], svm.intercept_[0]
            count_to("solve")
            negatives[c] = negatives[c][~RULES.easy(svm.decision_function(negatives[c]))]
            pending[c], updates = 0, updates + 1
            count_to("evict")
    return seconds, updates, added


def bare_pass(cache: FeatureCache) -> None:
    """Multiply every feature with one matrix, as numpy does it: the measure for all others."""
    weights = np.ones((cache.dim, len(cache.classes)), np.float32)
    for block in cache.blocks(32 << 20):
        np.dot(block.features(), weights)


def measure(features: Path, norm: float, svm_C: float, variant: dict, repeats: int) -> dict:
    """Return what one variant took, the fastest of some runs; to be called in a process of its own."""
    cache = FeatureCache.open(features)
    HardNegativeMiner(n_jobs=1).fit(generated_cache(2, 50, 8, 2))  # compiles
    best: dict = {"seconds": np.inf}
    before = peak_megabytes()
    with threadpool_limits(variant.get("threads")):
        for _ in range(repeats):
            phases, updates, added, gaps = {}, "", "", []
            start = time.perf_counter()
            if variant["what"] == "bare":
                bare_pass(cache)
            elif variant["what"] == "plain":
                phases, updates, added = plain_loop(cache, norm, svm_C)
            else:
                miner = HardNegativeMiner(svm_C=svm_C, **variant["options"]).fit(cache)
                updates, added = miner.history_.num_updates, miner.history_.num_added
                phases, gaps = miner.seconds_, miner.history_.table("update_gap")[:, 0].tolist()
            seconds = time.perf_counter() - start
            if seconds < best["seconds"]:
                best = {"seconds": seconds, "phases": phases, "updates": updates, "added": added, "gaps": gaps}
    return {**best, "megabytes": peak_megabytes() - before}


class LiblinearWithDual(Liblinear):
    """liblinear, which keeps its dual variables to itself, with the dual optimum of the same problem instead."""

    def solve(
        self, problem: SvmProblem, alpha: np.ndarray | None = None, seed: int = 0, scores: np.ndarray | None = None
    ) -> SvmSolution:
        """Solve `problem` twice."""
        return replace(super().solve(problem, seed=seed), dual=DualCoordinateDescent(1e-10).solve(problem).dual)


def liblinear_gaps(features: Path, svm_C: float) -> list[float]:
    """Return the relative gap that liblinear leaves at every update; to be called in a process of its own."""
    SOLVERS["liblinear"] = LiblinearWithDual
    miner = HardNegativeMiner(svm_C=svm_C, solver="liblinear", n_jobs=1).fit(FeatureCache.open(features))
    return miner.history_.table("update_gap")[:, 0].tolist()


def peak_megabytes() -> float:
    """Return the largest memory this process ever had, mapped files included."""
    status = Path("/proc/self/status")
    if status.exists():  # the portable figure begins with that of the parent process on Linux
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def alone(function, *arguments):
    """Call a function in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def compare(features: Path, svm_C: float, original: float | None, repeats: int, show_gaps: bool) -> None:
    """Measure every variant and print the table."""
    cache = FeatureCache.open(features)
    norm = mean_feature_norm(cache, 3)
    print(cache, flush=True)
    ours = {"what": "ours", "threads": 1}
    variants = {
        "bare pass, 1 thread": {"what": "bare", "threads": 1},
        "bare pass, all threads": {"what": "bare"},
        "plain loop, LinearSVC 0.1": {"what": "plain", "threads": 1},
        "ours, liblinear 0.1": {**ours, "options": {"solver": "liblinear", "n_jobs": 1}},
        "ours, gap 1e-2": {**ours, "options": {"tolerance": 1e-2, "n_jobs": 1}},
        "ours, gap 1e-6 (default)": {**ours, "options": {"n_jobs": 1}},
        "ours, gap 1e-10 (keys unique)": {**ours, "options": {"tolerance": 1e-10, "n_jobs": 1}},
        "plain loop, all threads": {"what": "plain"},
        "ours, liblinear 0.1, all threads": {"what": "ours", "options": {"solver": "liblinear"}},
        "ours, gap 1e-2, all threads": {"what": "ours", "options": {"tolerance": 1e-2}},
        "ours, gap 1e-6, all threads": {"what": "ours", "options": {}},
        "ours, gap 1e-10, all threads": {"what": "ours", "options": {"tolerance": 1e-10}},
    }
    rows, seconds, gaps = [], {}, {}
    for name, variant in variants.items():
        slow = variant["what"] == "plain" or "solver" in variant.get("options", {})
        found = alone(measure, features, norm, svm_C, variant, 1 if slow else repeats)
        seconds[name], gaps[name] = found["seconds"], np.array(found["gaps"])
        bare = seconds["bare pass, 1 thread" if "threads" in variant else "bare pass, all threads"]
        plain = seconds.get("plain loop, LinearSVC 0.1" if "threads" in variant else "plain loop, all threads")
        rows.append(
            [
                name,
                f"{found['seconds']:.2f}",
                *(f"{found['phases'][phase]:.2f}" if phase in found["phases"] else "" for phase in PHASES),
                str(found["updates"]),
                str(found["added"]),
                f"{np.nanmax(gaps[name]):.0e}" if np.isfinite(gaps[name]).any() else "",
                f"{found['megabytes']:.0f}",
                f"{found['seconds'] / bare:.1f}",
                f"{found['seconds'] / seconds['bare pass, 1 thread']:.1f}",
                f"{plain / found['seconds']:.1f}" if plain else "",
            ]
        )
        print(f"{name}: {found['seconds']:.2f} s", file=sys.stderr, flush=True)
    shown = ("updates", "added", "largest gap", "MB", "x bare pass", "x that of 1 thread", "plain x this")
    header = ("", "s", *PHASES, *shown)
    print(Table(header, rows).text())
    print(
        "x bare pass, plain x this: of those with as many threads; phases: thread time, so their sum may exceed the "
        f"wall time; ours: the fastest of {repeats}; MB: growth of the peak memory, mapped features included"
    )
    if original:
        print(f"rcnn_train.m, 1 thread, a comparable machine: {original:.1f} s")
    if show_gaps:
        gaps["ours, liblinear 0.1"] = np.array(alone(liblinear_gaps, features, svm_C))
        for name, values in gaps.items():
            if np.isfinite(values).any():
                print(f"\nrelative duality gap at every update, {name}: median {np.median(values):.1e}")
                print(" ".join(f"{gap:.1e}" for gap in values))


def memory(images: int, folder: Path) -> None:
    """Print how memory depends on the number of images, with and without a budget."""
    rows = []
    for factor in (1, 2, 4):
        features = folder / f"times{factor}"
        write_cache(generated_cache(factor * images), features, shard_images=10)
        size = sum(path.stat().st_size for path in features.glob("*.h5")) / 1e6
        row = [f"{factor * images}", f"{size:.0f}"]
        for options in ({}, {"memory_budget": 100 * 10**6}):
            found = alone(measure, features, 0.0, 1e-3, {"what": "ours", "options": {**options, "n_jobs": 1}}, 1)
            row += [f"{found['seconds']:.1f}", str(found["added"]), f"{found['megabytes']:.0f}"]
        rows.append(row)
    header = ("images", "MB of features", "s", "added", "MB", "s, 100 MB budget", "added", "MB")
    print(Table(header, rows).text())
    print("MB: growth of the peak memory while training, of which mapped features at most two shards of ten images")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("case", nargs="?", choices=CASES, default="perf", help="generated cache (default: perf)")
    source.add_argument("--features", metavar="DIR", type=Path, help="feature cache instead")
    parser.add_argument("--images", metavar="N", type=int, default=60, help="with --memory (default: 60)")
    parser.add_argument("--repeats", metavar="N", type=int, default=3, help="of our runs (default: 3)")
    parser.add_argument("--gaps", action="store_true", help="also print the duality gap at every update")
    parser.add_argument("--memory", action="store_true", help="measure memory against the number of images")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.memory:
            memory(args.images, Path(folder))
            return
        if args.features:
            compare(args.features, 1e-3, None, args.repeats, args.gaps)
            return
        case = CASES[args.case]
        features = Path(folder) / "features"
        write_cache(make_perf_cache(args.case), features)
        compare(features, case.svm_C, case.original_seconds, args.repeats, args.gaps)


if __name__ == "__main__":
    main()
