#!/usr/bin/env python3
"""What few images are worth: mAP over the number of training images, of the paper's features and of a preset.

  python -m benchmarks.learning_curve --features DIR --test-features DIR --voc VOCdevkit --out cache/learning_curve

Trains on 20, 50, 100, 200, 400 and all images of a feature cache, each set within the next, drawn by a seed, with
published and with automatic constants, and tests on another cache. Beside it the standard preset of `rcnn-svm run` on
the same images, from the photos: its order of proposals is learnt from these images alone. A class without an object
among the training images counts as AP 0. Prints a table, and writes it as OUT/learning_curve.csv with a picture beside
it. With --only some settings. Can be stopped at any moment; the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.ladder import folder_of, run_rung
from rcnn_svm.artefacts.files import fingerprint, write_text
from rcnn_svm.cache import FeatureCache
from rcnn_svm.data import ImageDatabase
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import evaluate_detections
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.reports.style import new_figure, save_figure, tidy
from rcnn_svm.reports.table import Table, records_csv
from rcnn_svm.tuning import SvmCSearch

COUNTS = (20, 50, 100, 200, 400)
SEED = 0
SETTINGS = {
    "paper": {},
    "weight auto": {"pos_loss_weight": "auto"},
    "C auto": {"svm_C": "auto"},
    "both auto": {"pos_loss_weight": "auto", "svm_C": "auto"},
}
PRESET = "standard preset"
METRICS = {"map_voc07": "mAP 11-point", "map_area": "mAP area"}


def nested_subsets(num_images: int) -> list[np.ndarray]:
    """Return image indices, rising, of ever larger sets that contain the ones before; the last is all."""
    order = np.random.default_rng(SEED).permutation(num_images)
    return [np.sort(order[:count]) for count in (*(count for count in COUNTS if count < num_images), num_images)]


def objects_by_class(cache: FeatureCache) -> np.ndarray:
    """Return the number of objects of every class, (K,)."""
    counts = np.zeros(len(cache.classes) + 1, np.int64)
    for block in cache.blocks():
        counts += np.bincount(block.label[block.gt], minlength=len(counts))
    return counts[1:]


def measure(train: FeatureCache, test: FeatureCache, database: ImageDatabase, voc: Path, options: dict) -> dict:
    """Train with some settings and test."""
    counts = objects_by_class(train)
    trained = [name for name, count in zip(train.classes, counts, strict=True) if count]
    start = time.perf_counter()
    numbers = {name: value for name, value in options.items() if name != "svm_C"}
    miner = HardNegativeMiner(classes=trained, n_jobs=-1, **numbers)
    miner = SvmCSearch(miner).fit(train).miner_ if "svm_C" in options else miner.fit(train)
    seconds = time.perf_counter() - start
    known = load_voc(voc, "2007", "test", ids=test.image_ids, classes=trained)
    result = evaluate_detections(detect_in_cache(test, miner.detector_), known)
    wanted = len(tested_classes(database))
    figures = {
        "map_voc07": float(np.nansum([entry.ap11 for entry in result.classes]) / wanted),
        "map_area": float(np.nansum([entry.ap_area for entry in result.classes]) / wanted),
    }
    training = miner.detector_.training
    return facts(train, counts, training, miner.history_.num_added, seconds) | figures


def measure_preset(train: FeatureCache, test: FeatureCache, database: ImageDatabase, voc: Path, out: Path) -> dict:
    """Run the standard preset on the images of two caches, from the photos to the mAP."""
    counts = objects_by_class(train)
    trained = [name for name, count in zip(train.classes, counts, strict=True) if count]
    name = f"{train.num_images} images"
    options = ["--preset", "standard", "--classes", ",".join(trained)]
    made = run_rung(name, options, voc, list(train.image_ids), list(test.image_ids), out)
    model = folder_of(name, out) / "model.h5"
    share = len(set(trained) & set(tested_classes(database))) / len(tested_classes(database))
    seconds = sum(seconds for stage, seconds in made["stages"] if stage == "train")
    training, added = Detector.load(model).training, Detector.load_history(model)["added"]
    figures = {"map_voc07": share * made["map11"], "map_area": share * made["map_area"]}
    return facts(train, counts, training, len(added), seconds) | figures


def facts(train: FeatureCache, counts: np.ndarray, training: dict, hard_negatives: int, seconds: float) -> dict:
    """Return what is known of a training beside its mAP."""
    return {
        "images": train.num_images,
        "objects": int(np.median(counts)),
        "classes": int((counts > 0).sum()),
        "svm_C": training["svm_C"],
        "weight": float(np.median(training["pos_loss_weight"])),
        "hard_negatives": hard_negatives,
        "seconds": seconds,
    }


def tested_classes(database: ImageDatabase) -> list[str]:
    """Return the classes that have an object in the test images."""
    numbers = np.unique(np.concatenate([database.annotation(i).classes for i in range(len(database))]))
    return [database.classes[number] for number in numbers]


def measured(path: Path, made_from: str) -> dict | None:
    """Return the figures of an earlier run from the same data, or None."""
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["figures"] if found["made_from"] == made_from else None


def table_row(name: str, found: dict) -> list[str]:
    """Return a line of the table."""
    return [
        name,
        str(found["images"]),
        str(found["objects"]),
        str(found["classes"]),
        f"{found['svm_C']:.2g}",
        f"{found['weight']:.1f}",
        f"{found['hard_negatives']:,}",
        f"{found['seconds']:.1f}",
        *(f"{100 * found[metric]:.1f}" for metric in METRICS),
    ]


HEADER = ("setting", "images", "objects", "classes", "C", "weight", "hard negatives", "train s", *METRICS.values())


def save_csv(path: Path, lines: list[tuple[str, dict]]) -> None:
    """Write all figures in full."""
    write_text(path, records_csv([{"setting": name, **found} for name, found in lines]))


def draw_curves(path: Path, lines: list[tuple[str, dict]]) -> None:
    """Draw both measures over the number of images."""
    figure = new_figure(9, 4)
    counts = sorted({found["images"] for _, found in lines})
    for axis, (metric, title) in zip(figure.subplots(1, len(METRICS)), METRICS.items(), strict=True):
        for setting in dict.fromkeys(name for name, _ in lines):
            curve = [(found["images"], 100 * found[metric]) for name, found in lines if name == setting]
            axis.plot(*zip(*curve, strict=True), marker="o", markersize=4, label=setting)
        axis.set_xscale("log")
        axis.set_xticks(counts, map(str, counts))
        axis.minorticks_off()
        axis.set(title=title, xlabel="training images", ylabel="percent", ylim=(0, None))
        tidy(axis)
    axis.legend(fontsize=8)
    save_figure(figure, path)


def run(args: argparse.Namespace) -> None:
    """Measure what is missing, print the table, write it and draw it."""
    cache, test = FeatureCache.open(args.features), FeatureCache.open(args.test_features)
    database = load_voc(args.voc, "2007", "test", ids=test.image_ids, classes=cache.classes)
    lines = []
    for images in nested_subsets(cache.num_images):
        train = cache.subset(images)
        for name in args.only or (*SETTINGS, PRESET):
            options = SETTINGS.get(name, PRESET)
            path = args.out / "results" / f"{len(images)}.{name.replace(' ', '-')}.json"
            made_from = fingerprint([train.fingerprint, test.fingerprint, options])
            found = measured(path, made_from)
            if found is None:
                if name == PRESET:
                    found = measure_preset(train, test, database, args.voc, args.out / "preset")
                else:
                    found = measure(train, test, database, args.voc, options)
                write_text(path, json.dumps({"made_from": made_from, "figures": found}, indent=1) + "\n")
            lines.append((name, found))
            print(" ".join(table_row(name, found)), flush=True)
    print()
    print(Table(HEADER, [table_row(name, found) for name, found in lines]).text())
    print(f"objects, weight: median of the classes; subsets drawn with seed {SEED}; tested on {test.num_images} images")
    save_csv(args.out / "learning_curve.csv", lines)
    draw_curves(args.out / "learning_curve.png", lines)
    print(f"wrote {args.out}")


def main() -> int:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache to train on")
    parser.add_argument("--test-features", metavar="DIR", type=Path, required=True, help="feature cache to test on")
    parser.add_argument("--voc", metavar="ROOT", type=Path, required=True, help="VOCdevkit folder with VOC2007")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("cache/learning_curve"), help="for everything")
    parser.add_argument(
        "--only", metavar="SETTING", nargs="+", choices=(*SETTINGS, PRESET), help="these settings alone"
    )
    try:
        run(parser.parse_args())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
