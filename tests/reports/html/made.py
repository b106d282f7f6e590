"""A small report, whose names of classes and images would be tags and quotes if a page took them as they are."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from rcnn_svm.cache import FeatureCache
from rcnn_svm.data import ImageDatabase
from rcnn_svm.data.database import Annotation
from rcnn_svm.detection import Detections, detect_in_cache
from rcnn_svm.mining.engine.history import training_record
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.reports.html import Report
from tests.toys import arrays_of, few_objects, make_scene

CLASSES = ("<b>rare</b>", 'mid"dling', "common's & <script>alert(1)</script>")
SIZE = (230, 240)


def named(cache: FeatureCache, prefix: str) -> FeatureCache:
    """Return a cache of three classes with names of classes and images that a page must escape."""
    return FeatureCache.from_arrays(
        **arrays_of(cache),
        image_start=cache.image_start,
        classes=CLASSES,
        image_ids=[f"{prefix}<img src=x onerror=alert(1)>{number}" for number in range(cache.num_images)],
        image_size=np.tile(SIZE, (cache.num_images, 1)),
        name="<i>photos</i>",
    )


def images_of(cache: FeatureCache, folder: Path) -> ImageDatabase:
    """Write an image for every one of a cache, and return them with its objects."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(cache.num_images):
        Image.fromarray(make_scene(*SIZE, seed=number)).save(folder / f"{number}.jpg")

    def read_annotation(image_id: str) -> Annotation:
        regions = cache.regions(cache.image_ids.index(image_id))
        return Annotation(
            SIZE, regions.boxes[regions.gt], regions.label[regions.gt] - 1, *np.zeros((2, regions.gt.sum()), bool)
        )

    path = {image_id: folder / f"{number}.jpg" for number, image_id in enumerate(cache.image_ids)}
    return ImageDatabase("photos", cache.classes, cache.image_ids, path.__getitem__, read_annotation)


@functools.cache
def mined() -> tuple[FeatureCache, HardNegativeMiner]:
    """Return a cache and a miner that was fitted on it in three passes and several trainings a class."""
    cache = named(few_objects(1, 12), "train")
    return cache, HardNegativeMiner(svm_C=0.01, retrain_limit=30, max_epochs=3, n_jobs=1).fit(cache)


def detected(folder: Path) -> tuple[Detections, ImageDatabase]:
    """Return what the miner's detector finds in other images, and these, which are written to a folder."""
    cache = named(few_objects(3, 8), "test")
    return detect_in_cache(cache, mined()[1].detector_), images_of(cache, folder)


def make_report(folder: Path, **options) -> Report:
    """Return a report with all that it can show; images are written to a folder."""
    cache, miner = mined()
    record = training_record(miner.history_, miner.negatives_, miner.support_, np.array(miner.image_ids_, object))
    detections, test_images = detected(folder / "test")
    given = {
        "images": images_of(cache, folder / "train"),
        "detections": detections,
        "test_images": test_images,
        "n_jobs": 1,
        "name": "<model> & 'friends'",
    }
    return Report(miner.detector_, record, cache, **{**given, **options})
