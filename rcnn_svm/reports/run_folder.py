"""The artefacts of a folder, such as that of `rcnn-svm run`, in the order of the pipeline."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcnn_svm.artefacts.files import reading
from rcnn_svm.artefacts.header import Header, read_header
from rcnn_svm.artefacts.schema import check_json_schema
from rcnn_svm.cache.plan import MANIFEST, read_plan
from rcnn_svm.detection.again import METHOD as FROM_DETECTIONS
from rcnn_svm.errors import InputError
from rcnn_svm.finetune.record import KIND as FINETUNED
from rcnn_svm.finetune.record import RECORD, WEIGHTS, load_record
from rcnn_svm.reports.table import EVALUATION, SCHEMA
from rcnn_svm.words import counted

CACHE, REPORT, DAMAGED = "feature cache", "report", "damaged"
RESULTS = "results.json"
# Files that a stage makes of a detector: what follows the first detections comes after them.
_ORDER = (
    "proposal ranker",
    "proposals",
    FINETUNED,
    CACHE,
    "detector",
    "box regressor",
    "RoI head",
    "Fast R-CNN network",
    "detections",
    "proposals from detections",
    "feature cache of these",
    "detections in both",
    "assembled detector",
    REPORT,
    "training checkpoint",
)
_OF_TEST = re.compile(r"(^|[^a-z])(test|val)([^a-z]|$)")
# A folder is searched so deep; the artefacts of a run are two folders down.
_DEPTH = 3


@dataclass(frozen=True)
class Artefact:
    """An artefact among others.

    Attributes:
        path: file, or folder of a cache, a fine-tuned network or a report.
        name: path below the folder that was searched.
        kind: what it is; `DAMAGED` where it cannot be read.
        stage: what it is in the pipeline, which tells the detector that was assembled from the one that was trained.
        image_set: what it was made of or trained on; "" where that is not recorded.
        holds: what it holds, in some words; what is wrong with it where it cannot be read.
        num_bytes: its size.
        time: when it was made, UTC; "" where that is not known.
    """

    path: Path
    name: str
    kind: str
    stage: str
    image_set: str
    holds: str
    num_bytes: int
    time: str


def find_artefacts(folder: Path) -> list[Artefact]:
    """Return the artefacts below a folder, in the order of the pipeline, those of training images first.

    Raises:
        InputError: there are none.
    """
    found = []
    for path in _candidates(folder):
        artefact = _look_at(path, path.relative_to(folder).as_posix())
        if artefact is not None:
            found.append(artefact)
    if not found:
        raise InputError(
            f"{folder} holds nothing that a stage of rcnn-svm writes; give the folder of a run or of a feature cache"
        )
    return sorted(found, key=pipeline_order)


def pipeline_order(artefact: Artefact) -> tuple[int, bool, str]:
    """Return what sorts artefacts as the stages make them, those of training images first."""
    known = artefact.stage in _ORDER
    return _ORDER.index(artefact.stage) if known else len(_ORDER), bool(_OF_TEST.search(artefact.name)), artefact.name


def find_lists(folder: Path) -> dict[str, list[str]]:
    """Return the image ids of the lists that `rcnn-svm run` writes into its folder, by the lists' names."""
    lists = {}
    for name in ("train_ids.txt", "test_ids.txt"):
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
            lists[name] = [line.strip() for line in lines if line.strip() and not re.match(r"\s*#(\s|$)", line)]
    return lists


def _candidates(folder: Path) -> Iterator[Path]:
    """Yield what may be an artefact, by its name."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if here != folder and (MANIFEST in files or RECORD in files):
            folders.clear()
            yield here
            continue
        depth = len(here.relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if depth < _DEPTH and not name.startswith("."))
        yield from (here / name for name in sorted(files) if name.endswith((".h5", ".h5.checkpoint")))
        if RESULTS in files:
            yield here / RESULTS


def _look_at(path: Path, name: str) -> Artefact | None:
    """Return an artefact; None for a file of that name that is something else's."""
    try:
        if path.name == RESULTS:
            return _report(path, name)
        if (path / MANIFEST).is_file():
            return _cache(path, name)
        if path.is_dir():
            return _finetuned(path, name)
        header = read_header(path)
        with reading(path):
            return _stored(header, name)
    except InputError as error:
        size = path.stat().st_size if path.is_file() else 0
        return Artefact(path, name, DAMAGED, DAMAGED, "", str(error), size, "")


