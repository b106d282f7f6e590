"""Artefacts described in words and tables."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from rcnn_svm.artefacts.files import READ_ERRORS, open_any_h5, open_h5, read_settings, reading, require_file
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.plan import CachePlan
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.errors import InputError
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.parameters import plain
from rcnn_svm.reports.table import Table


def cache_summary(plan: CachePlan) -> str:
    """Return what a feature cache holds, complete or not."""
    pending = plan.pending()
    size = sum(plan.shard_path(s).stat().st_size for s in range(plan.num_shards) if plan.shard_path(s).exists())
    rows = np.array(plan.rows)
    return _facts(
        {
            "feature cache": plan.folder,
            "image set": f"{plan.name}, {len(plan.image_ids)} images, {len(plan.classes)} classes",
            "regions": f"{rows.sum():,} ({rows.min()} to {rows.max()} per image)",
            "features": FeatureSettings.from_json(plan.settings).description(f"{plan.dim}-d {plan.dtype}"),
            "shards": f"{plan.num_shards - len(pending)} of {plan.num_shards} complete, {size / 1e6:,.1f} MB",
            "fingerprint": plan.fingerprint,
        }
    )


def image_table(cache: FeatureCache, image_id: str, top: int) -> str:
    """Return the first regions of an image: key, box, label, best overlap and feature norm.

    Raises:
        InputError: the image is not in the cache.
    """
    if image_id not in cache.image_ids:
        raise InputError(f"image {image_id} is not in {cache.name} ({cache.num_images} images)")
    index = cache.image_ids.index(image_id)
    regions = cache.regions(index)
    rows = []
    for row in range(min(top, len(regions))):
        best = int(regions.overlap[row].argmax())
        overlap = regions.overlap[row, best]
        label = cache.classes[regions.label[row] - 1] if regions.label[row] else "proposal"
        rows.append(
            [
                f"({index}, {row})",
                " ".join(f"{value:g}" for value in regions.boxes[row]),
                label + (" (difficult)" if regions.difficult[row] else ""),
                f"{overlap:.2f} {cache.classes[best]}" if overlap else "-",
                f"{np.linalg.norm(regions.features[row]):.2f}",
            ]
        )
    height, width = regions.image_size
    title = f"image {image_id}: {width} x {height} pixels, {len(regions)} regions, {int(regions.gt.sum())} objects"
    return f"{title}\n" + Table(("key", "box", "label", "best overlap", "norm"), rows).text()


def file_summary(path: str | Path) -> tuple[str, str, dict]:
    """Return what an HDF5 artefact holds, its kind and its settings.

    Raises:
        InputError: the file is missing, damaged or not ours.
    """
    require_file(Path(path))
    try:
        with open_any_h5(path) as handle:
            kind, schema = str(handle.attrs["kind"]), int(handle.attrs["schema"])
    except KeyError:
        raise InputError(f"{path} was not written by rcnn-svm") from None
    except InputError:
        raise
    except READ_ERRORS as error:
        raise InputError(f"{path} is not a readable HDF5 file ({error})") from error
    with open_h5(path, kind, schema) as handle:
        made = json.loads(handle.attrs["provenance"])
        arrays = []
        handle.visititems(
            lambda name, item: (
                arrays.append(f"{name} {item.shape} {item.dtype}") if isinstance(item, h5py.Dataset) else None
            )
        )
        settings = read_settings(handle)
        facts = {
            kind: path,
            "made by": f"rcnn-svm {made['rcnn_svm']} at {made['time']}",
            "command": made["command"],
            "fingerprint": handle.attrs["fingerprint"],
            "arrays": ", ".join(arrays),
        }
        if "parts" in handle:
            facts["parts"] = ", ".join(str(part.attrs["kind"]) for part in handle["parts"].values())
        if "recipe" in settings:
            facts["recipe"] = Recipe.from_json(settings["recipe"])
    return _facts(facts), kind, settings


def hardest_table(path: str | Path, name: str, top: int) -> str:
    """Return the hardest negatives of a class at its last training: key, score, when they were added.

    Raises:
        InputError: the model has no such class.
    """
    detector, history = Detector.load(path), Detector.load_history(path)
    if name not in detector.classes:
        raise InputError(f"class {plain(name)!r} is not in {path}; it has {', '.join(detector.classes)}")
    if "support" not in history:
        raise InputError(f"{path} has no record of its training, only the detector")
    with reading(path):
        cls = detector.classes.index(name)
        of_class = history["support"][:, 0] == cls
        keys, scores = history["support"][of_class, 1:], history["support_scores"][of_class]
        rows = []
        for position in np.argsort(-scores, kind="stable")[:top]:
            image, row = keys[position].tolist()
            rows.append([str(history["image_ids"][image]), f"({image}, {row})", f"{scores[position]:.3f}"])
    title = f"{name}: {len(scores)} negatives on or inside the margin at the last training, the hardest first"
    return f"{title}\n" + Table(("image", "key", "score"), rows).text()


def _facts(facts: dict[str, object]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())
