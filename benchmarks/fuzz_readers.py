"""What is fuzzed: every reader of the package, with a small valid input that the package itself or its users write."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import scipy.io
import torch
from PIL import Image
from torch import nn

from benchmarks.fuzz_mutations import EDITS, edit_exported, edit_hdf5, mutate_bytes, mutate_text
from benchmarks.fuzz_watch import ROOT
from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.cache import FeatureCache, RegionSet, import_girshick_cache
from rcnn_svm.cli.arguments import read_ids
from rcnn_svm.cli.main import main
from rcnn_svm.cli.parity import _load_npz
from rcnn_svm.cli.reproduce import _read_result
from rcnn_svm.data import (
    ImageDatabase,
    image_size,
    load_coco,
    load_csv,
    load_image,
    load_voc,
    load_xml_folder,
    load_yolo,
    require_annotations,
)
from rcnn_svm.data.mended import Notes
from rcnn_svm.data.video import read_frames, read_video_header
from rcnn_svm.detection import BoxRegressor, Detections, Detector
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.formats import read_comp4, write_comp4
from rcnn_svm.experiments.compare_mining.comparison import _read as read_comparison
from rcnn_svm.experiments.parity import ARRAYS, PARAMETERS, case_cache
from rcnn_svm.experiments.reproduce.pipeline import read_results
from rcnn_svm.experiments.reproduce.published import published_figures
from rcnn_svm.experiments.reproduce.stages import _read as read_stage
from rcnn_svm.experiments.reproduce.table import summary_text, table_csv, table_markdown, times_csv
from rcnn_svm.export import ExportedDetector
from rcnn_svm.fast_rcnn.model import FastRCNN
from rcnn_svm.fast_rcnn.roi_head import RoIHead
from rcnn_svm.fast_rcnn.roi_pool import RoIPoolingNetwork
from rcnn_svm.features import SOURCES, Source, load_backbone, read_state_dict
from rcnn_svm.features.backbones import RANDOM
from rcnn_svm.finetune.weights import load_softmax
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.mined_regions import mined_negatives, read_manifest, read_record
from rcnn_svm.proposals import import_proposals
from rcnn_svm.proposals.ranker import ProposalRanker
from rcnn_svm.reports.bbox import bbox_table
from rcnn_svm.reports.inspection import inspect_artefact
from rcnn_svm.reports.inspection.detector import with_hardest
from rcnn_svm.reports.mining import mining_table
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES
from rcnn_svm.tuning.calibration import calibrate_model

CROP = 32
NAMES = ",".join(SYNTHETIC_CLASSES)


class SmallAlexNet(nn.Module):
    """AlexNet's structure with few and small filters, so that a network is built in a millisecond."""

    def __init__(self, _: int):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 8, 4, 2), nn.ReLU(), nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        hidden = [nn.Dropout(), nn.Linear(16, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 8), nn.ReLU()]
        self.classifier = nn.Sequential(*hidden, nn.Linear(8, 1000))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(images)), 1))


def _small_alexnet() -> Source:
    def published() -> dict[str, torch.Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return {name: 3 * tensor for name, tensor in SmallAlexNet(CROP).state_dict().items()}

    return Source(SmallAlexNet, published, crop_size=CROP, mean=(120.0,) * 3, std=(60.0,) * 3)


SOURCES["alexnet"] = _small_alexnet


@dataclass(frozen=True)
class Reader:
    """A reader and the input that it is tried with.

    Attributes:
        name: its name on the command line and in the table.
        files: from the folder of valid files (`make_inputs`) to those that are copied for a case: (there, here).
        damaged: names of the files of a case of which one is mutated; a pattern.
        read: takes the folder of a case and returns all that is made of what is in it.
        mutate: how a file's bytes are changed, or one of `EDITS`.
        sealed: the file has a checksum, so that no change of what is made of it may stay unseen.
        share: how many cases it gets, in relation to the others.
        outputs: with which names begin what it may write in the folder of a case.
    """

    name: str
    files: tuple[tuple[str, str], ...]
    damaged: str
    read: Callable[[Path], Any]
    mutate: Callable[..., Any] = mutate_bytes
    sealed: bool = False
    share: float = field(default=1.0)
    outputs: tuple[str, ...] = ("out",)

    def copy(self, valid: Path, folder: Path) -> None:
        """Put the valid input into the folder of a case."""
        for there, here in self.files:
            (folder / here).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (valid / there).is_dir() else shutil.copyfile)(valid / there, folder / here)

    def damage(self, folder: Path, rng: random.Random) -> Path:
        """Mutate one of the files and return its path."""
        path = rng.choice(sorted(path for path in folder.glob(self.damaged) if path.is_file()))
        if self.mutate in EDITS:
            self.mutate(path, rng)
        else:
            path.write_bytes(self.mutate(path.read_bytes(), rng))
        return path


class Refused(Exception):
    """A command refused its input with one sentence."""


def command(*words: object) -> None:
    """Run a command in this process.

    Raises:
        Refused: it ended with exit code 2, or 1 of `inspect --verify`.
        RuntimeError: it ended with another one, but 1 of `diff`.
    """
    code = main([str(word) for word in words])
    if code == 2 or (code == 1 and "--verify" in words):
        raise Refused
    if code == 1 and words[0] == "diff":
        return
    if code:
        raise RuntimeError(f"exit code {code}")


def digest_of(value: Any) -> str:
    """Return what changes with any number and any text in a nest of arrays, dataclasses and what JSON has."""
    digest = hashlib.sha256()
    _digest(digest, value)
    return digest.hexdigest()


