#!/usr/bin/env python3
"""How do the index of a feature cache, its opening and a training grow with the number of regions?

  python -m benchmarks.scale --out DIR --rows 1000000 10000000 100000000

Writes caches of 850 regions an image, two classes and two features, real files of the extract stage's format but for
their small vectors, so that what is left is what every region costs besides its features. A process each opens a cache
and trains on it; memory is its highest resident size.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.plan import MANIFEST, plan_cache
from rcnn_svm.cache.regions import RegionSet
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.progress import progress_bar
from rcnn_svm.reports.table import Table
from rcnn_svm.words import size_in_words

REGIONS, SHARD_IMAGES, CLASSES, DIM = 850, 20, ("cat", "dog"), 2


def image(number: int, rng: np.random.Generator) -> RegionSet:
    """Return an image with one object; its features tell the object from all else."""
    label = np.zeros(REGIONS, np.int32)
    label[0] = 1 + number % len(CLASSES)
    corner = rng.integers(0, 200, (REGIONS, 2))
    boxes = np.hstack([corner, corner + rng.integers(20, 200, (REGIONS, 2))]).astype(np.float32)
    overlap = np.zeros((REGIONS, len(CLASSES)), np.float32)
    overlap[0, label[0] - 1] = 1
    features = rng.normal(0, 0.05, (REGIONS, DIM)).astype(np.float32)
    features[0, label[0] - 1] += 1
    none = np.zeros(REGIONS, bool)
    return RegionSet(f"{number:012d}", (500, 500), boxes, label > 0, label, none, overlap, features)


def write(folder: Path, rows: int) -> None:
    """Write a cache with about so many regions, or find it complete."""
    images = range(max(rows // REGIONS, SHARD_IMAGES))
    plan = plan_cache(
        folder,
        name="simulated",
        classes=CLASSES,
        image_ids=[f"{number:012d}" for number in images],
        rows=[REGIONS] * len(images),
        settings={"source": "simulated"},
        dim=DIM,
        sources=[f"{number:016x}" for number in images],
        dtype="float16",
        shard_images=SHARD_IMAGES,
    )
    missing = [shard for shard in range(plan.num_shards) if not plan.shard_path(shard).exists()]
    with progress_bar(plan.num_shards, f"write {rows:,}", "shard", initial=plan.num_shards - len(missing)) as bar:
        for shard in missing:
            plan.write_shard(shard, [image(i, np.random.default_rng(i)) for i in plan.images_of(shard)])
            bar.update()


def measure(folder: Path) -> dict[str, float]:
    """Return what opening a cache and training on it take, in this process."""

    def memory() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    begun, before = time.perf_counter(), memory()
    cache = FeatureCache.open(folder)
    opened, of_index = time.perf_counter(), memory()
    digest = cache.fingerprint
    identified = time.perf_counter()
    miner = HardNegativeMiner(svm_C=1, feat_norm_mean=20, n_jobs=1).fit(cache)
    trained = time.perf_counter()
    return {
        "regions": cache.num_rows,
        "manifest": (folder / MANIFEST).stat().st_size,
        "disk": sum(path.stat().st_size for path in folder.iterdir()),
        "open": opened - begun,
        "fingerprint": identified - opened,
        "train": trained - identified,
        "imported": before,
        "index": of_index,
        "peak": memory(),
        "negatives": len(miner.negatives_),
        "digest": digest,
    }


def main() -> int:
    """Write, measure each in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to write the caches")
    parser.add_argument("--rows", metavar="N", type=int, nargs="+", default=[10**6, 10**7, 10**8])
    parser.add_argument("--keep", action="store_true", help="leave the caches there")
    parser.add_argument("--measure", metavar="DIR", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return 0
    rows = []
    for count in args.rows:
        folder = args.out / f"rows-{count}"
        write(folder, count)
        command = [sys.executable, "-m", "benchmarks.scale", "--out", str(args.out), "--measure", str(folder)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        sizes = [size_in_words(found[name]) for name in ("manifest", "disk")]
        seconds = [f"{found[name]:.1f}" for name in ("open", "fingerprint", "train")]
        memory = [f"{found[name] / 1e6:.0f}" for name in ("imported", "index", "peak")]
        rows.append([f"{found['regions']:,}", *sizes, *seconds, *memory])
        print(f"{count:,} regions: {found}", flush=True)
        if not args.keep:
            shutil.rmtree(folder)
    header = ("regions", "index", "disk", "open, s", "digest, s", "train, s", "MB imported", "MB open", "MB trained")
    print(Table(header, rows, left=()).text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