def _cache(path: Path, name: str) -> Artefact:
    plan = read_plan(path)
    shards = [shard for shard in map(plan.shard_path, range(plan.num_shards)) if shard.exists()]
    holds = [counted(len(plan.image_ids), "image"), f"{sum(plan.rows):,} x {plan.dim}"]
    if len(shards) < plan.num_shards:
        holds.append(f"{plan.num_shards - len(shards)} of {plan.num_shards} shards missing")
    with reading(path / MANIFEST):
        time = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["provenance"]["time"]
    again = (plan.settings.get("proposals") or {}).get("method") == FROM_DETECTIONS
    stage = "feature cache of these" if again else CACHE
    size = sum(shard.stat().st_size for shard in shards)
    return Artefact(path, name, CACHE, stage, plan.name, ", ".join(holds), size, time)


def _finetuned(path: Path, name: str) -> Artefact:
    record = load_record(path / WEIGHTS)
    holds = f"{record.network['name']}, {counted(len(record.classes), 'class', 'classes')}"
    size = (path / WEIGHTS).stat().st_size
    image_set = str(record.identity.get("image_set", ""))
    return Artefact(path, name, FINETUNED, FINETUNED, image_set, holds, size, record.provenance["time"])


def _report(path: Path, name: str) -> Artefact | None:
    content = read_results(path)
    if content is None:
        return None
    figures = [f"{100 * content[key]:.1f} {word}" for key, word in FIGURES.items() if content[key] is not None]
    holds = f"mAP {', '.join(figures)}" if figures else "no AP"
    time = str(content["made_from"].get("time", ""))
    return Artefact(path, name, REPORT, REPORT, content["image_set"], holds, path.stat().st_size, time)


# What a report says of all classes together, and in which protocol.
FIGURES = {"map_voc07": "VOC07", "map_area": "area"}


def read_results(path: Path) -> dict[str, Any] | None:
    """Return the results that `rcnn-svm evaluate` wrote; None for a file of that name that is something else's.

    Raises:
        InputError: the file is no JSON.
    """
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict) and content.get("kind") == EVALUATION:
        check_json_schema(path, content, EVALUATION, SCHEMA, "evaluate again")
    wanted = {"image_set", "images", "classes", "made_from", *FIGURES}
    return content if isinstance(content, dict) and wanted <= content.keys() else None


def _stored(header: Header, name: str) -> Artefact:
    kind, settings, stage = header.kind, header.settings, header.kind
    rows = {name: shape[0] for name, (shape, _) in header.arrays.items() if shape}
    image_set = settings.get("database") or settings.get("image_set") or _trained_on(settings)
    if kind == "proposals":
        stage = "proposals from detections" if settings.get("method") == FROM_DETECTIONS else kind
        holds = f"{counted(rows['image_ids'], 'image')}, {counted(rows['boxes'], 'box', 'boxes')}"
    elif kind == "detections":
        stage = "detections in both" if "also" in settings else kind
        holds = f"{counted(rows['image_ids'], 'image')}, {counted(rows['box'], 'box', 'boxes')}"
    elif kind == "training checkpoint":
        holds = "progress of a training"
    else:
        more = [
            *header.parts.values(),
            *(name for name in ("recipe", "thresholds") if name in settings or name in header.arrays),
        ]
        stage = "assembled detector" if more and kind == "detector" else kind
        holds = ", ".join([counted(len(settings.get("classes", ())), "class", "classes"), *more])
    return Artefact(header.path, name, kind, stage, str(image_set), holds, header.num_bytes, header.provenance["time"])


def _trained_on(settings: dict[str, Any]) -> str:
    training = settings.get("training")
    return training.get("image_set", "") if isinstance(training, dict) else ""
