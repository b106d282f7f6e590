#!/usr/bin/env python3
"""Storage of feature caches side by side: size, rate of reading, and what half precision does to a training.

  python -m benchmarks.storage --features DIR --test-features DIR --voc VOCdevkit --out DIR

The first two are float32 caches of the extract stage. DIR of --out takes float16 copies of them, and every figure as
soon as it is measured: the same command goes on after an interruption, and measures anew what is deleted there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
from threadpoolctl import threadpool_limits

from rcnn_svm.artefacts.files import atomic_path
from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.importers import write_cache
from rcnn_svm.cache.rows import as_float32
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.evaluation.voc import evaluate_detections
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.reports.table import Table

Figures = dict[str, np.ndarray]

FILTERS = {
    "gzip 1": {"compression": "gzip", "compression_opts": 1},
    "gzip 1, shuffle": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
    "gzip 4": {"compression": "gzip", "compression_opts": 4},
    "gzip 4, shuffle": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
    "lzf, shuffle": {"compression": "lzf", "shuffle": True},
}
CHUNK_ROWS = 128
REPEATS = 3


def kept(path: Path, measure: Callable[[], dict]) -> Figures:
    """Return the figures in a file, after measuring them where there is none."""
    if not path.exists():
        print(f"measuring {path.stem}", flush=True)
        figures = measure()
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, **figures)
    with np.load(path) as stored:
        return dict(stored)


def shard_paths(folder: Path) -> list[Path]:
    """Return the files of a cache that hold features."""
    return sorted(folder.glob("shard-*.h5"))


def half_copy(cache: FeatureCache, folder: Path) -> FeatureCache:
    """Return the cache in half precision, written to a folder unless it is there."""
    write_cache(cache, folder, dtype="float16")
    return FeatureCache.open(folder)


def read_seconds(features: Iterable[np.ndarray]) -> float:
    """Return how long it takes one thread to read features as float32; each value is used once, in a product."""
    with threadpool_limits(1):
        start = time.perf_counter()
        for rows in features:
            flat = rows.reshape(-1)
            np.dot(flat, flat)
        return time.perf_counter() - start


def forget(paths: Iterable[Path]) -> None:
    """Drop files from the page cache."""
    for path in paths:
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_figures(paths: list[Path], read: Callable[[], Iterator[np.ndarray]]) -> dict:
    """Measure reading with the files in memory, and on disk only."""

    def cold() -> float:
        forget(paths)
        return read_seconds(read())

    # The first to read finds the code not yet compiled, and whatever is in memory.
    read_seconds(read())
    warm = min(read_seconds(read()) for _ in range(REPEATS))
    return {"warm": warm, "cold": min(cold() for _ in range(REPEATS))}


def measure_plain(cache: FeatureCache, folder: Path) -> dict:
    """Measure size and reading of a cache as the package stores it."""

    def read() -> Iterator[np.ndarray]:
        opened = FeatureCache.open(folder)
        for image in range(opened.num_images):
            yield opened.regions(image).features

    paths = shard_paths(folder)
    size = sum(path.stat().st_size for path in paths)
    return {"size": size, "bytes": cache.num_rows * cache.dim * 4, **read_figures(paths, read)}


def measure_filter(samples: list[Path], dtype: str, options: dict, scratch: Path) -> dict:
    """Measure some shards whose features went through a filter of HDF5."""
    size = number = 0
    write = 0.0
    for path in samples:
        with h5py.File(path) as source, h5py.File(scratch / path.name, "w") as target:
            features = source["features"][...].astype(dtype)
            start = time.perf_counter()
            chunks = (CHUNK_ROWS, features.shape[1])
            target.create_dataset("features", data=features, chunks=chunks, **options)
            write += time.perf_counter() - start
            target.flush()
            size += path.stat().st_size - source["features"].nbytes + target["features"].id.get_storage_size()
            number += features.size

    def read() -> Iterator[np.ndarray]:
        for path in samples:
            with h5py.File(scratch / path.name) as handle:
                features = handle["features"]
                for first in range(0, len(features), CHUNK_ROWS):
                    yield as_float32(features[first : first + CHUNK_ROWS])

    paths = [scratch / path.name for path in samples]
    figures = {"size": size, "bytes": number * 4, "write": write, **read_figures(paths, read)}
    for path in paths:
        path.unlink()
    return figures


def measure_training(train: FeatureCache, test: FeatureCache, args: argparse.Namespace, **options) -> dict:
    """Train, test and evaluate."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        miner = HardNegativeMiner(**options).fit(train)
        seconds.append(time.perf_counter() - start)
    database = load_voc(args.voc, args.year, args.split, ids=test.image_ids, classes=test.classes)
    result = evaluate_detections(detect_in_cache(test, miner.detector_), database)
    return {
        "seconds": min(seconds),
        "added": keys(miner.history_.table("added")[:, [0, 2, 3]]),
        "final": keys(miner.negatives_),
        "W": miner.detector_.W,
        "map11": result.map11,
        "map_area": result.map_area,
    }


