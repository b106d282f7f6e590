"""Which stages make a row, and where their results are."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcnn_svm import paper
from rcnn_svm.artefacts.files import file_digest, provenance, reading
from rcnn_svm.experiments.reproduce.rows import Row
from rcnn_svm.experiments.reproduce.stages import recorded_stage

YEAR = "2007"
SPLITS = {"train": "trainval", "test": "test"}


@dataclass(frozen=True)
class Setup:
    """What all rows have in common.

    Attributes:
        out: folder for everything.
        voc: the devkit.
        ids: file of image ids of `train` and `test`; None for the whole split.
        images: number of images of `train` and `test`, and of the whole splits.
        classes: names, comma-separated; None for the 20 of VOC.
        method: how the proposals are found.
        max_boxes: proposals per image; None for all.
        crop_size: pixels; None for the network's own.
        iterations: steps of fine-tuning.
        weights: network -> state dict file, or the word random; the published ones of any other.
        jobs: images or classes at once.
        device: `auto`, `cpu` or `cuda`, for the features.
    """

    out: Path
    voc: Path
    ids: dict[str, Path | None]
    images: dict[str, tuple[int, int]]
    classes: str | None
    method: str
    max_boxes: int | None
    crop_size: int | None
    iterations: int
    weights: dict[str, str]
    jobs: int
    device: str

    def weights_of(self, row: Row) -> str:
        """Return which weights a row's network starts from: `published`, `random`, or the digest of the file."""
        given = self.weights.get(row.backbone, "published")
        return given if given in ("published", "random") else file_digest(given)[:16]


class Pipeline:
    """Makes rows by running stages.

    Args:
        setup: what all rows have in common.
        stage: runs a stage: name and arguments -> seconds.
        rows: id -> row, all that a row may refer to.
    """

    def __init__(self, setup: Setup, stage: Callable[..., float], rows: dict[str, Row]):
        self._setup = setup
        self._stage = stage
        self._rows = rows
        self._seconds: dict[tuple[str, ...], float] = {}

    def make(self, row: Row) -> dict[str, Any]:
        """Run what is missing for a row and return its result, JSON-able: AP as fractions, seconds by stage.

        A stage that several rows need is counted in each of them.

        Raises:
            InputError: a stage failed.
        """
        self._seconds = {}
        out = self._setup.out
        features = {name: self._features(row, name) for name in SPLITS}
        detections = out / "detections" / f"{_slug(row.id)}.h5"
        if row.softmax:
            how = ["--scores", "softmax", "--model", self._finetuned(row)]
        else:
            how = ["--model", self._model(row, features["train"])]
        if row.bbox:
            regressor = out / "bbox" / f"{_network(row)}.h5"
            self._run("train-bbox", "--features", features["train"], "--out", regressor)
            how += ["--bbox", regressor, "--bbox-features", features["test"]]
        self._run("test", "--features", features["test"], *self._layer(row), *how, "--out", detections)
        report = out / "reports" / _slug(row.id)
        self._run("evaluate", "--detections", detections, *self._data("test"), "--pictures", 0, "--out", report)
        seconds: dict[str, float] = defaultdict(float)
        for (stage, *_), value in self._seconds.items():
            seconds[recorded_stage(stage)] += value
        return {
            "row": row.id,
            "title": row.title,
            **read_results(report / "results.json"),
            "seconds": dict(seconds),
            "deviations": deviations(row, self._setup),
            "note": row.note,
            "weights": self._setup.weights_of(row),
            "provenance": provenance(),
        }

    def _run(self, stage: str, *words: object) -> None:
        # By command: what a row needs twice was done once.
        self._seconds[stage, *map(str, words)] = self._stage(stage, *words)

    def _proposals(self, name: str) -> Path:
        path = self._setup.out / "proposals" / f"{name}.h5"
        limit = [] if self._setup.max_boxes is None else ["--max-boxes", self._setup.max_boxes]
        options = ["--method", self._setup.method, *limit, "--jobs", self._setup.jobs]
        self._run("propose", *self._data(name), *options, "--out", path)
        return path

    def _features(self, row: Row, name: str) -> Path:
        """Make the feature cache of a row's network."""
        setup = self._setup
        folder = setup.out / "features" / f"{_network(row)}.{row.stored_layer}.{name}"
        weights = self._finetuned(row) if row.finetuned else setup.weights.get(row.backbone)
        self._run(
            "extract",
            *self._data(name),
            *("--proposals", self._proposals(name), "--backbone", row.backbone, "--layer", row.stored_layer),
            *([] if weights is None else ["--weights", weights]),
            *([] if setup.crop_size is None else ["--crop-size", setup.crop_size]),
            *("--device", setup.device, "--out", folder),
        )
        return folder

    def _finetuned(self, row: Row) -> Path:
        """Fine-tune a row's network and return its weights."""
        folder = self._setup.out / "finetune" / _slug(row.backbone)
        weights = self._setup.weights.get(row.backbone)
        self._run(
            "finetune",
            *self._data("train"),
            *("--proposals", self._proposals("train"), "--backbone", row.backbone),
            *([] if weights is None else ["--weights", weights]),
            *([] if self._setup.crop_size is None else ["--crop-size", self._setup.crop_size]),
            *("--iterations", self._setup.iterations, "--device", self._setup.device, "--out", folder),
        )
        return folder / "weights.pt"

    def _model(self, row: Row, features: Path) -> Path:
        """Train a row's SVMs."""
        path = self._setup.out / "models" / f"{_slug(row.model)}.h5"
        options: list[object] = list(row.train)
        if row.random_as:
            options += ["--random-negatives", self._model(self._rows[row.random_as], features)]
        words = ["--features", features, *self._layer(row), *options, "--jobs", self._setup.jobs, "--out", path]
        self._run("train", *words)
        return path

    def _layer(self, row: Row) -> list[object]:
        """Return the arguments that turn the stored layer into the row's."""
        if row.layer == row.stored_layer:
            return []
        weights = self._finetuned(row) if row.finetuned else self._setup.weights.get(row.backbone)
        # Random weights are known to the cache.
        return ["--layer", row.layer, *([] if weights in (None, "random") else ["--weights", weights])]

    def _data(self, name: str) -> list[object]:
        setup = self._setup
        words: list[object] = ["--voc", setup.voc, "--year", YEAR, "--split", SPLITS[name]]
        if setup.ids[name]:
            words += ["--ids", setup.ids[name]]
        if setup.classes:
            words += ["--classes", setup.classes]
        return words


