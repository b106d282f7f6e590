#!/usr/bin/env python3
"""What a detector costs and what it is worth: time, disk, recall and mAP for smaller crops and fewer proposals.

  python -m benchmarks.tradeoffs --voc VOCdevkit --out cache/tradeoffs

Trains and tests lite0 on real images (default: those listed in benchmarks/voc2007_subset) with every variant of
the table. For each crop size the features of the largest set of boxes are extracted, by the stages of the package;
a variant that only drops boxes takes its rows from there, since the features of a crop do not depend on other crops.
Its extraction time is its number of regions by the rate of its crop size, which is measured on the first images of
the test set, image decoding included, and kept in OUT/rates.json; delete that file to measure again.

Can be stopped at any moment; the same command goes on. Needs about 15 GB of disk and 8 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from joblib import cpu_count

from rcnn_svm.artefacts.files import write_text
from rcnn_svm.cache import FeatureCache, RegionSet
from rcnn_svm.cli.arguments import read_ids
from rcnn_svm.cli.main import run_arguments
from rcnn_svm.data import ImageDatabase
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.evaluation.voc import evaluate_detections
from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.features.extract import FeatureExtractor
from rcnn_svm.features.runtime import make_runtime
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.proposals.methods import make_proposer
from rcnn_svm.proposals.propose import propose_database
from rcnn_svm.proposals.recall import recall_report
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.table import Table

SUBSET = Path(__file__).parent / "voc2007_subset"
SPLITS = {"train": "trainval", "test": "test"}
BACKBONE, PADDING, METHOD = "lite0", 0, "fast"
LARGEST = 800  # boxes of an image
FULL_CROP = 224  # pixels, the network's own
RATE_IMAGES = 40


@dataclass(frozen=True)
class Variant:
    """A choice of crop size in pixels, boxes of an image, and the IoU above which boxes are merged."""

    crop_size: int
    max_boxes: int
    merge_iou: float | None = None

    @property
    def name(self) -> str:
        """For a file."""
        return f"{self.crop_size}px.{self.max_boxes}" + (f".merge{self.merge_iou}" if self.merge_iou else "")


VARIANTS = (
    Variant(64, LARGEST),
    *(Variant(96, count) for count in (LARGEST, 400, 200, 100)),
    *(Variant(128, count) for count in (LARGEST, 400, 200, 100)),
    *(Variant(128, LARGEST, merge_iou) for merge_iou in (0.9, 0.8, 0.7, 0.6, 0.5)),
    *(Variant(FULL_CROP, count) for count in (200, 100)),
)


def proposals_of(databases: dict[str, ImageDatabase], args: argparse.Namespace) -> dict[str, ProposalSet]:
    """Run the propose stage on both image sets."""
    found = {}
    for name, database in databases.items():
        path = proposals_path(args.out, name)
        found[name] = propose_database(
            database, make_proposer({"method": METHOD, "max_boxes": LARGEST}), path, jobs=cpu_count()
        )
    return found


def proposals_path(out: Path, name: str) -> Path:
    """Return the path of the proposals of an image set."""
    return out / "proposals" / f"{name}.h5"


def extract(name: str, crop_size: int, args: argparse.Namespace) -> FeatureCache:
    """Run the extract stage on one image set with as many boxes as any variant of that crop size."""
    max_boxes = max(variant.max_boxes for variant in VARIANTS if variant.crop_size == crop_size)
    folder = args.out / "features" / f"{name}.{crop_size}px"
    words = ["--voc", args.voc, "--split", SPLITS[name], "--ids", getattr(args, f"{name}_ids")]
    words += ["--proposals", proposals_path(args.out, name), "--backbone", BACKBONE, "--out", folder]
    words += ["--crop-size", crop_size, "--padding", PADDING, "--max-boxes", max_boxes]
    run_arguments("extract", [str(word) for word in words])
    return FeatureCache.open(folder)


def limited(cache: FeatureCache, proposals: ProposalSet) -> FeatureCache:
    """Return the rows of a cache that hold ground truth or one of the proposals, which are among its own."""
    regions = [cache.regions(i) for i in range(cache.num_images)]
    if sum(map(len, proposals.boxes)) + sum(np.count_nonzero(region.gt) for region in regions) == cache.num_rows:
        return cache
    rows = [rows_of(region, proposals.boxes_of(region.image_id)) for region in regions]
    return FeatureCache.from_arrays(
        **{
            name: np.concatenate([getattr(region, name)[keep] for region, keep in zip(regions, rows, strict=True)])
            for name in ("features", "boxes", "gt", "label", "difficult", "overlap")
        },
        image_start=np.cumsum([0, *map(np.count_nonzero, rows)]),
        image_size=np.array([region.image_size for region in regions]),
        classes=cache.classes,
        image_ids=cache.image_ids,
        name=cache.name,
    )


def rows_of(regions: RegionSet, boxes: np.ndarray) -> np.ndarray:
    """Return which rows of an image are its ground truth or those boxes, (N,) bool."""
    wanted = set(map(tuple, boxes.tolist()))
    keep = np.array([tuple(box) in wanted for box in regions.boxes.tolist()]) & ~regions.gt
    if np.count_nonzero(keep) != len(boxes):
        raise ValueError(f"image {regions.image_id}: the cache does not hold every box of the variant")
    return keep | regions.gt


def measure(
    variant: Variant,
    caches: dict[str, FeatureCache],
    proposals: dict[str, ProposalSet],
    test: ImageDatabase,
) -> dict[str, float]:
    """Train and test one variant."""
    boxes = {name: found.limited(variant.max_boxes, variant.merge_iou) for name, found in proposals.items()}
    few = {name: limited(cache, boxes[name]) for name, cache in caches.items()}
    start = time.perf_counter()
    detector = HardNegativeMiner(n_jobs=-1).fit(few["train"]).detector_
    seconds = time.perf_counter() - start
    result = evaluate_detections(detect_in_cache(few["test"], detector), test)
    recall = recall_report(test, boxes["test"]).overall.recall
    return {
        "boxes": sum(map(len, boxes["test"].boxes)) / len(test),
        "regions": sum(cache.num_rows for cache in few.values()),
        "train_seconds": seconds,
        "recall_50": recall[0],
        "recall_70": recall[1],
        "map_voc07": result.map11,
        "map_area": result.map_area,
    }


def proposal_rate(database: ImageDatabase) -> float:
    """Return images a second of the propose stage."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        propose_database(database, make_proposer({"method": METHOD}), Path(folder) / "p.h5", jobs=cpu_count())
        return len(database) / (time.perf_counter() - start)


