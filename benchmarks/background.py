#!/usr/bin/env python3
"""What do images without objects give? False positives on other such images, before and after, at equal recall.

  python -m benchmarks.background --features DIR --test-features TEST_DIR

Trains on few images that show one of some classes, with the labels of these classes alone. The images that show none of
them are background: one half is given to the training, the other counts false positives. Given whole (--negatives); or
through the guards of the mine stage, each region a negative of the class that fired (--mined), and once more with what
the better detector still fires on (again). The classes are the six animals of VOC 2007. The table is the mean over
draws of the images; features are read, none are computed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.relabelled import relabelled
from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.on_background import OnBackground, compare_on_background
from rcnn_svm.mining.background import with_negatives
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.mined_regions import MANIFEST, PART_IMAGES, MinedFrame, save_part, write_regions
from rcnn_svm.mining.unlabelled import Guards
from rcnn_svm.reports.table import Table, percent

ANIMALS = ("bird", "cat", "cow", "dog", "horse", "sheep")
FINISHES: dict[str, Callable[[Detections], Detections]] = {
    "suppressed": Detections.after_nms,
    "voted, soft-NMS": lambda found: found.after_voting().after_soft_nms(),
}


def images_with(cache: FeatureCache, classes: Sequence[str]) -> np.ndarray:
    """Return which images show an object of some classes, (I,) bool."""
    labels = [cache.classes.index(name) + 1 for name in classes]
    shows = [np.isin(cache.block(image).label, labels).any() for image in range(cache.num_images)]
    return np.array(shows)


def labelled_with(cache: FeatureCache, images: np.ndarray, classes: Sequence[str], name: str) -> FeatureCache:
    """Return some images in memory, in which only objects of some classes were ever labelled."""
    number = np.zeros(len(cache.classes) + 1, np.int32)
    number[[cache.classes.index(cls) + 1 for cls in classes]] = np.arange(len(classes)) + 1
    labels = (number[cache.block(image).label] for image in images.tolist())
    return relabelled(cache, images.tolist(), labels, classes, name)


def mine(detector: Detector, cache: FeatureCache, guards: Guards, folder: Path) -> Path:
    """Write the regions that a detector fires on to a folder, as the mine stage does; return their manifest."""
    frames = []
    for image, image_id in enumerate(cache.image_ids):
        found = cache.regions(image)
        scores = detector.scores(found.features)
        rows, cls = guards.select(found.boxes, scores)
        arrays = found.boxes[rows], cls, scores[rows, cls], found.features[rows]
        frames.append(MinedFrame(image_id, None, None, found.image_size, *arrays, crops=[b""] * len(rows)))
    parts = []
    for first in range(0, len(frames), PART_IMAGES):
        parts.append(folder / f"{first:06d}.part")
        save_part(parts[-1], frames[first : first + PART_IMAGES], {})
    lines = write_regions(folder, parts, detector.classes, cache.settings, cache.dim)
    (folder / MANIFEST).write_text("".join(f"{line.line()}\n" for line in lines))
    return folder / MANIFEST


def measure(
    cache: FeatureCache, test: FeatureCache, classes: Sequence[str], images: int, seed: int
) -> tuple[dict[str, int], dict[str, list[OnBackground]], dict[str, list[OnBackground]]]:
    """Train before and after.

    Returns:
        by training, the regions given to it beside the photos; by finish and training, what came of it on the test
        and on background; and the same where only test images with an object count.
    """
    rng = np.random.default_rng(seed)
    shows = images_with(cache, classes)
    photos, empty = (rng.permutation(np.flatnonzero(mask)) for mask in (shows, ~shows))
    given, held = np.split(empty, [len(empty) // 2])
    train = labelled_with(cache, np.sort(photos[:images]), classes, "photos")
    background = labelled_with(cache, np.sort(given), classes, "background")
    other = labelled_with(cache, np.sort(held), classes, "other background")
    photos_of_test = labelled_with(test, np.flatnonzero(images_with(test, classes)), classes, "test photos")
    whole_test = labelled_with(test, np.arange(test.num_images), classes, "test")

    def fit(training: FeatureCache) -> Detector:
        # As `run` trains on own images.
        return HardNegativeMiner(pos_loss_weight="auto").fit(training).detector_

    models, regions, manifests = {"photos alone": fit(train)}, {"photos alone": 0}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("--mined", "--mined, again"):
            last = [*models.values()][-1]
            manifests.append(mine(last, background, Guards(), Path(folder) / name))
            training = with_negatives(train, mined=manifests)
            models[name], regions[name] = fit(training), training.num_rows - train.num_rows
    models["--negatives"], regions["--negatives"] = fit(with_negatives(train, [background])), background.num_rows
    every, alone = {}, {}
    for name, finish in FINISHES.items():
        every[name] = compare_on_background([*models.values()], other, whole_test, finish=finish)
        alone[name] = compare_on_background([*models.values()], None, photos_of_test, finish=finish)
    return regions, every, alone


def run(cache: FeatureCache, test: FeatureCache, classes: Sequence[str], images: int, seeds: Sequence[int]) -> None:
    """Measure with every seed and print a table for each finish."""
    outcomes = []
    for seed in seeds:
        start = time.perf_counter()
        outcomes.append(measure(cache, test, classes, images, seed))
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    header = ("trained on", "regions more", "mAP %", "mAP %, photos", "false positives", "of before", "above 0")
    for finish in FINISHES:
        rows = []
        for number, name in enumerate(outcomes[0][0]):
            regions = np.mean([regions[name] for regions, _, _ in outcomes])
            of_test = [every[finish][number] for _, every, _ in outcomes]
            of_photos = [alone[finish][number] for _, _, alone in outcomes]
            before = np.mean([every[finish][0].at_recall.sum() for _, every, _ in outcomes])
            wrong = np.mean([result.at_recall.sum() for result in of_test])
            rows.append(
                [
                    name,
                    f"{regions:,.0f}",
                    *(
                        percent(np.mean([result.average_precision.mean() for result in r]))
                        for r in (of_test, of_photos)
                    ),
                    *(f"{wrong:.3f}", f"{wrong / before:.2f}"),
                    f"{np.mean([result.reported.sum() for result in of_test]):.3f}",
                ]
            )
        notes = [
            f"False positives an image on {outcomes[0][1][finish][0].images} held-out images of background, {finish}; "
            "first at the recall that the photos alone give at their best F1 on the test, "
            f"{percent(np.mean([o[1][finish][0].recall.mean() for o in outcomes]))} % on average, then of scores above "
            f"0. mAP on all {test.num_images} test images, and on those that show one of the classes. {images} photos; "
            f"mean over seeds {', '.join(map(str, seeds))}."
        ]
        print(f"\n{Table(header, rows, notes=notes).text()}")


def main() -> int:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache of training images")
    parser.add_argument("--test-features", metavar="DIR", type=Path, required=True, help="feature cache of test images")
    parser.add_argument("--classes", default=",".join(ANIMALS), help="classes that are labelled (default: %(default)s)")
    parser.add_argument("--images", metavar="N", type=int, default=80, help="labelled images (default: %(default)s)")
    parser.add_argument("--seeds", metavar="N,N", default="0,1,2", help="draws of images (default: %(default)s)")
    args = parser.parse_args()
    try:
        caches = FeatureCache.open(args.features, shards_mapped=99), FeatureCache.open(args.test_features)
        run(*caches, args.classes.split(","), args.images, [int(seed) for seed in args.seeds.split(",")])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