def read_results(path: Path) -> dict[str, Any]:
    """Return the figures of an evaluation: mAP in both protocols, AP (VOC2007) by class.

    Raises:
        InputError: the file is damaged.
    """
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            "map_voc07": content["map_voc07"],
            "map_area": content["map_area"],
            "classes": {entry["class"]: entry["ap_voc07"] for entry in content["classes"]},
        }


def deviations(row: Row, setup: Setup) -> list[str]:
    """Return, as phrases, in what a row differs from the paper's experiment and which may explain a difference."""
    found = {
        "alexnet": ["torchvision's AlexNet (the network of the 'one weird trick' paper) instead of CaffeNet"],
        "vgg16": ["torchvision's weights of VGG16, trained anew, not those of its authors"],
    }.get(row.backbone, [f"{row.backbone}, a network the paper does not have"])
    weights = setup.weights.get(row.backbone)
    if weights:
        found.append("random weights" if weights == "random" else f"starts from the weights of {weights}")
    found.append(
        "proposals by OpenCV's selective search with the original's settings, another version than the paper's boxes"
        if setup.method == "fast"
        else f"proposals by the method {setup.method} instead of the original's selective search"
    )
    if setup.max_boxes is not None:
        found.append(f"the first {setup.max_boxes} proposals of an image instead of about 2,000")
    for name, (used, all_images) in setup.images.items():
        if used < all_images:
            found.append(f"{used:,} of {all_images:,} {name} images")
    if setup.classes:
        found.append("other classes than the 20 of VOC")
    if setup.crop_size not in (None, paper.CROP_SIZE):
        found.append(f"crops of {setup.crop_size} pixels")
    if row.finetuned and setup.iterations != paper.FINETUNE_ITERATIONS:
        found.append(f"fine-tuned for {setup.iterations:,} iterations instead of {paper.FINETUNE_ITERATIONS:,}")
    if not row.softmax:
        found.append("SVMs solved to a duality gap of 1e-6 instead of liblinear's tolerance of 0.1")
    found.append("features stored in half precision")
    return found


def _network(row: Row) -> str:
    return _slug(row.backbone) + (".ft" if row.finetuned else "")


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
