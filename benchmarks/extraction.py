#!/usr/bin/env python3
"""Feature extraction side by side: the bare network in every runtime, and the whole stage against the fastest.

  python -m benchmarks.extraction                           lite0, generated images
  python -m benchmarks.extraction --backbone alexnet        random weights: as fast as trained ones
  python -m benchmarks.extraction --voc VOCdevkit           real images (year 2007, split test)

All that is compared takes turns, round after round, and ratios are medians over the rounds: so they hold on a machine
whose speed wavers. Runtimes that are not installed are listed as such; a GPU is measured where there is one.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch._inductor.config
from joblib import cpu_count
from proposals import test_images

from rcnn_svm.cache.plan import CachePlan
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.errors import InputError
from rcnn_svm.features import extract
from rcnn_svm.features.backbones import LITE0, RANDOM, Backbone, load_backbone
from rcnn_svm.features.extract import FeatureExtractor, extract_database
from rcnn_svm.features.runtime import OpenVinoRuntime, Runtime, cpu_batch_size, make_runtime
from rcnn_svm.features.warp import warp_regions
from rcnn_svm.proposals.methods import make_proposer
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.table import Table

CROP_SIZES = {"lite0": 128, "alexnet": 227}
REFERENCE = "torch eager, channels-last"
PARTS = ("decode", "warp", "network", "write")
Features = np.ndarray
Network = Callable[[np.ndarray], Features]


@dataclass
class Variant:
    """A way to run the network: a thread-safe function, how many threads call it at once, and with how many crops."""

    name: str
    run: Network
    workers: int
    batch_size: int

    @classmethod
    def of_runtime(cls, runtime: Runtime, name: str, batch_size: int) -> Variant:
        """Wrap a runtime of the package."""
        ready = threading.local()

        def run(crops: np.ndarray) -> Features:
            if not hasattr(ready, "begun"):
                runtime.begin_worker()
                ready.begun = True
            return runtime(crops)

        return cls(name, run, runtime.workers, batch_size)

    def __call__(self, crops: np.ndarray) -> Features:
        """Return the features of many crops."""
        batches = [crops[first : first + self.batch_size] for first in range(0, len(crops), self.batch_size)]
        if self.workers == 1:  # torch's threads would be started anew for another thread
            return np.concatenate([self.run(batch) for batch in batches])
        with ThreadPoolExecutor(self.workers) as pool:
            return np.concatenate(list(pool.map(self.run, batches)))


def cpu_variants(backbone: Backbone, batch_size: int, compiled: bool) -> Iterator[tuple[str, Callable[[], Variant]]]:
    """Yield what runs a backbone on the CPU: its name, and what makes it."""

    def torch_variant(name: str, network: Network) -> Callable[[], Variant]:
        return lambda: Variant(name, network, 1, batch_size)

    def eager(layout: torch.memory_format, dtype: torch.dtype) -> Network:
        module = copy.deepcopy(backbone.module).to(memory_format=layout)

        @torch.inference_mode()
        def run(crops: np.ndarray) -> Features:
            batch = torch.from_numpy(crops).contiguous(memory_format=layout)
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                return module(batch).float().numpy()

        return run

    def frozen(dtype: torch.dtype) -> Network:
        module = copy.deepcopy(backbone.module).to(memory_format=torch.channels_last)
        module = torch.compile(module, dynamic=False)

        # Freezing needs parameters without gradients and no_grad; inference_mode is not supported by it.
        @torch.no_grad()
        def run(crops: np.ndarray) -> Features:
            batch = torch.from_numpy(crops).contiguous(memory_format=torch.channels_last)
            with (
                torch._inductor.config.patch(freezing=True),
                torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16),
            ):
                return module(batch).float().numpy()

        return run

    single, half = torch.float32, torch.bfloat16
    yield "torch eager", torch_variant("torch eager", eager(torch.contiguous_format, single))
    yield REFERENCE, torch_variant(REFERENCE, eager(torch.channels_last, single))
    name = f"{REFERENCE}, bfloat16"
    yield name, torch_variant(name, eager(torch.channels_last, half))
    if compiled:
        yield "torch.compile, freezing", torch_variant("torch.compile, freezing", frozen(single))
        name = "torch.compile, freezing, bfloat16"
        yield name, torch_variant(name, frozen(half))
    yield (
        "onnxruntime",
        lambda: Variant.of_runtime(make_runtime(backbone, "onnxruntime", "cpu"), "onnxruntime", batch_size),
    )
    yield "openvino", lambda: Variant.of_runtime(OpenVinoRuntime(backbone), "openvino", batch_size)
    name = "openvino, bfloat16"
    yield name, lambda: Variant.of_runtime(OpenVinoRuntime(backbone, precision="bf16"), name, batch_size)


def gpu_variants(backbone: Backbone, batch_size: int, compiled: bool) -> Iterator[tuple[str, Callable[[], Variant]]]:
    """Yield what runs a backbone on the GPU, with the copies of crops there and features back."""

    def make(name: str, dtype: torch.dtype | None, tf32: bool, compile_it: bool) -> Callable[[], Variant]:
        module = copy.deepcopy(backbone.module).to("cuda", memory_format=torch.channels_last)
        module = torch.compile(module, dynamic=False) if compile_it else module

        @torch.inference_mode()
        def run(crops: np.ndarray) -> Features:
            batch = torch.from_numpy(crops).to("cuda").contiguous(memory_format=torch.channels_last)
            with (
                mock.patch.object(torch.backends.cuda.matmul, "allow_tf32", tf32),
                mock.patch.object(torch.backends.cudnn, "allow_tf32", tf32),
                torch.autocast("cuda", dtype or torch.float16, enabled=dtype is not None),
            ):
                return module(batch).float().cpu().numpy()

        return lambda: Variant(name, run, 1, batch_size)

    for suffix, dtype, tf32 in (
        ("", None, False),
        (", TF32", None, True),
        (", float16", torch.float16, True),
        (", bfloat16", torch.bfloat16, True),
    ):
        name = REFERENCE + suffix
        yield name, make(name, dtype, tf32, compile_it=False)
        if compiled:
            yield f"torch.compile{suffix}", make(f"torch.compile{suffix}", dtype, tf32, compile_it=True)


def runtime_table(
    makers: Iterator[tuple[str, Callable[[], Variant]]], batch_sizes: list[int], crops: np.ndarray, rounds: int
) -> str:
    """Return the table of all variants.

    ms: a crop, at each batch size; the other figures are of the faster one. Ratios are to the reference at the larger
    batch size and at its own fastest. The difference of features from torch eager float32 is max|a - b| / max|a|, and
    the mean over the crops of |a - b| / |a|.
    """
    variants: dict[str, list[Variant]] = defaultdict(list)
    seconds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    features: dict[str, Features] = {}
    missing = {}
    for name, maker in makers:
        print(f"preparing {name}", file=sys.stderr, flush=True)
        try:
            made = maker()
            for size in batch_sizes:
                variant = copy.copy(made)
                variant.batch_size = size
                features[name] = variant(crops)
                variants[name].append(variant)
        except (ImportError, InputError) as error:
            missing[name] = str(error)
        except Exception as error:  # torch.compile without a compiler, and whatever else it meets
            missing[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, choices in variants.items():
            for variant in choices:
                start = time.perf_counter()
                variant(crops)
                seconds[name][variant.batch_size].append(time.perf_counter() - start)

    large = max(batch_sizes)
    median = {name: {size: np.median(taken) for size, taken in of.items()} for name, of in seconds.items()}
    best = {name: min(of, key=of.get) for name, of in median.items()}
    reference = seconds[REFERENCE]
    expected = features["torch eager" if "torch eager" in features else REFERENCE]
    rows = []
    for name, size in best.items():
        taken = np.array(seconds[name][size])
        error = np.abs(features[name] - expected)
        rows.append(
            [
                name,
                *(f"{1000 * median[name][size] / len(crops):.3f}" for size in batch_sizes),
                f"{len(crops) / median[name][size]:.0f}",
                f"{np.median(reference[large] / taken):.2f}",
                f"{np.median(reference[best[REFERENCE]] / taken):.2f}",
                f"{error.max() / np.abs(expected).max():.1e}",
                f"{(np.linalg.norm(error, axis=1) / np.linalg.norm(expected, axis=1)).mean():.1e}",
            ]
        )
    header = (
        "runtime",
        *(f"ms at {size}" for size in batch_sizes),
        "crops/s",
        f"of eager c.-l. at {large}",
        "at its best",
        "largest difference",
        "mean norm of it",
    )
    notes = [f"{name}: not measured ({reason})" for name, reason in missing.items()]
    return "\n".join([Table(header, rows).text(), *notes])


class Clock:
    """Seconds spent in each part, summed over threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def timed(self, part: str, function: Callable) -> Callable:
        """Return the function, adding its time to a part."""

        def call(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                with self._lock:
                    self.seconds[part] += time.perf_counter() - start

        return call

    @contextmanager
    def parts(self) -> Iterator[None]:
        """Take the time of what the stage does, while inside."""
        targets = (
            (ImageDatabase, "load_image", "decode"),
            (extract, "plan_crops", "warp"),
            (extract, "sample_crops", "warp"),
            (extract, "sample_crops_torch", "warp"),
            (CachePlan, "write_shard", "write"),
        )
        with ExitStack() as stack:
            for owner, name, part in targets:
                stack.enter_context(mock.patch.object(owner, name, self.timed(part, getattr(owner, name))))
            yield


class TimedRuntime:
    """A runtime whose calls are counted."""

    def __init__(self, runtime: Runtime, clock: Clock):
        self.__dict__.update({name: getattr(runtime, name) for name in ("kind", "device", "workers", "batch_size")})
        self.begin_worker = runtime.begin_worker
        self._call = clock.timed("network", runtime)

    def __call__(self, crops: np.ndarray | torch.Tensor) -> Features:
        """Return the features of the crops."""
        return self._call(crops)


def stage_rate(
    backbone: Backbone, runtime: Runtime, clock: Clock, database: ImageDatabase, proposals: ProposalSet
) -> tuple[float, float]:
    """Return crops per second of the whole stage, and its wall time."""
    with tempfile.TemporaryDirectory() as folder, clock.parts():
        extractor = FeatureExtractor(backbone, TimedRuntime(runtime, clock))
        summary = extract_database(database, proposals, extractor, Path(folder), shard_images=5)
    return summary.rows / summary.seconds, summary.seconds


def stage_tables(
    backbone: Backbone, device: str, database: ImageDatabase, proposals: ProposalSet, crops: np.ndarray, rounds: int
) -> str:
    """Return the table of the whole stage and its parts over the bare network, in every fast runtime."""
    runtimes = [make_runtime(backbone, device=device)]
    if device == "cpu":
        with suppress(InputError):
            runtimes.append(make_runtime(backbone, "openvino", device))
    networks = [Variant.of_runtime(runtime, runtime.kind, runtime.batch_size) for runtime in runtimes]
    ready = torch.from_numpy(crops).to("cuda") if device == "cuda" else crops
    clocks, wall = [Clock() for _ in runtimes], np.zeros(len(runtimes))
    bare, stage = np.zeros((rounds, len(runtimes))), np.zeros((rounds, len(runtimes)))
    for runtime in runtimes:
        stage_rate(backbone, runtime, Clock(), database.subset(database.image_ids[:1]), proposals)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for r, (runtime, network, clock) in enumerate(zip(runtimes, networks, clocks, strict=True)):
            before = bare_rate(network, ready)
            stage[number, r], seconds = stage_rate(backbone, runtime, clock, database, proposals)
            bare[number, r] = (before + bare_rate(network, ready)) / 2
            wall[r] += seconds
    fastest = bare[:, np.median(bare, axis=0).argmax(), None]
    rows = []
    for r, runtime in enumerate(runtimes):
        own = stage[:, r] / bare[:, r]
        rows.append(
            [
                runtime.kind,
                f"{np.median(bare[:, r]):.0f}",
                f"{np.median(stage[:, r]):.0f}",
                f"{np.median(own):.3f}",
                f"{own.min():.3f} to {own.max():.3f}",
                f"{np.median(stage[:, r, None] / fastest):.3f}",
                *(f"{clocks[r].seconds[part] / wall[r]:.3f}" for part in PARTS),
            ]
        )
    header = (
        "runtime",
        "bare, crops/s",
        "stage, crops/s",
        "stage / bare",
        "over the rounds",
        "stage / fastest bare",
        *PARTS,
    )
    notes = [
        f"{runtime.kind}: {runtime.workers} workers, batches of {runtime.batch_size} crops" for runtime in runtimes
    ]
    return "\n".join(
        [
            Table(header, rows).text(),
            f"{', '.join(PARTS)}: seconds in it, of all threads, per second of the stage",
            *notes,
        ]
    )


def bare_rate(network: Variant, ready: np.ndarray | torch.Tensor) -> float:
    """Return crops per second of a network on ready batches, over about two seconds."""
    size = network.batch_size
    batches = [ready[first : first + size] for first in range(0, len(ready), size)]
    with ThreadPoolExecutor(network.workers) as pool:
        list(pool.map(network.run, batches))
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < 2:
            count += sum(len(features) for features in pool.map(network.run, batches * 4))
        return count / (time.perf_counter() - start)


def take_images(args: argparse.Namespace, folder: Path) -> tuple[ImageDatabase, ProposalSet]:
    """Return the images to work on, with their proposals."""
    database = test_images(args.voc, args.images, folder)
    propose = make_proposer({"method": "fast", "max_boxes": args.max_boxes})
    print("making proposals", file=sys.stderr, flush=True)
    boxes = [propose(database.load_image(i)) for i in range(len(database))]
    return database, ProposalSet(database.image_ids, boxes, {"method": "fast"})


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=tuple(CROP_SIZES), default=LITE0, help="default: %(default)s")
    parser.add_argument("--crop-size", type=int, help="pixels (default: 128 for lite0, 227 for alexnet)")
    parser.add_argument("--voc", metavar="ROOT", type=Path, help="VOCdevkit (default: generated images)")
    parser.add_argument("--images", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--max-boxes", type=int, default=800, help="per image (default: %(default)s)")
    parser.add_argument("--crops", type=int, default=128, help="in the table of runtimes (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--part", choices=("all", "runtimes", "stage"), default="all", help="default: %(default)s")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")
    args = parser.parse_args()
    weights = None if args.backbone == LITE0 else RANDOM
    backbone = load_backbone(args.backbone, None, weights, crop_size=args.crop_size or CROP_SIZES[args.backbone])
    print(f"{args.backbone}, crops of {backbone.crop_size} pixels, {cpu_count()} CPU cores")
    devices = {"cpu": (cpu_variants, cpu_batch_size(backbone))}
    if torch.cuda.is_available():
        print(f"GPU: {torch.cuda.get_device_name()}")
        devices["cuda"] = gpu_variants, 256
    else:
        print("no GPU on this machine")
    with tempfile.TemporaryDirectory() as folder:
        database, proposals = take_images(args, Path(folder))
        crops = np.concatenate(
            [
                warp_regions(
                    database.load_image(i),
                    proposals.boxes[i][:: max(1, args.max_boxes * args.images // args.crops)],
                    crop_size=backbone.crop_size,
                    padding=backbone.padding,
                    mean=backbone.mean,
                    std=backbone.std,
                )
                for i in range(len(database))
            ]
        )[: args.crops]
        for device, (variants, batch_size) in devices.items():
            if device == "cuda":
                crops = np.concatenate([crops] * 8)
            if args.part != "stage":
                sizes = sorted({8, batch_size, 64})
                makers = variants(backbone, batch_size, not args.no_compile)
                print(f"\nthe bare network on {device}, {len(crops)} crops, {args.rounds} rounds")
                print(runtime_table(makers, sizes, crops, args.rounds), flush=True)
            if args.part != "runtimes":
                print(f"\nthe whole stage on {device}, {len(database)} images, {args.rounds} rounds")
                print(stage_tables(backbone, device, database, proposals, crops, args.rounds), flush=True)


if __name__ == "__main__":
    main()