def keys(table: np.ndarray) -> np.ndarray:
    """Return (class, image, row) as one number each."""
    return np.ravel_multi_index(table.astype(np.int64).T, (1 << 12, 1 << 24, 1 << 24))


def storage_row(name: str, figures: Figures, base: Figures) -> list[str]:
    """Return the cells of a row on size and reading."""
    ratio = figures["size"] / figures["bytes"] / (base["size"] / base["bytes"])
    gigabytes = ratio * base["size"] / 1e9
    read = [f"{figures['bytes'] / 1e9 / figures[kind]:.2f}" for kind in ("warm", "cold")]
    write = f"{figures['bytes'] / 1e9 / figures['write']:.2f}" if "write" in figures else ""
    return [name, f"{gigabytes:.2f}", f"{100 * ratio:.0f} %", *read, write]


def training_row(name: str, figures: Figures, base: Figures) -> list[str]:
    """Return the cells of a row on training, testing and what differs from the first."""

    def changed(kind: str) -> str:
        count = np.setxor1d(figures[kind], base[kind]).size
        return f"{count} ({100 * count / base[kind].size:.2f} %)"

    difference = np.linalg.norm(figures["W"] - base["W"], axis=0) / np.linalg.norm(base["W"], axis=0)
    return [
        name,
        f"{figures['seconds']:.2f}",
        f"{figures['added'].size}",
        changed("added"),
        changed("final"),
        f"{difference.max():.1e}",
        f"{100 * figures['map11']:.2f}",
        f"{100 * figures['map_area']:.2f}",
    ]


def main() -> None:
    """Measure what is not measured yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="float32 cache to train on")
    parser.add_argument("--test-features", metavar="DIR", type=Path, required=True, help="float32 cache to test on")
    parser.add_argument("--voc", metavar="DIR", type=Path, required=True, help="VOCdevkit with the test annotations")
    parser.add_argument("--year", default="2007", help="default: %(default)s")
    parser.add_argument("--split", default="test", help="of the test cache (default: %(default)s)")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("cache/benchmarks/storage"))
    parser.add_argument("--samples", metavar="N", type=int, default=4, help="shards to compress (default: %(default)s)")
    args = parser.parse_args()
    train, test = FeatureCache.open(args.features), FeatureCache.open(args.test_features)
    if "float16" in (train.dtype, test.dtype):
        parser.error("both caches must be of float32")
    out = args.out / train.fingerprint
    half, half_test = half_copy(train, out / "train.float16"), half_copy(test, out / "test.float16")
    print(train, flush=True)

    storages = {
        "float32": kept(out / "float32.npz", lambda: measure_plain(train, args.features)),
        "float16": kept(out / "float16.npz", lambda: measure_plain(half, out / "train.float16")),
    }
    shards = shard_paths(args.features)[:-1] or shard_paths(args.features)  # the last is rarely a full one
    samples = shards[:: max(1, len(shards) // args.samples)][: args.samples]
    for dtype in ("float32", "float16"):
        for name, options in FILTERS.items():
            measure = lambda dtype=dtype, options=options: measure_filter(samples, dtype, options, out)  # noqa: E731
            storages[f"{dtype}, {name}"] = kept(out / f"{dtype}, {name}.npz", measure)
    header = ("features stored as", "GB", "of float32", "read, in memory", "read, from disk", "compress")
    print(Table(header, [storage_row(name, row, storages["float32"]) for name, row in storages.items()]).text())
    print(f"rates: GB of float32 features a second, one thread, best of {REPEATS}\n")

    trainings = {
        "float32": kept(out / "train float32.npz", lambda: measure_training(train, test, args)),
        "float16": kept(out / "train float16.npz", lambda: measure_training(half, half_test, args)),
        "float32, other seed": kept(out / "train seed.npz", lambda: measure_training(train, test, args, seed=4)),
    }
    header = ("trained on", "seconds", "added", "added changed", "final changed", "W differs", "mAP 11", "mAP area")
    print(Table(header, [training_row(name, row, trainings["float32"]) for name, row in trainings.items()]).text())


if __name__ == "__main__":
    main()
