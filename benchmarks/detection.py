#!/usr/bin/env python3
"""Time per image of `Detector.detect`, from image file to boxes, against the sum of its bare parts.

  python -m benchmarks.detection                          synthetic images, random weights
  python -m benchmarks.detection --voc VOCdevkit          real images (benchmarks/voc2007_subset)
  python -m benchmarks.detection --voc VOCdevkit --model cache/voc2007/model.h5

Without --model: lite0 on 128-pixel crops of the first 800 proposals, and 20 classes of random weights, of which each
scores a twentieth of the boxes of the first image above the threshold. The weights decide the time of the
non-maximum suppression alone.

The bare parts: Pillow, OpenCV's selective search, the sampling of crops into memory at hand, the network on batches
that are ready, one matrix product, torchvision's suppression. Warping and network use all cores, the others one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torchvision
from proposals import bare_decode, bare_search, test_images
from tqdm import tqdm

from rcnn_svm import Detector
from rcnn_svm.cli.arguments import positive_int
from rcnn_svm.data.images import load_image
from rcnn_svm.detection.one_image import best_detections
from rcnn_svm.features.backbones import Backbone, load_backbone
from rcnn_svm.features.extract import FeatureExtractor, make_extractor
from rcnn_svm.features.runtime import Runtime, make_runtime
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.features.warp import plan_crops, sample_crops
from rcnn_svm.proposals.methods import make_proposer
from rcnn_svm.reports.table import Table

THRESH, NMS = -1.0, 0.3


class Stopwatch:
    """Sums of seconds by name."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start


def random_detector(image: np.ndarray) -> Detector:
    """Return a detector of random weights, scaled by what it makes of an image."""
    backbone = load_backbone("lite0", crop_size=128, padding=0)
    extractor = FeatureExtractor(backbone, make_runtime(backbone, device="cpu"))
    proposer = make_proposer({"method": "fast", "max_boxes": 800})
    features = extractor.extract(image, proposer(image))
    norm = float(np.linalg.norm(features, axis=1).mean())
    weights = np.random.default_rng(0).standard_normal((backbone.dim, 20), dtype=np.float32)
    scores = features @ weights * np.float32(20 / norm)
    bias = THRESH - np.quantile(scores, 0.95, axis=0).astype(np.float32)
    settings = FeatureSettings.from_json(extractor.settings).with_proposals(proposer.settings).to_json()
    return Detector(tuple(f"class{c}" for c in range(20)), weights, bias, norm, settings)


def bare_warp(
    image: np.ndarray, boxes: np.ndarray, backbone: Backbone, crops: np.ndarray, pool: ThreadPoolExecutor, size: int
) -> list[np.ndarray]:
    """Fill crops with those of an image and return the batches."""
    parts = [slice(first, min(first + size, len(boxes))) for first in range(0, len(boxes), size)]

    def sample(part: slice) -> np.ndarray:
        plan = plan_crops(boxes[part], image.shape[:2], crop_size=backbone.crop_size, padding=backbone.padding)
        sample_crops(image, plan, backbone.mean, backbone.std, crops[part])
        return crops[part]

    return list(pool.map(sample, parts))


def bare_suppression(boxes: np.ndarray, scores: np.ndarray) -> None:
    """Suppress every class as torchvision does."""
    for c in range(scores.shape[1]):
        rows = np.flatnonzero(scores[:, c] > THRESH)
        torchvision.ops.nms(torch.from_numpy(boxes[rows]), torch.from_numpy(scores[rows, c]), NMS)


def measure(
    detector: Detector, backbone: Backbone, runtime: Runtime, paths: list[Path]
) -> tuple[dict[str, float], float]:
    """Return seconds by part, summed over all images but the first, and how many boxes there were in each."""
    extractor = make_extractor(detector.feature_settings, device="cpu")
    proposer = make_proposer(detector.feature_settings["proposals"])
    watch, total_boxes = Stopwatch(), 0
    crops = np.ones((0, 3, backbone.crop_size, backbone.crop_size), np.float32)
    with ThreadPoolExecutor(runtime.workers, initializer=runtime.begin_worker) as pool:
        for number, path in enumerate(tqdm(paths, "detect", unit="image")):
            if number == 1:  # the first one compiled, loaded and allocated
                watch, total_boxes = Stopwatch(), 0
            with watch("end to end"):
                detector.detect(load_image(path), thresh=THRESH, nms_threshold=NMS)
            with watch("ours decode"):
                image = load_image(path)
            with watch("ours proposals"):
                boxes = proposer(image)
            with watch("ours features"):
                features = extractor.extract(image, boxes)
            with watch("ours scores and suppression"):
                best_detections(boxes, detector.scores(features), THRESH, NMS)
            total_boxes += len(boxes)

            with watch("bare decode"):
                bare_decode(path)
            with watch("bare search"):
                bare_search(image)
            if len(boxes) > len(crops):
                crops = np.ones((len(boxes), *crops.shape[1:]), np.float32)
            with watch("bare warp"):
                batches = bare_warp(image, boxes, backbone, crops, pool, runtime.batch_size)
            with watch("bare network"):
                bare = np.concatenate(list(pool.map(runtime, batches)))
            np.testing.assert_allclose(bare, features, atol=1e-3)
            with watch("bare product"):
                scores = (features * np.float32(20 / detector.feat_norm_mean)) @ detector.W + detector.B
            with watch("bare suppression"):
                bare_suppression(boxes, scores)
    return watch.seconds, total_boxes / (len(paths) - 1)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", metavar="ROOT", type=Path, help="VOCdevkit folder (default: synthetic images)")
    parser.add_argument("--model", metavar="FILE", type=Path, help="of the train stage (default: random weights)")
    parser.add_argument("--images", metavar="N", type=positive_int, default=20, help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = test_images(args.voc, args.images + 1, Path(folder) / "voc")
        paths = [database.image_path(i) for i in range(len(database))]
        detector = Detector.load(args.model) if args.model else random_detector(load_image(paths[0]))
        settings = detector.feature_settings
        if settings["proposals"]["method"] != "fast" or settings["crop_mode"] != "warp":
            parser.error("the bare parts are those of the proposals `fast` and warped crops; give such a model")
        backbone = load_backbone(
            settings["backbone"]["name"],
            settings["backbone"]["layer"],
            crop_size=settings["crop_size"],
            padding=settings["padding"],
        )
        runtime = make_runtime(backbone, device="cpu")
        seconds, boxes = measure(detector, backbone, runtime, paths)
    each = {name: 1000 * value / args.images for name, value in seconds.items()}
    lines = {
        "decode": (each["ours decode"], each["bare decode"]),
        "proposals": (each["ours proposals"], each["bare search"]),
        "features": (each["ours features"], each["bare warp"] + each["bare network"]),
        "scores and suppression": (
            each["ours scores and suppression"],
            each["bare product"] + each["bare suppression"],
        ),
        "end to end": (each["end to end"], sum(value for name, value in each.items() if name.startswith("bare"))),
    }
    print(
        f"{args.images} images, {boxes:.0f} boxes each, {backbone.settings['name']}, {backbone.crop_size}-pixel "
        f"crops, {runtime.kind}, {runtime.workers} threads, {args.model or 'random weights'}"
    )
    rows = [[name, f"{a:.1f}", f"{b:.1f}", f"{a / b:.2f}"] for name, (a, b) in lines.items()]
    print(Table(("ms an image", "ours", "bare parts", "ours / bare"), rows[:-1], rows[-1]).text())
    print(f"bare warping {each['bare warp']:.1f} ms, bare network {each['bare network']:.1f} ms")


if __name__ == "__main__":
    main()
