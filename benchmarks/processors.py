#!/usr/bin/env python3
"""How much differs what another kind of processor makes? The same run, with instructions of this one taken away.

  python -m benchmarks.processors --voc VOCdevkit --images 60 --out DIR

Libraries choose among loops for kinds of processors, and add up in another order with each. They are told here that the
processor is an older one: those of oneDNN, MKL, OpenBLAS, ATen, numpy, OpenCV and the compiled loops of this package.
ONNX Runtime cannot be told so and counts as it always does; `--runtime torch` is what runs the networks. On a second
machine the same command, and `rcnn-svm diff` of the two folders, measure the real thing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.cache import FeatureCache
from rcnn_svm.data import load_voc
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.difference.arrays import how_far
from rcnn_svm.reports.table import Table

CLASSES = "person,car,chair"
SPLITS = ("trainval", "test")
_AVX512 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
# What every kind tells the libraries, by variables of the environment.
KINDS: dict[str, dict[str, str]] = {
    "this processor": {},
    "the same, 2 threads": {"OMP_NUM_THREADS": "2"},
    "AVX2, as Haswell": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "",
        "NPY_DISABLE_CPU_FEATURES": _AVX512,
        "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX512-ICL",
    },
    "SSE4.2, as Nehalem": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NUMBA_CPU_NAME": "nehalem",
        "NUMBA_CPU_FEATURES": "",
        "NPY_DISABLE_CPU_FEATURES": f"AVX F16C FMA3 AVX2 {_AVX512}",
        "OPENCV_CPU_DISABLE": "AVX,FP16,AVX2,FMA3,AVX512-SKX,AVX512-ICL",
    },
}


def stages(voc: Path, folder: Path, inputs: Path) -> list[list[str]]:
    """Return the commands of every stage: what each reads is in `inputs`, what it makes goes to `folder`."""
    data = {
        split: ["--voc", voc, "--split", split, "--ids", inputs.parent / f"{split}.txt", "--classes", CLASSES]
        for split in SPLITS
    }
    commands = []
    for split in SPLITS:
        commands.append(["propose", *data[split], "--jobs", 1, "--max-boxes", 400, "--out", folder / f"{split}.h5"])
        crops = ["--proposals", inputs / f"{split}.h5", "--max-boxes", 100, "--runtime", "torch", "--dtype", "float32"]
        commands.append(["extract", *data[split], *crops, "--out", folder / split])
    features = ["--features", inputs / "trainval"]
    commands.append(["train", *features, "--jobs", 1, "--out", folder / "model.h5"])
    commands.append(["train-bbox", *features, "--out", folder / "bbox.h5"])
    found = ["--model", inputs / "model.h5", "--bbox", inputs / "bbox.h5", "--vote", "--out", folder / "found.h5"]
    commands.append(["test", "--features", inputs / "test", *found])
    report = ["--pictures", 0, "--out", folder / "report"]
    commands.append(["evaluate", "--detections", folder / "found.h5", *data["test"], *report])
    return [[str(word) for word in words] for words in commands]


def run(kind: str, voc: Path, folder: Path, inputs: Path) -> None:
    """Run every stage as if on a kind of processor, unless that was done."""
    if (folder / "report" / "results.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # Loops that are compiled for one kind are not another's.
    variables = {"OMP_NUM_THREADS": "1", **KINDS[kind], "NUMBA_CACHE_DIR": str(folder / "compiled")}
    for words in stages(voc, folder, inputs):
        print(f"{kind}: {words[0]}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "rcnn_svm", *words], env={**os.environ, **variables}, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"rcnn-svm {' '.join(words)}:\n{done.stderr}")


def farthest(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of two arrays, by the largest number of the first; infinity for other shapes."""
    return how_far(a, b).get("relative", 0.0) if a.shape == b.shape else float("inf")


def compare(a: Path, b: Path) -> list[str]:
    """Return a row of the table: what differs in two folders of results."""
    boxes = [ProposalSet.load(folder / "trainval.h5").boxes for folder in (a, b)]
    same = sum(np.array_equal(one, other) for one, other in zip(*boxes, strict=True))
    caches = [FeatureCache.open(folder / "trainval") for folder in (a, b)]
    features = max(
        farthest(*(cache.regions(image).features for cache in caches)) for image in range(caches[0].num_images)
    )
    models = [Detector.load(folder / "model.h5") for folder in (a, b)]
    added = [set(map(tuple, Detector.load_history(folder / "model.h5")["added"].tolist())) for folder in (a, b)]
    found = [Detections.load(folder / "found.h5") for folder in (a, b)]
    reports = [json.loads((folder / "report" / "results.json").read_text()) for folder in (a, b)]
    numbers: list[Any] = [farthest(models[0].W, models[1].W), farthest(found[0].score, found[1].score)]
    return [
        f"{same} of {len(boxes[0])}",
        f"{features:.1e}",
        f"{len(added[0] & added[1])} of {len(added[0])}",
        *(f"{number:.1e}" for number in numbers),
        f"{100 * (reports[1]['map_voc07'] - reports[0]['map_voc07']):+.3f}",
    ]


def main() -> int:
    """Run all kinds and print what differs from the first: stage by stage on equal inputs, then from the images on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", metavar="ROOT", type=Path, required=True, help="VOCdevkit folder")
    parser.add_argument("--images", metavar="N", type=int, default=60, help="of each split (default: %(default)s)")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for what is made")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        ids = load_voc(args.voc, split=split).image_ids[: args.images]
        (args.out / f"{split}.txt").write_text("\n".join(ids), encoding="utf-8")
    first, *others = KINDS
    base = args.out / "0"
    run(first, args.voc, base, base)
    header = ("processor", "images with equal boxes", "features", "negatives shared", "weights", "scores", "mAP")
    for title, whole in (("every stage on the same input", False), ("all stages", True)):
        rows = []
        for number, kind in enumerate(others, 1):
            folder = args.out / f"{number}{'-whole' * whole}"
            run(kind, args.voc, folder, folder if whole else base)
            rows.append([kind, *compare(base, folder)])
        print(f"\n{title}\n\n{Table(header, rows).text(120)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