def extraction_rate(database: ImageDatabase, proposals: ProposalSet, crop_size: int) -> float:
    """Return crops a second, from image files to features in memory."""
    backbone = load_backbone(BACKBONE, crop_size=crop_size, padding=PADDING)
    extractor = FeatureExtractor(backbone, make_runtime(backbone))
    boxes = [proposals.boxes_of(image_id) for image_id in database.image_ids]
    extractor.extract(database.load_image(0), boxes[0][:100])  # compiles, allocates
    start = time.perf_counter()
    for _ in extractor.extract_many((database.load_image(i), boxes[i]) for i in range(len(database))):
        pass
    return sum(map(len, boxes)) / (time.perf_counter() - start)


def remembered(path: Path) -> dict[str, float]:
    """Return the numbers of an earlier run, or none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def rates(test: ImageDatabase, proposals: ProposalSet, path: Path) -> dict[str, float]:
    """Return images a second of the proposals and crops a second of every crop size, measured once."""
    found = remembered(path)
    few = test.subset(test.image_ids[:RATE_IMAGES])
    measured = {"propose": lambda: proposal_rate(few)}
    for size in sorted({variant.crop_size for variant in VARIANTS}):
        images = few if size < FULL_CROP else few.subset(few.image_ids[: RATE_IMAGES // 2])
        measured[str(size)] = lambda size=size, images=images: extraction_rate(images, proposals, size)
    for name, run in measured.items():
        if name not in found:
            found[name] = run()
            write_text(path, json.dumps(found, indent=1) + "\n")
    return found


def row(variant: Variant, found: dict[str, float], rate: float, bytes_per_row: float) -> list[str]:
    """Return a line of the table."""
    return [
        f"{variant.crop_size} px",
        str(variant.max_boxes),
        f"{variant.merge_iou or '-'}",
        f"{found['boxes']:.0f}",
        f"{found['regions']:,}",
        f"{found['regions'] / rate / 60:.1f}",
        f"{found['regions'] * bytes_per_row / 1e9:.1f}",
        f"{found['train_seconds']:.0f}",
        f"{100 * found['recall_50']:.1f}",
        f"{100 * found['recall_70']:.1f}",
        f"{100 * found['map_voc07']:.1f}",
        f"{100 * found['map_area']:.1f}",
    ]


HEADER = (
    *("crop", "first", "merge", "boxes/image", "regions", "extract min", "GB", "train s"),
    *("recall 0.5", "0.7", "mAP 11-pt", "area"),
)


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", metavar="ROOT", type=Path, required=True, help="VOCdevkit folder with VOC2007")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("cache/tradeoffs"), help="for everything")
    for name, split in SPLITS.items():
        parser.add_argument(f"--{name}-ids", metavar="FILE", type=Path, default=SUBSET / f"{split}.txt")
    args = parser.parse_args()
    databases = {
        name: load_voc(args.voc, "2007", split, ids=read_ids(getattr(args, f"{name}_ids")))
        for name, split in SPLITS.items()
    }
    proposals = proposals_of(databases, args)
    lines = []
    speed = rates(databases["test"], proposals["test"], args.out / "rates.json")
    for crop_size in sorted({variant.crop_size for variant in VARIANTS}):
        caches = {name: extract(name, crop_size, args) for name in SPLITS}
        for variant in (variant for variant in VARIANTS if variant.crop_size == crop_size):
            path = args.out / "results" / f"{variant.name}.json"
            found = remembered(path)
            if not found:
                found = measure(variant, caches, proposals, databases["test"])
                write_text(path, json.dumps({**asdict(variant), **found}, indent=1) + "\n")
            cache = caches["train"]
            files = (args.out / "features" / f"train.{crop_size}px").glob("*")
            bytes_per_row = sum(file.stat().st_size for file in files) / cache.num_rows
            lines.append(row(variant, found, speed[str(crop_size)], bytes_per_row))
            print(" ".join(lines[-1]), flush=True)
    images = sum(map(len, databases.values()))
    print()
    print(Table(HEADER, lines).text())
    print(f"proposals: {speed['propose']:.2f} images/s, {images / speed['propose'] / 60:.1f} min for every variant")
    listed = ", ".join(f"{size} px {rate:.0f}" for size, rate in speed.items() if size != "propose")
    print(f"crops/s: {listed}; padding {PADDING}; {images} images")


if __name__ == "__main__":
    exit_code = 0
    try:
        main()
    except KeyboardInterrupt:
        exit_code = 130
    # Not inside the handler: while the exception lives, the extraction's threads do, and end with the interpreter.
    sys.exit(exit_code)
