"""What was mined from images that nobody has labelled, on disk: a folder that a person looks through.

    manifest.jsonl     one region a line, the highest score first; what is a real object is struck out there
    crops/, sheet-*    the regions as pictures
    features/          a feature cache of exactly these regions, in their order: `id` is the number of a region in it
    mined.json         what made them

A region is a negative of the class that fired on it, and of no other: that is what a person looked for. To the others
it is neither positive nor negative, which its overlap of 1 with all of them says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import (
    READ_ERRORS,
    atomic_stream,
    create_h5,
    file_name,
    fingerprint,
    open_h5,
    provenance,
    read_settings,
    reading,
    require_regular,
    write_text,
)
from rcnn_svm.artefacts.schema import check_json_schema
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.plan import plan_cache
from rcnn_svm.cache.regions import RegionSet
from rcnn_svm.errors import InputError
from rcnn_svm.mining.unlabelled import RepeatMerger, Thing

MANIFEST = "manifest.jsonl"
FEATURES = "features"
CROPS = "crops"
RECORD = "mined.json"

PART_IMAGES = 20  # what an interruption can lose

KIND = "mined regions"
SCHEMA = 1


@dataclass(frozen=True)
class MinedFrame:
    """What was taken of one image, or one frame of a video.

    Attributes:
        source: the file.
        frame: number of the frame; None for an image.
        time: its second in the video; None for an image.
        image_size: (height, width), pixels.
        boxes: (n, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        cls: (n,) int64, index of the class that fired.
        scores: (n,) float32.
        features: (n, D) float32.
        crops: n pictures, bytes of JPEG files.
    """

    source: str
    frame: int | None
    time: float | None
    image_size: tuple[int, int]
    boxes: np.ndarray
    cls: np.ndarray
    scores: np.ndarray
    features: np.ndarray
    crops: list[bytes]

    @property
    def image_id(self) -> str:
        """Names the image in a feature cache."""
        return self.source if self.frame is None else f"{self.source}#{self.frame}"


@dataclass(frozen=True)
class MinedRegion:
    """A line of the manifest.

    Attributes:
        id: number of the region in the feature cache.
        source: the file.
        frame: number of the frame; None for an image.
        time: its second in the video; None for an image.
        box: x1 y1 x2 y2, 0-based inclusive pixels.
        cls: name of the class that fired, `class` in the file.
        score: its score.
        seen: how many regions of neighbouring frames show the same.
        crop: picture, relative to the manifest.
        keep: it is background, and a negative; false for a real object.
    """

    id: int
    source: str
    frame: int | None
    time: float | None
    box: list[float]
    cls: str
    score: float
    seen: int
    crop: str
    keep: bool = True

    def line(self) -> str:
        """Return the line of the manifest."""
        names = {"cls": "class"}
        content = {names.get(name, name): value for name, value in asdict(self).items()}
        return json.dumps({name: value for name, value in content.items() if value is not None})


def save_part(path: Path, frames: Sequence[MinedFrame], settings: dict[str, Any]) -> None:
    """Write what was taken of some consecutive frames, so that an interrupted mining goes on behind them.

    Args:
        path: file to write.
        frames: one or more.
        settings: recorded with them, JSON-able.
    """
    told = [{"source": f.source, "frame": f.frame, "time": f.time, "image_size": f.image_size} for f in frames]
    with create_h5(path, KIND, SCHEMA, {**settings, "frames": told}) as handle:
        handle["image_start"] = np.cumsum([0, *(len(frame.boxes) for frame in frames)])
        for name in ("boxes", "cls", "scores"):
            handle[name] = np.concatenate([getattr(frame, name) for frame in frames])
        handle["features"] = np.concatenate([frame.features for frame in frames]).astype(np.float16)
        crops = [crop for frame in frames for crop in frame.crops]
        handle["crop_start"] = np.cumsum([0, *map(len, crops)], dtype=np.int64)
        handle["crops"] = np.frombuffer(b"".join(crops), np.uint8)


def load_part(path: Path) -> tuple[list[MinedFrame], dict[str, Any]]:
    """Return what `save_part` wrote: the frames and the settings.

    Raises:
        InputError: the file is missing or damaged.
    """
    with open_h5(path, KIND, SCHEMA) as handle:
        settings = read_settings(handle)
        start, crop_start, crops = handle["image_start"][()], handle["crop_start"][()], handle["crops"][()]
        frames = []
        for told, first, last in zip(settings.pop("frames"), start[:-1].tolist(), start[1:].tolist(), strict=True):
            arrays = {name: handle[name][first:last] for name in ("boxes", "cls", "scores")}
            pictures = [crops[crop_start[n] : crop_start[n + 1]].tobytes() for n in range(first, last)]
            features = handle["features"][first:last].astype(np.float32)
            size = tuple(told.pop("image_size"))
            frames.append(MinedFrame(**told, image_size=size, **arrays, features=features, crops=pictures))
        return frames, settings


def distinct_things(parts: Sequence[Path]) -> list[Thing]:
    """Return what the regions of some parts show, what repeats over the frames of a video once, in their order.

    The regions are counted over all parts.
    """
    things: list[Thing] = []
    merger, source, number = RepeatMerger(), None, 0
    for path in parts:
        for frame in load_part(path)[0]:
            if frame.source != source:
                things += merger.finish()
                source = frame.source
            regions = np.arange(number, number + len(frame.boxes))
            number += len(regions)
            if frame.frame is None:
                found = zip(regions.tolist(), frame.cls.tolist(), frame.scores.tolist(), frame.features, strict=True)
                things += [Thing(cls, region, score, 0, feature) for region, cls, score, feature in found]
            else:
                things += merger.add(regions, frame.cls, frame.scores, frame.features)
    things += merger.finish()
    return sorted(things, key=lambda thing: thing.region)


def write_regions(
    folder: Path, parts: Sequence[Path], classes: Sequence[str], settings: Mapping[str, Any], dim: int
) -> list[MinedRegion]:
    """Write the feature cache and the crops of what some parts hold, each thing once; return lines for a manifest.

    Memory holds one part at a time.

    Args:
        folder: where to write.
        parts: one file of `save_part` or more, in their order, of `PART_IMAGES` images each but the last.
        classes: K class names.
        settings: of the features, as a cache records them.
        dim: D.
    """
    seen = {thing.region: thing.regions for thing in distinct_things(parts)}
    ids = {region: number for number, region in enumerate(seen)}  # those in the new cache
    chosen, image_ids, number = [], [], 0
    for path in parts:
        for frame in load_part(path)[0]:
            regions = range(number, number := number + len(frame.boxes))
            chosen.append([(row, region) for row, region in enumerate(regions) if region in seen])
            image_ids.append(frame.image_id)
    plan = plan_cache(
        folder / FEATURES,
        name="mined",
        classes=classes,
        image_ids=image_ids,
        rows=list(map(len, chosen)),
        settings=dict(settings),
        dim=dim,
        sources=[fingerprint(rows) for rows in chosen],
        dtype="float16",
        shard_images=PART_IMAGES,
        overwrite=True,
    )
    lines = []
    for shard, path in enumerate(parts):
        frames = load_part(path)[0]
        of_part = chosen[shard * PART_IMAGES :][: len(frames)]
        plan.write_shard(
            shard,
            [
                _region_set(frame, [row for row, _ in rows], len(classes))
                for frame, rows in zip(frames, of_part, strict=True)
            ],
        )
        for frame, rows in zip(frames, of_part, strict=True):
            for row, region in rows:
                name = classes[frame.cls[row]]
                crop = f"{CROPS}/{ids[region]:06d}-{file_name(name)}.jpg"
                with atomic_stream(folder / crop) as stream:
                    stream.write(frame.crops[row])
                lines.append(
                    MinedRegion(
                        id=ids[region],
                        source=frame.source,
                        frame=frame.frame,
                        time=None if frame.time is None else round(frame.time, 3),
                        box=frame.boxes[row].tolist(),
                        cls=name,
                        score=round(float(frame.scores[row]), 4),
                        seen=seen[region],
                        crop=crop,
                    )
                )
    plan.move_to(folder / FEATURES)
    return sorted(lines, key=lambda line: -line.score)


def _region_set(frame: MinedFrame, rows: Sequence[int], num_classes: int) -> RegionSet:
    """Return some regions of an image, each a negative of the class that fired, and neither to the others."""
    overlap = np.ones((len(rows), num_classes), np.float32)
    overlap[np.arange(len(rows)), frame.cls[rows]] = 0
    none = np.zeros(len(rows), bool)
    return RegionSet(
        image_id=frame.image_id,
        image_size=frame.image_size,
        boxes=frame.boxes[rows],
        gt=none,
        label=none.astype(np.int32),
        difficult=none,
        overlap=overlap,
        features=frame.features[rows],
    )


def read_record(folder: Path) -> dict[str, Any]:
    """Return what made the regions of a folder: `identity`, `model`, `provenance`.

    Raises:
        InputError: the record is missing or damaged.
    """
    with reading(folder / RECORD):
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        check_json_schema(folder / RECORD, content, KIND, SCHEMA, "mine again")
        return {name: content[name] for name in ("identity", "model", "provenance")}


def write_record(folder: Path, identity: dict[str, Any], model: str) -> None:
    """Write what made the regions of a folder."""
    content = {"kind": KIND, "schema": SCHEMA, "identity": identity, "model": model, "provenance": provenance()}
    write_text(folder / RECORD, json.dumps(content))


def read_manifest(path: Path) -> list[MinedRegion]:
    """Return the regions of a manifest that a person left in it as background.

    Raises:
        InputError: the file is missing, or a line is none of a manifest.
    """
    kept, seen = [], set()
    try:
        require_regular(path)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the manifest {path}: {error}") from error
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            content = json.loads(text)
            region = MinedRegion(
                id=int(content["id"]),
                source=str(content["source"]),
                frame=content.get("frame"),
                time=content.get("time"),
                box=[float(value) for value in content["box"]],
                cls=str(content["class"]),
                score=float(content["score"]),
                seen=int(content.get("seen", 1)),
                crop=str(content.get("crop", "")),
                keep=content.get("keep", True),
            )
        except READ_ERRORS as error:
            raise InputError(
                f"line {number} of {path} is not a region of a manifest ({error or type(error).__name__}); delete the "
                "whole line, or restore it"
            ) from error
        if len(region.box) != 4:
            raise InputError(f"line {number} of {path} has a box of {len(region.box)} numbers, expected x1 y1 x2 y2")
        if region.keep not in (True, False):
            raise InputError(f"line {number} of {path} has keep {content['keep']!r}, expected true or false")
        if region.id in seen:
            raise InputError(f"line {number} of {path} has id {region.id}, as a line before; delete one of them")
        seen.add(region.id)
        if region.keep:
            kept.append(region)
    return kept


def mined_negatives(path: str | os.PathLike, classes: Sequence[str]) -> FeatureCache:
    """Return the features of the regions that a person left in a manifest, as negatives of the classes that fired.

    Args:
        path: a manifest, with the features beside it.
        classes: K class names of the training; a region of another class is negative to none.

    Raises:
        InputError: the manifest cannot be read, or names regions that the features beside it are not of.
    """
    path = Path(path)
    cache = FeatureCache.open(path.parent / FEATURES)
    regions = sorted(read_manifest(path), key=lambda region: region.id)
    if not regions:
        raise InputError(f"{path} keeps no region; leave it out, or set keep to true where there is no object")
    ids = np.array([region.id for region in regions])
    if ids[0] < 0 or ids[-1] >= cache.num_rows:
        wrong = next(number for number in ids.tolist() if not 0 <= number < cache.num_rows)
        raise InputError(f"{path} has region {wrong}, and the features beside it are of 0 to {cache.num_rows - 1}")
    boxes = np.concatenate([block.boxes for block in cache.blocks()])[ids]
    fired = np.concatenate([block.overlap.argmin(axis=1) for block in cache.blocks()])[ids]
    for region, box, cls in zip(regions, boxes, fired, strict=True):
        if region.cls != cache.classes[cls] or not np.allclose(region.box, box, atol=0.01):
            raise InputError(
                f"{path} has region {region.id} with another box or class than the features beside it; leave a "
                "manifest where it was written"
            )
    overlap = np.ones((len(ids), len(classes)), np.float32)
    for row, region in enumerate(regions):
        if region.cls in classes:
            overlap[row, classes.index(region.cls)] = 0
    image = cache.keys(ids)[:, 0]
    images, counts = np.unique(image, return_counts=True)
    return FeatureCache.from_arrays(
        # They are hard for the detector that fired on them, so that training would hold nearly all in any case.
        features=cache.gather(ids),
        image_start=np.cumsum([0, *counts]),
        boxes=boxes,
        gt=np.zeros(len(ids), bool),
        label=np.zeros(len(ids), np.int32),
        overlap=overlap,
        classes=classes,
        image_ids=[cache.image_ids[number] for number in images],
        settings=cache.settings,
        name=cache.name,
    )
