"""Where two artefacts of one kind differ: finds out what they are and asks whoever knows that kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rcnn_svm.artefacts.checkpoint import KIND as CHECKPOINT
from rcnn_svm.artefacts.files import READ_ERRORS
from rcnn_svm.artefacts.header import read_header
from rcnn_svm.artefacts.model_file import MODELS
from rcnn_svm.cache.plan import MANIFEST
from rcnn_svm.detection.detections import KIND as DETECTIONS
from rcnn_svm.errors import InputError
from rcnn_svm.finetune.record import KIND as FINETUNED
from rcnn_svm.finetune.record import RECORD, WEIGHTS
from rcnn_svm.proposals.store import KIND as PROPOSALS
from rcnn_svm.reports.difference.boxes import compare_detections, compare_proposals
from rcnn_svm.reports.difference.cache import compare_caches
from rcnn_svm.reports.difference.detector import compare_detectors
from rcnn_svm.reports.difference.folder import compare_folders
from rcnn_svm.reports.difference.models import (
    compare_checkpoints,
    compare_finetuned,
    compare_models,
    compare_reports,
)
from rcnn_svm.reports.difference.result import Comparison
from rcnn_svm.reports.run_folder import CACHE, REPORT, RESULTS

FOLDER = "folder"
_KINDS: dict[str, Callable[[Path, Path], Comparison]] = {
    **dict.fromkeys(MODELS, compare_models),
    "detector": compare_detectors,
    CACHE: compare_caches,
    PROPOSALS: compare_proposals,
    DETECTIONS: compare_detections,
    CHECKPOINT: compare_checkpoints,
    FINETUNED: compare_finetuned,
    REPORT: compare_reports,
}


def compare_artefacts(a: str | os.PathLike, b: str | os.PathLike) -> Comparison:
    """Return where two artefacts of one kind differ first in the order of the pipeline, by how much, and why.

    Args:
        a, b: files or folders, as `inspect_artefact` takes them, or `results.json` of two reports.

    Raises:
        InputError: one is missing, damaged or not ours, or they are of different kinds.
    """
    (path_a, kind_a), (path_b, kind_b) = _kind(Path(a)), _kind(Path(b))
    if kind_a != kind_b:
        raise InputError(f"{a} holds {kind_a}, {b} holds {kind_b}; give two of one kind")
    if kind_a == FOLDER:
        return compare_folders(path_a, path_b, compare_artefacts)
    if kind_a not in _KINDS:
        raise InputError(f"{a} and {b} hold {kind_a}, which this version of rcnn-svm cannot compare")
    try:
        return _KINDS[kind_a](path_a, path_b)
    except (InputError, BrokenPipeError):
        raise
    except READ_ERRORS as error:
        raise InputError(
            f"{a} or {b} is damaged ({type(error).__name__} while comparing them); inspect each of them"
        ) from error


def _kind(path: Path) -> tuple[Path, str]:
    """Return an artefact's path, of a fine-tuned network its folder, and its kind."""
    if path.name in (RECORD, WEIGHTS) and path.with_name(RECORD).is_file():
        path = path.parent
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return path, CACHE
        return path, FINETUNED if (path / RECORD).is_file() else FOLDER
    if path.name == RESULTS:
        return path, REPORT
    return path, read_header(path).kind
