#!/usr/bin/env python3
"""Images a second of the propose stage, from image files to ranked boxes, with one job and with all cores.

Beside it a bare loop that only decodes and calls OpenCV, and the same work in joblib's processes:

  python -m benchmarks.proposals                      synthetic images
  python -m benchmarks.proposals --voc VOCdevkit      real ones, those listed in benchmarks/voc2007_subset
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, cpu_count, delayed
from PIL import Image

from rcnn_svm.cli.arguments import positive_int, read_ids
from rcnn_svm.data import ImageDatabase
from rcnn_svm.data.images import load_image
from rcnn_svm.data.voc import load_voc
from rcnn_svm.proposals.propose import propose_database
from rcnn_svm.proposals.selective_search import SelectiveSearch
from rcnn_svm.reports.table import Table
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc

SUBSET = Path(__file__).parent / "voc2007_subset" / "test.txt"


def test_images(voc: Path | None, count: int, folder: Path) -> ImageDatabase:
    """Return real test images where there is a devkit, else synthetic ones, written to a folder."""
    if voc:
        return load_voc(voc, "2007", "test", ids=read_ids(SUBSET)[:count])
    write_synthetic_voc(folder, num_train=1, num_test=count)
    return load_voc(folder, "2007", "test", classes=SYNTHETIC_CLASSES)


def bare_decode(path: Path) -> np.ndarray:
    """Return an image as Pillow decodes it."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def bare_search(image: np.ndarray) -> np.ndarray:
    """Return what OpenCV finds with the settings of `fast`: (N, 4) x y width height, with repetitions."""
    of = cv2.ximgproc.segmentation
    height, width = image.shape[:2]
    small = cv2.resize(image, (500, round(height * 500 / width)), interpolation=cv2.INTER_AREA)
    search = of.createSelectiveSearchSegmentation()
    for code in (cv2.COLOR_RGB2HSV_FULL, cv2.COLOR_RGB2Lab):
        search.addImage(cv2.cvtColor(small, code))
    for k in (50, 100):
        search.addGraphSegmentation(of.createGraphSegmentation(0.8, k, k))
    colour, texture, size, fill = (
        getattr(of, f"createSelectiveSearchSegmentationStrategy{name}")()
        for name in ("Color", "Texture", "Size", "Fill")
    )
    for parts in ((colour, texture, size, fill), (texture, size, fill)):
        total = of.createSelectiveSearchSegmentationStrategyMultiple()
        for part in parts:
            total.addStrategy(part, 1 / len(parts))
        search.addStrategy(total)
    return search.process()


def in_process(path: Path) -> np.ndarray:
    """Return the proposals of an image file; OpenCV gets one thread, as in the stage."""
    cv2.setNumThreads(1)
    return SelectiveSearch()(load_image(path))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", metavar="ROOT", type=Path, help="VOCdevkit folder (default: synthetic images)")
    parser.add_argument("--images", metavar="N", type=positive_int, default=24, help="default: %(default)s")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        database = test_images(args.voc, args.images, Path(folder) / "voc")
        paths = [database.image_path(i) for i in range(len(database))]
        propose_database(database.subset(database.image_ids[:1]), SelectiveSearch(), Path(folder) / "first.h5")

        def bare(jobs: int) -> None:
            for path in paths:
                bare_search(bare_decode(path))

        def ours(jobs: int) -> list[np.ndarray]:
            return propose_database(database, SelectiveSearch(), Path(folder) / f"{jobs}.h5", jobs=jobs).boxes

        def processes(jobs: int) -> list[np.ndarray]:
            return Parallel(jobs)(delayed(in_process)(path) for path in paths)

        cores = cpu_count()
        variants = {
            "bare loop: Pillow, OpenCV": (1, bare),
            "propose stage": (1, ours),
            "propose stage, all cores": (cores, ours),
            "joblib's processes, started": (cores, processes),
        }
        Parallel(cores)(delayed(in_process)(path) for path in paths[:cores])  # imports everything in the processes
        rows, boxes, first = [], [], None
        for name, (jobs, run) in variants.items():
            start = time.perf_counter()
            boxes.append(run(jobs))
            rate = len(paths) / (time.perf_counter() - start)
            first = first or rate
            rows.append([name, str(jobs), f"{rate:.2f}", f"{rate / first:.2f} x"])
    for other in boxes[2:]:
        for a, b in zip(boxes[1], other, strict=True):
            np.testing.assert_array_equal(a, b)
    print(f"{len(paths)} images, {np.mean([len(b) for b in boxes[1]]):.0f} boxes an image, the same with any jobs")
    print(Table(("", "jobs", "images/s", "bare loop"), rows).text())


if __name__ == "__main__":
    main()