def _digest(digest: Any, value: Any) -> None:
    digest.update(f"{type(value).__name__}(".encode())
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            _digest(digest, [key, value[key]])
    elif isinstance(value, (list, tuple, np.ndarray)):
        for part in value.flat if isinstance(value, np.ndarray) else value:
            _digest(digest, part)
    elif dataclasses.is_dataclass(value):
        _digest(digest, {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)})
    else:
        digest.update(repr(value).encode())
    digest.update(b")")


# The valid files.


def make_inputs(folder: Path) -> None:
    """Write every valid file, by the package's own commands and functions where it has them."""
    voc = folder / "VOCdevkit"
    command("synthesize", "--out", voc, "--train", 6, "--test", 2, "--seed", 1)
    data = {split: ["--voc", voc, "--split", split, "--classes", NAMES] for split in ("trainval", "test")}
    for split, words in data.items():
        proposals = folder / f"{split}.h5"
        command("propose", *words, "--method", "sliding", "--max-boxes", 40, "--out", proposals)
        features = ["--proposals", proposals, "--backbone", "alexnet", "--shard-images", 3, "--dtype", "float32"]
        command("extract", *words, *features, "--out", folder / split)
    train, model = folder / "trainval", folder / "model.h5"
    options = ["--k-folds", 2, "--retrain-limit", 40, "--jobs", 1, "--svm-C", "0.1"]
    command("train", "--features", train, *options, "--out", model)
    with contextlib.suppress(InputError):
        calibrate_model(model, FeatureCache.open(train))
    command("train-bbox", "--features", train, "--out", folder / "bbox.h5")
    command("assemble", "--model", model, "--bbox", folder / "bbox.h5", "--vote", "--out", folder / "assembled.h5")
    _write_ranker(folder / "ranker.h5")
    command("train-head", "--features", train, "--iterations", 3, "--out", folder / "head.h5")
    command("test", "--features", folder / "test", "--model", model, "--out", folder / "detections.h5")
    tuned = ["--backbone", "alexnet", "--weights", RANDOM, "--iterations", 2, "--batch-size", 8, "--foreground", 2]
    command("finetune", *data["trainval"], "--proposals", folder / "trainval.h5", *tuned, "--out", folder / "tuned")
    FastRCNN(RoIPoolingNetwork("alexnet", SYNTHETIC_CLASSES, RANDOM).eval(), {}).save(folder / "network.h5")
    _interrupt_training(folder)
    _write_weights(folder)
    _write_images(folder / "images")
    _write_own_data(folder)
    _write_mat_files(folder)
    _write_case(folder / "case" / "inputs.npz")
    command(
        "evaluate", "--detections", folder / "detections.h5", *data["test"], "--pictures", 0, "--out", folder / "report"
    )
    _write_records(folder)
    command("export", model, "--out", folder / "exported")
    shutil.copytree(ROOT / "tests" / "kept" / "0.1.0" / "exported", folder / "ranked")  # small, and with a ranker
    windows = ["--method", "sliding", "--max-boxes", 20]
    command("mine", "--model", model, folder / "photos", *windows, "--thresh", -2, "--out", folder / "mined")
    small = ["--preset", "paper", *windows, "--crop-size", CROP, "--pictures", 0, "--backbone", "alexnet", "--jobs", 1]
    command("run", "--voc", voc, "--classes", NAMES, *small, "--out", folder / "run")
    _write_videos(folder)
    for name in (*_ONE_FILE, "detections", "trainval"):
        _without_checksum(folder / f"{name}.h5", folder / f"old.{name}.h5")


def _write_ranker(path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = ((3, 24, 4), (3, 4), (3, 4, 5), (3, 5))
    arrays = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    ProposalRanker(*arrays, {"name": "alexnet"}, {"identity": {}}).save(path)


def _interrupt_training(folder: Path) -> None:
    def stop(checkpoint: Checkpoint, done: int) -> None:
        raise KeyboardInterrupt

    Checkpoint.on_save = stop
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _trained(folder)
    finally:
        Checkpoint.on_save = None


def _trained(folder: Path) -> dict[str, Any]:
    cache = FeatureCache.open(folder / "trainval")
    miner = HardNegativeMiner(svm_C=0.1, retrain_limit=40, n_jobs=1, max_epochs=2)
    miner.fit(cache, checkpoint=folder / "model.h5.checkpoint")
    return {"W": miner.detector_.W, "B": miner.detector_.B, "negatives": miner.negatives_}


def _write_weights(folder: Path) -> None:
    state = SOURCES["alexnet"]().pretrained()
    torch.save(state, folder / "weights.pt")
    torch.save(state, folder / "weights.old.pt", _use_new_zipfile_serialization=False)


def _write_images(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (5, 7, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "a.jpg", exif=exif, comment=b"a photograph")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.save(folder / "progressive.jpg", progressive=True)
    image.save(folder / "a.png")
    image.quantize(16).save(folder / "palette.png", transparency=3)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    image.save(folder / "a.bmp")
    image.save(folder / "a.tif")
    image.save(folder / "lzw.tif", compression="tiff_lzw")
    image.convert("1").save(folder / "fax.tif", compression="group4")
    image.save(folder / "jpeg.tif", compression="jpeg")
    image.save(folder / "a.webp")
    image.save(folder / "a.gif", save_all=True, append_images=[image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)])
    image.save(folder / "a.ppm")
    (folder / "plain.pgm").write_text("P2\n# plain\n4 3\n255\n" + " ".join(map(str, range(12))) + "\n")
    image.save(folder / "a.jp2")


def _write_videos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, code in (("clip.avi", "MJPG"), ("clip.mp4", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*code), 10, (64, 48))
        for _ in range(6):
            writer.write(np.kron(rng.integers(0, 256, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)))
        writer.release()


def _write_own_data(folder: Path) -> None:
    """Write the devkit again as COCO's JSON, CSV, a folder of XML files, lists and comp4 files."""
    voc = folder / "VOCdevkit" / "VOC2007"
    shutil.copytree(voc / "Annotations", folder / "xml")
    shutil.copytree(voc / "JPEGImages", folder / "photos")
    images, objects, rows = [], [], [["image", "x1", "y1", "x2", "y2", "class", "difficult"]]
    trainval, test = (load_voc(voc, split=split, classes=SYNTHETIC_CLASSES) for split in ("trainval", "test"))
    for index, image_id in enumerate([*trainval.image_ids, *test.image_ids]):
        truth = (trainval if index < len(trainval) else test).annotation(index % len(trainval))
        height, width = truth.image_size
        images.append({"id": index + 7, "file_name": f"{image_id}.jpg", "width": width, "height": height})
        for box, cls, hard in zip(truth.boxes.tolist(), truth.classes.tolist(), truth.difficult.tolist(), strict=True):
            x1, y1, x2, y2 = box
            coco = {"id": len(objects) + 1, "image_id": index + 7, "category_id": cls + 1, "iscrowd": int(hard)}
            objects.append({**coco, "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1], "area": 1.0, "segmentation": []})
            rows.append([f"{image_id}.jpg", *map(int, box), SYNTHETIC_CLASSES[cls], int(hard)])
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(SYNTHETIC_CLASSES)]
    content = {"info": {}, "images": images, "annotations": objects, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(content))
    with open(folder / "boxes.csv", "w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    with open(folder / "semicolons.csv", "w", newline="") as stream:
        csv.writer(stream, delimiter=";").writerows(rows)
    _write_yolo(folder, [trainval, test])
    (folder / "ids.txt").write_text("# images to use\n" + "\n".join(test.image_ids) + "\n")
    write_comp4(Detections.load(folder / "detections.h5").after_nms(), folder / "comp4", "test")


def _write_yolo(folder: Path, splits: list[ImageDatabase]) -> None:
    """Write image sets as YOLO's lists and labels."""
    (folder / "yolo" / "labels").mkdir(parents=True)
    for name, database in zip(("train", "val"), splits, strict=True):
        photos = [f"../photos/{image_id}.jpg" for image_id in database.image_ids]
        (folder / "yolo" / f"{name}.txt").write_text("\n".join(photos))
        for index, image_id in enumerate(database.image_ids):
            truth = database.annotation(index)
            low, high = truth.boxes[:, :2], truth.boxes[:, 2:] + 1
            shares = np.hstack([(low + high) / 2, high - low]) / np.tile(truth.image_size[::-1], 2)
            rows = np.column_stack([truth.classes, shares])
            np.savetxt(folder / "yolo" / "labels" / f"{image_id}.txt", rows, fmt=["%d", *["%.6f"] * 4])
    names = ", ".join(f"{index}: {name}" for index, name in enumerate(SYNTHETIC_CLASSES))
    (folder / "yolo" / "data.yaml").write_text(f"path: .\ntrain: train.txt\nval: val.txt\nnames: {{{names}}}\n")


def _write_mat_files(folder: Path) -> None:
    """Write proposals and a feature cache in the original's layout, in both of MATLAB's formats."""
    database = load_voc(folder / "VOCdevkit", split="trainval", classes=SYNTHETIC_CLASSES)
    found = import_proposals(folder / "trainval.h5", database)
    boxes = [found.boxes_of(image_id)[:9, [1, 0, 3, 2]].astype(np.float64) + 1 for image_id in found.image_ids]
    cells = {"boxes": np.empty((1, len(boxes)), object), "images": np.empty((len(boxes), 1), object)}
    for index, image_id in enumerate(found.image_ids):
        cells["boxes"][0, index], cells["images"][index, 0] = boxes[index], image_id
    scipy.io.savemat(folder / "proposals.5.mat", cells)
    scipy.io.savemat(folder / "proposals.7.mat", cells, do_compression=True)
    with h5py.File(folder / "proposals.73.mat", "w", userblock_size=512) as handle:
        references = {"boxes": [], "images": []}
        for index, image_id in enumerate(found.image_ids):
            for name, value in (("boxes", boxes[index].T), ("images", np.array([[ord(c)] for c in image_id], "u2"))):
                references[name].append(handle.create_dataset(f"#refs#/{name}{index}", data=value).ref)
        for name, values in references.items():
            handle.create_dataset(name, data=np.array([values], object), dtype=h5py.ref_dtype)
    (folder / "mat").mkdir()
    cache = FeatureCache.open(folder / "trainval")
    for index, save in enumerate((scipy.io.savemat, partial(scipy.io.savemat, do_compression=True), _save_mat73)):
        regions = cache.regions(index)
        save(folder / "mat" / f"{index}.mat", original_arrays(regions))


def original_arrays(regions: RegionSet) -> dict[str, np.ndarray]:
    """Return the regions of an image as the original stores them."""
    arrays = {"gt": regions.gt[:, None], "class": regions.label[:, None].astype(np.uint8), "feat": regions.features}
    return {**arrays, "overlap": regions.overlap, "boxes": regions.boxes + 1}


def _save_mat73(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with h5py.File(path, "w", userblock_size=512) as handle:
        for name, array in arrays.items():
            handle.create_dataset(name, data=array.T.astype("u1" if array.dtype == bool else array.dtype))


def _write_case(path: Path) -> None:
    rng = np.random.default_rng(0)
    label = np.array([1, 0, 0, 2, 0, 0], np.int32)
    overlap = np.zeros((6, 2), np.float32)
    overlap[[0, 3], [0, 1]] = 1
    arrays = {
        "feat": rng.random((6, 4), np.float32),
        "image_start": np.array([0, 3, 6]),
        "boxes": np.tile(np.float32([1, 1, 9, 9]), (6, 1)),
        "gt": label > 0,
        "overlap": overlap,
        "cls": label,
        "image_size": np.full((2, 2), 20),
    }
    numbers = (2, 5, 0, 1, 0.001, 2.0, 10.0, 2000, -1.0001, -1.2, 0.3)
    path.parent.mkdir()
    np.savez(path, **arrays, **dict(zip(PARAMETERS, numbers, strict=True)))
    if set(arrays) != set(ARRAYS):
        raise RuntimeError("the arrays of a case have changed")


def _write_records(folder: Path) -> None:
    """Write the JSON records of experiments, as they are when a row is done."""
    records = folder / "records"
    records.mkdir()
    figures = read_results(folder / "report" / "results.json")
    row = {"row": "alexnet-fc7", "title": "AlexNet fc7", **figures, "seconds": {"train": 1.5, "test": 0.5}}
    row |= {"deviations": ["2 of 4,952 test images"], "note": "", "weights": "published", "provenance": {}}
    stage = {"stage": "train", "arguments": ["train"], "seconds": 1.5, "done": True, "provenance": {}}
    result = {"identity": {"seed": 0}, "result": {"map_voc07": 0.5, "seconds": 1.0}}
    for name, content in (("row", row), ("stage", stage), ("comparison", result)):
        (records / f"{name}.json").write_text(json.dumps(content, indent=1))
    shutil.copyfile(folder / "report" / "results.json", records / "results.json")


def _without_checksum(path: Path, old: Path) -> None:
    """Copy an artefact as earlier versions wrote it, without a checksum of its content."""
    with h5py.File(path, "r", locking=False) as source, h5py.File(old, "w") as target:
        for name, value in source.attrs.items():
            if name != "content":
                target.attrs[name] = value
        for name in source:
            source.copy(name, target)


# What is made of them.


def _annotations(database: ImageDatabase) -> list[Any]:
    with contextlib.suppress(InputError):  # every image for itself, the others are read all the same
        require_annotations(database)
    found = []
    for index in range(len(database)):
        found.append([database.image_ids[index], database.image_path(index).name, database.annotation(index)])
    return [database.classes, found]


def _read_image(folder: Path) -> list[Any]:
    (path,) = folder.glob("image.*")
    return [image_size(path), load_image(path)]


def _read_voc(folder: Path) -> list[Any]:
    return _annotations(load_voc(folder / "VOCdevkit", split="trainval", classes=SYNTHETIC_CLASSES))


def _read_proposals(folder: Path) -> list[Any]:
    database = load_voc(folder / "VOCdevkit", split="trainval", classes=SYNTHETIC_CLASSES)
    found = import_proposals(next(folder.glob("proposals.*")), database)
    return [found.boxes, found.image_ids]


def _content(cache: FeatureCache) -> list[Any]:
    regions = [vars(cache.regions(index)) for index in range(cache.num_images)]
    gathered = cache.gather(np.arange(cache.num_rows))
    return [cache.name, cache.classes, cache.settings, regions, gathered]


def _read_cache(folder: Path) -> list[Any]:
    return _content(FeatureCache.open(folder / "cache"))


def _import_cache(folder: Path) -> list[Any]:
    import_girshick_cache(folder / "mat", folder / "out", classes=SYNTHETIC_CLASSES)
    return _content(FeatureCache.open(folder / "out"))[1:2] + _content(FeatureCache.open(folder / "out"))[3:]


def _read_model(folder: Path, kind: type) -> list[Any]:
    path = folder / "file.h5"
    model, history = kind.load(path), kind.load_history(path)
    inspected = inspect_artefact(path)
    found = [model.settings(), model.arrays(), history, inspected.facts, inspected.record]
    if kind is Detector:
        found += [mining_table(path), with_hardest(inspected, path, model.classes[0], 5).record]
        found += [model.scores(np.ones((3, 8), np.float32))]
    if kind is BoxRegressor:
        found += [bbox_table(path)]
    if kind is RoIHead:
        found += [model.scores(np.ones((3, 8), np.float32))]
    return found


def _read_detections(folder: Path) -> list[Any]:
    found = Detections.load(folder / "file.h5")
    inspected = inspect_artefact(folder / "file.h5")
    return [found, found.after_nms(), inspected.facts, inspected.record]


def _read_tuned(folder: Path) -> list[Any]:
    model = load_softmax(folder / "weights.pt")
    return [model.classes, model.W, model.B, model.training, model.feature_settings]


def _read_weights(folder: Path) -> list[Any]:
    path = folder / "weights.pt"
    return [read_state_dict(path), load_backbone("alexnet", weights=path).module.state_dict()]


def _read_results_files(folder: Path) -> list[Any]:
    database = load_voc(folder / "VOCdevkit", split="test", classes=SYNTHETIC_CLASSES)
    found = read_comp4(folder / "comp4", SYNTHETIC_CLASSES, database.image_ids, Notes())
    return [found.image, found.cls, found.box, found.score]


def _read_row(folder: Path) -> list[Any]:
    rows, published = [_read_result(folder / "record.json")], published_figures()
    return [
        table_markdown(rows, published, ""),
        table_csv(rows, published),
        times_csv(rows),
        summary_text(rows, published),
    ]


def _read_case(folder: Path) -> list[Any]:
    cache = case_cache(_load_npz(folder / "inputs.npz"), "case")
    return [cache.classes, [vars(cache.regions(index)) for index in range(cache.num_images)]]


def _inspect(folder: Path) -> None:
    command("inspect", folder / "file.h5", "--settings")


def _verify(folder: Path) -> None:
    command("inspect", folder / "cache", "--verify")


def _evaluate(folder: Path, *words: object) -> Any:
    command("evaluate", *words, "--pictures", 0, "--out", folder / "out")
    return [read_results(folder / "out" / "results.json"), (folder / "out" / "coco_results.json").read_text()]


def _evaluate_devkit(folder: Path, *words: object) -> Any:
    return _evaluate(folder, *words, "--voc", folder / "VOCdevkit", "--split", "test", "--classes", NAMES)


def _evaluate_own(folder: Path, *words: object) -> Any:
    return _evaluate(folder, "--detections", folder / "file.h5", *words)


def _test(folder: Path) -> list[Any]:
    out = folder / "out" / "found.h5"
    command("test", "--features", folder / "cache", "--model", folder / "file.h5", "--out", out)
    found = Detections.load(out)
    return [found.image, found.cls, found.box, found.score]


def _train(folder: Path) -> list[Any]:
    out = folder / "out" / "model.h5"
    command("train", "--features", folder / "cache", "--jobs", 1, "--retrain-limit", 40, "--out", out)
    return Detector.load(out).arrays()


def _detect(folder: Path) -> Any:
    out = folder / "out"
    words = ["--method", "sliding", "--max-boxes", 10, "--thresh", -2, "--json", out / "found.json", "--out", out]
    command("detect", *sorted(folder.glob("image.*")), "--model", folder / "file.h5", *words)
    return [entry["objects"] for entry in json.loads((out / "found.json").read_text())]


def _propose(folder: Path) -> Any:
    data = ["--voc", folder / "VOCdevkit", "--split", "trainval", "--classes", NAMES]
    command("propose", *data, "--method", "sliding", "--max-boxes", 5, "--jobs", 1, "--out", folder / "out" / "p.h5")
    database = load_voc(folder / "VOCdevkit", split="trainval", classes=SYNTHETIC_CLASSES)
    return import_proposals(folder / "out" / "p.h5", database).boxes


def _read_video(folder: Path) -> list[Any]:
    (path,) = folder.glob("clip.*")
    return [read_video_header(path), *((frame.index, frame.image) for frame in read_frames(path))]


def _read_exported(folder: Path) -> list[Any]:
    detector = ExportedDetector(folder / "exported", threads=1)
    inspected = inspect_artefact(folder / "exported")
    found = detector.detect(folder / "image.jpg", thresh=-1.0)
    return [detector.classes, inspected.facts, found.boxes, found.cls, found.scores]


def _read_mined(folder: Path) -> list[Any]:
    manifest = folder / "mined" / "manifest.jsonl"
    record = read_record(folder / "mined")
    return [record["identity"], read_manifest(manifest), _content(mined_negatives(manifest, SYNTHETIC_CLASSES))[3:]]


def _inspect_folder(folder: Path) -> None:
    command("inspect", folder / "run", "--settings")


def _mine(folder: Path) -> list[Any]:
    windows = ["--method", "sliding", "--max-boxes", 5, "--thresh", -2]
    command("mine", folder / "photos", "--model", folder / "file.h5", *windows, "--out", folder / "mined")
    return [read_manifest(folder / "mined" / "manifest.jsonl")]


def _diff(folder: Path) -> None:
    command("diff", folder / "run", folder / "other")


def _train_mined(folder: Path) -> list[Any]:
    out = folder / "out" / "model.h5"
    features = ["--features", folder / "cache", "--mined", folder / "mined" / "manifest.jsonl"]
    command("train", *features, "--jobs", 1, "--retrain-limit", 40, "--out", out)
    return Detector.load(out).arrays()


def _assemble(folder: Path) -> list[Any]:
    out, points = folder / "out" / "model.h5", folder / "report" / "results.json"
    command("assemble", "--model", folder / "file.h5", "--operating-points", points, "--out", out)
    return Detector.load(out).arrays()


def _extract_again(folder: Path) -> list[Any]:
    data = ["--voc", folder / "VOCdevkit", "--split", "trainval", "--classes", NAMES]
    features = ["--proposals", folder / "p.h5", "--backbone", "alexnet", "--shard-images", 3, "--dtype", "float32"]
    command("extract", *data, *features, "--out", folder / "cache")
    return _read_cache(folder)


def _evaluate_again(folder: Path) -> Any:
    shutil.copytree(folder / "report", folder / "out")
    return _evaluate_devkit(folder, "--detections", folder / "file.h5")


def _check(folder: Path, option: str, name: str) -> None:
    out = folder / "out" / "labels.jpg"
    command("check", option, folder / name, "--images", folder / "photos", "--out", out)


def _of_model(folder: Path, *words: object) -> None:
    data = ["--voc", folder / "VOCdevkit", "--classes", NAMES]
    command(*words, folder / "file.h5", "--features", folder / "cache", *data, "--out", folder / "out")


def _show(folder: Path) -> None:
    data = ["--voc", folder / "VOCdevkit", "--split", "test", "--classes", NAMES]
    command("show", "detections", folder / "file.h5", *data, "--thresh", -2, "--out", folder / "out.jpg")


def _detect_exported(folder: Path) -> None:
    words = ["--thresh", -1, "--json", folder / "out.json", "--csv", folder / "out.csv", "--out", folder / "out"]
    command("detect", folder / "image.jpg", "--model", folder / "exported", *words)


def _detect_video(folder: Path) -> None:
    (clip,) = folder.glob("clip.*")
    command(
        "detect",
        clip,
        "--model",
        folder / "exported",
        "--every",
        2,
        "--csv",
        folder / "out.csv",
        "--out",
        folder / "out",
    )


def _parity(folder: Path) -> None:
    command("parity", folder / "inputs.npz")


_DEVKIT = (("VOCdevkit", "VOCdevkit"),)
_ONE_FILE = {
    "model": Detector,
    "assembled": Detector,
    "bbox": BoxRegressor,
    "head": RoIHead,
    "network": FastRCNN,
    "ranker": ProposalRanker,
}


def image_readers() -> Iterator[Reader]:
    """Yield the readers of images."""
    names = (
        "a.jpg cmyk.jpg progressive.jpg a.png palette.png deep.png a.bmp a.tif lzw.tif fax.tif jpeg.tif a.webp a.gif"
    )
    for name in (*names.split(), "a.ppm", "plain.pgm", "a.jp2"):
        mutate = mutate_text if name == "plain.pgm" else mutate_bytes
        suffix = Path(name).suffix
        yield Reader(
            f"image {name}", ((f"images/{name}", f"image{suffix}"),), "image.*", _read_image, mutate, share=0.4
        )


def data_readers() -> Iterator[Reader]:
    """Yield the readers of boxes and lists in other people's formats."""
    photos = (("photos", "photos"),)
    folder = partial(_own, lambda path: load_xml_folder(path / "xml", path / "photos", classes=SYNTHETIC_CLASSES))
    yield Reader("VOC XML, devkit", _DEVKIT, "VOCdevkit/*/Annotations/*.xml", _read_voc, mutate_text, share=2)
    yield Reader("VOC XML, folder", (*photos, ("xml", "xml")), "xml/*.xml", folder, mutate_text, share=2)
    yield Reader("VOC split list", _DEVKIT, "VOCdevkit/*/ImageSets/Main/trainval.txt", _read_voc, mutate_text)
    coco = partial(_own, lambda path: load_coco(path / "boxes.json", path / "photos"))
    yield Reader("COCO JSON", (*photos, ("boxes.json", "boxes.json")), "boxes.json", coco, mutate_text, share=3)
    for name in ("boxes", "semicolons"):
        read = partial(_own, lambda path: load_csv(path / "boxes.csv", path / "photos"))
        yield Reader(f"CSV, {name}", (*photos, (f"{name}.csv", "boxes.csv")), "boxes.csv", read, mutate_text, share=2)
    for name, damaged in (("data.yaml", "data.yaml"), ("list", "train.txt"), ("labels", "labels/*.txt")):
        read = partial(_own, lambda path: load_yolo(path / "yolo"))
        yield Reader(f"YOLO, {name}", (*photos, ("yolo", "yolo")), f"yolo/{damaged}", read, mutate_text, share=2)
    ids = (("ids.txt", "ids.txt"),)
    yield Reader("list of ids", ids, "ids.txt", lambda folder: read_ids(folder / "ids.txt"), mutate_text)
    yield Reader("comp4 files", (*_DEVKIT, ("comp4", "comp4")), "comp4/*.txt", _read_results_files, mutate_text)


def _own(load: Callable[[Path], ImageDatabase], folder: Path) -> list[Any]:
    return _annotations(load(folder))


def array_readers() -> Iterator[Reader]:
    """Yield the readers of arrays: other people's, and the files that stages leave."""
    for name, kind in (("5", "MATLAB 5"), ("7", "MATLAB 7"), ("73", "MATLAB 7.3")):
        files = (*_DEVKIT, (f"proposals.{name}.mat", "proposals.mat"))
        yield Reader(f"proposals, {kind}", files, "proposals.mat", _read_proposals, share=2)
    mat = (("mat", "mat"),)
    yield Reader("feature cache, MATLAB 5", mat, "mat/0.mat", _import_cache)
    yield Reader("feature cache, MATLAB 7", mat, "mat/1.mat", _import_cache)
    yield Reader("feature cache, MATLAB 7.3", mat, "mat/2.mat", _import_cache)
    ours = (*_DEVKIT, ("trainval.h5", "proposals.h5"))
    yield Reader("proposals", ours, "proposals.h5", _read_proposals, sealed=True)
    yield Reader("proposals, edited", ours, "proposals.h5", _read_proposals, edit_hdf5)
    old = (*_DEVKIT, ("old.trainval.h5", "proposals.h5"))
    yield Reader("proposals without checksum", old, "proposals.h5", _read_proposals)
    cache = (("trainval", "cache"),)
    yield Reader("feature shard", cache, "cache/shard-*.h5", _read_cache, sealed=True, share=3)
    yield Reader("feature shard, edited", cache, "cache/shard-*.h5", _read_cache, edit_hdf5)
    yield Reader("cache.json", cache, "cache/cache.json", _read_cache, mutate_text, sealed=True)
    for name, kind in _ONE_FILE.items():
        read = partial(_read_model, kind=kind)
        what = f"assembled {kind.KIND}" if name == "assembled" else kind.KIND
        yield Reader(what, ((f"{name}.h5", "file.h5"),), "file.h5", read, sealed=True)
        yield Reader(f"{what}, edited", ((f"{name}.h5", "file.h5"),), "file.h5", read, edit_hdf5)
        yield Reader(f"{what} without checksum", ((f"old.{name}.h5", "file.h5"),), "file.h5", read)
    found = (("detections.h5", "file.h5"),)
    yield Reader("detections", found, "file.h5", _read_detections, sealed=True)
    yield Reader("detections, edited", found, "file.h5", _read_detections, edit_hdf5)
    old = (("old.detections.h5", "file.h5"),)
    yield Reader("detections without checksum", old, "file.h5", _read_detections)
    resumed = (("trainval", "trainval"), ("model.h5.checkpoint", "model.h5.checkpoint"))
    yield Reader("checkpoint", resumed, "model.h5.checkpoint", _trained, sealed=True, outputs=("model.h5",))
    yield Reader("checkpoint, edited", resumed, "model.h5.checkpoint", _trained, edit_hdf5, outputs=("model.h5",))
    tuned = (("tuned/weights.pt", "weights.pt"), ("tuned/finetune.json", "finetune.json"))
    yield Reader("fine-tuned weights", tuned, "weights.pt", _read_tuned, sealed=True)
    yield Reader("fine-tuned record", tuned, "finetune.json", _read_tuned, mutate_text, sealed=True)
    yield Reader("weights", (("weights.pt", "weights.pt"),), "weights.pt", _read_weights, sealed=True, share=2)
    yield Reader("weights, old format", (("weights.old.pt", "weights.pt"),), "weights.pt", _read_weights, share=2)
    yield Reader("parity case", (("case/inputs.npz", "inputs.npz"),), "inputs.npz", _read_case, sealed=True)


def video_readers() -> Iterator[Reader]:
    """Yield the readers of videos."""
    for name in ("clip.avi", "clip.mp4"):
        yield Reader(f"video {name}", ((name, name),), name, _read_video, share=1.5)


def folder_readers() -> Iterator[Reader]:
    """Yield the readers of folders that commands leave: exported detectors, mined regions."""
    exported = (("exported", "exported"), ("images/a.jpg", "image.jpg"))
    yield Reader("exported, detector.json", exported, "exported/detector.json", _read_exported, mutate_text, share=2)
    yield Reader("exported, network.onnx", exported, "exported/network.onnx", _read_exported, sealed=True)
    yield Reader("exported, edited", exported, "exported/network.onnx", _read_exported, edit_exported, share=2)
    ranked = (("ranked", "exported"), ("images/a.jpg", "image.jpg"))
    described = "exported with a ranker, detector.json"
    yield Reader(described, ranked, "exported/detector.json", _read_exported, mutate_text)
    yield Reader("exported with a ranker", ranked, "exported/[mr]*", _read_exported, sealed=True)
    yield Reader("exported with a ranker, edited", ranked, "exported/[mr]*", _read_exported, edit_exported)
    mined = (("mined", "mined"),)
    yield Reader("mined, manifest", mined, "mined/manifest.jsonl", _read_mined, mutate_text, share=2)
    yield Reader("mined, record", mined, "mined/mined.json", _read_mined, mutate_text)
    yield Reader("mined, features", mined, "mined/features/*", _read_mined, sealed=True)


def record_readers() -> Iterator[Reader]:
    """Yield the readers of the records of experiments."""
    readers = {
        "row": _read_row,
        "stage": lambda folder: read_stage(folder / "record.json"),
        "comparison": lambda folder: read_comparison(folder / "record.json"),
        "results": lambda folder: read_results(folder / "record.json"),
    }
    for name, read in readers.items():
        files = ((f"records/{name}.json", "record.json"),)
        yield Reader(f"record of a {name}", files, "record.json", read, mutate_text, share=0.7)


def _commands() -> Iterator[Reader]:
    """Yield commands that read such files."""
    for name in (*_ONE_FILE, "detections", "trainval"):
        files = ((f"{name}.h5", "file.h5"),)
        yield Reader(f"inspect {name}.h5", files, "file.h5", _inspect, sealed=True, share=0.3)
        yield Reader(f"inspect {name}.h5, edited", files, "file.h5", _inspect, edit_hdf5, share=0.4)
    cache = (("trainval", "cache"),)
    yield Reader("inspect --verify", cache, "cache/*", _verify, sealed=True)
    yield Reader("inspect --verify, edited", cache, "cache/*.h5", _verify, edit_hdf5)
    found = (*_DEVKIT, ("detections.h5", "file.h5"))
    read = lambda folder: _evaluate_devkit(folder, "--detections", folder / "file.h5")  # noqa: E731
    yield Reader("evaluate detections", found, "file.h5", read, sealed=True, share=0.3)
    yield Reader("evaluate detections, edited", found, "file.h5", read, edit_hdf5, share=0.3)
    read = lambda folder: _evaluate_devkit(folder, "--comp4", folder / "comp4")  # noqa: E731
    yield Reader("evaluate comp4", (*_DEVKIT, ("comp4", "comp4")), "comp4/*.txt", read, mutate_text, share=0.3)
    own = (("photos", "photos"), ("detections.h5", "file.h5"), ("ids.txt", "ids.txt"))
    for option, name in (("--coco", "boxes.json"), ("--csv", "boxes.csv"), ("--xml", "xml"), ("--yolo", "yolo")):
        read = partial(_evaluate_source, option=option, name=name)
        damaged = {"xml": "xml/*.xml", "yolo": "yolo/labels/*.txt"}.get(name, name)
        yield Reader(f"evaluate {option}", (*own, (name, name)), damaged, read, mutate_text, share=0.3)
    scored = (("test", "cache"), ("model.h5", "file.h5"))
    yield Reader("test", scored, "*/*", _test, sealed=True, share=0.5)
    yield Reader("test, edited model", scored, "file.h5", _test, edit_hdf5, share=0.5)
    headed = (("test", "cache"), ("head.h5", "file.h5"))
    yield Reader("test, edited head", headed, "file.h5", _test, edit_hdf5, share=0.3)
    yield Reader("train", cache, "cache/*", _train, sealed=True)
    yield Reader("train, edited", cache, "cache/*.h5", _train, edit_hdf5, share=0.5)
    image = (("images/a.jpg", "image.jpg"), ("model.h5", "file.h5"))
    yield Reader("detect", image, "image.jpg", _detect, share=0.3)
    yield Reader("detect, model", image, "file.h5", _detect, sealed=True, share=0.3)
    yield Reader("detect, edited model", image, "file.h5", _detect, edit_hdf5, share=0.3)
    yield Reader("propose", _DEVKIT, "VOCdevkit/*/*/*.*", _propose, mutate_text, share=0.5)
    run = (("run", "run"),)
    yield Reader("inspect run", run, "run/**/*.*", _inspect_folder, mutate_text)
    yield Reader("diff run", (*run, ("run", "other")), "run/**/*.*", _diff, share=0.5)
    yield Reader("diff run, edited", (*run, ("run", "other")), "run/**/*.h5", _diff, edit_hdf5, share=0.5)
    fired = (("photos", "photos"), ("model.h5", "file.h5"))
    yield Reader("mine, photos", fired, "photos/*", _mine, share=0.3, outputs=("mined",))
    yield Reader("mine, edited model", fired, "file.h5", _mine, edit_hdf5, share=0.3, outputs=("mined",))
    learnt = (("trainval", "cache"), ("mined", "mined"))
    yield Reader("train --mined", learnt, "mined/manifest.jsonl", _train_mined, mutate_text, share=0.4)
    points = (("model.h5", "file.h5"), ("report", "report"))
    yield Reader("assemble, report", points, "report/results.json", _assemble, mutate_text, share=0.5)
    again = (*_DEVKIT, ("trainval.h5", "p.h5"), ("trainval", "cache"))
    yield Reader("extract, earlier cache", again, "cache/*", _extract_again, share=0.4, outputs=("cache",))
    again = (*_DEVKIT, ("detections.h5", "file.h5"), ("report", "report"))
    yield Reader("evaluate, earlier report", again, "report/results.json", _evaluate_again, mutate_text, share=0.4)
    for option, name in (("--coco", "boxes.json"), ("--csv", "boxes.csv"), ("--xml", "xml"), ("--yolo", "yolo")):
        damaged = {"xml": "xml/*.xml", "yolo": "yolo/labels/*.txt"}.get(name, name)
        read = partial(_check, option=option, name=name)
        yield Reader(f"check {option}", (("photos", "photos"), (name, name)), damaged, read, mutate_text, share=0.3)
    shown = (*_DEVKIT, ("model.h5", "file.h5"), ("trainval", "cache"))
    report = lambda folder: _of_model(folder, "report")  # noqa: E731
    yield Reader("report, edited model", shown, "file.h5", report, edit_hdf5, share=0.15)
    yield Reader("report, annotations", shown, "VOCdevkit/*/Annotations/*.xml", report, mutate_text, share=0.15)
    found = (*_DEVKIT, ("detections.h5", "file.h5"))
    yield Reader("show, edited detections", found, "file.h5", _show, edit_hdf5, share=0.3)
    exported = (("exported", "exported"), ("images/a.jpg", "image.jpg"))
    yield Reader("detect, exported", exported, "exported/detector.json", _detect_exported, mutate_text, share=0.4)
    yield Reader(
        "detect, exported, edited", exported, "exported/network.onnx", _detect_exported, edit_exported, share=0.4
    )
    yield Reader("detect, exported, image", exported, "image.jpg", _detect_exported, share=0.4)
    filmed = (("exported", "exported"), ("clip.avi", "clip.avi"))
    yield Reader("detect, video", filmed, "clip.avi", _detect_video, share=0.3)
    yield Reader("parity", (("case/inputs.npz", "inputs.npz"),), "inputs.npz", _parity, share=0.3)


def _evaluate_source(folder: Path, option: str, name: str) -> Any:
    return _evaluate_own(
        folder, option, folder / name, "--images", folder / "photos", "--split", "all", "--ids", folder / "ids.txt"
    )


def all_readers() -> list[Reader]:
    """Return every reader, in the order of the table."""
    return [
        *(*image_readers(), *video_readers(), *data_readers(), *array_readers()),
        *(*folder_readers(), *record_readers(), *_commands()),
    ]
