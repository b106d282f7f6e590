"""What any artefact holds: finds out what it is and asks whoever knows that kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rcnn_svm.artefacts.checkpoint import KIND as CHECKPOINT
from rcnn_svm.artefacts.exported_folder import DESCRIPTION, NETWORK
from rcnn_svm.artefacts.files import reading_unsealed
from rcnn_svm.artefacts.header import Header, read_header
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.plan import MANIFEST, read_plan
from rcnn_svm.detection.detections import KIND as DETECTIONS
from rcnn_svm.finetune.record import RECORD, WEIGHTS
from rcnn_svm.mining import mined_regions
from rcnn_svm.proposals.store import KIND as PROPOSALS
from rcnn_svm.reports.inspection.boxes import inspect_detections, inspect_proposals
from rcnn_svm.reports.inspection.cache import inspect_cache
from rcnn_svm.reports.inspection.detector import inspect_detector
from rcnn_svm.reports.inspection.exported import inspect_exported
from rcnn_svm.reports.inspection.folder import inspect_folder
from rcnn_svm.reports.inspection.mined import inspect_mined
from rcnn_svm.reports.inspection.models import inspect_head, inspect_ranker, inspect_regressor
from rcnn_svm.reports.inspection.result import Inspection, arrays_in_words, header_facts, header_record
from rcnn_svm.reports.inspection.training import inspect_checkpoint, inspect_finetuned

_KINDS: dict[str, Callable[[Header], Inspection]] = {
    "detector": inspect_detector,
    "box regressor": inspect_regressor,
    "proposal ranker": inspect_ranker,
    "RoI head": inspect_head,
    "Fast R-CNN network": inspect_head,
    PROPOSALS: inspect_proposals,
    DETECTIONS: inspect_detections,
    CHECKPOINT: inspect_checkpoint,
}

# What a folder is, by a file in it; a path to that file, or to the other named here, means the folder.
_FOLDERS: tuple[tuple[str, str, Callable[[Path], Inspection]], ...] = (
    (RECORD, WEIGHTS, inspect_finetuned),
    (DESCRIPTION, NETWORK, inspect_exported),
    (mined_regions.RECORD, mined_regions.MANIFEST, inspect_mined),
)


def inspect_artefact(path: str | os.PathLike, layer_cache: FeatureCache | None = None) -> Inspection:
    """Return what a file or folder of any stage holds.

    Args:
        path: an HDF5 file; the folder of a feature cache, a fine-tuned network, an exported detector or mined regions,
            or the main file of such; a folder of several, such as that of a run.
        layer_cache: of a feature cache, the same regions in another layer.

    Raises:
        InputError: it is missing, damaged or not ours.
    """
    path = Path(path)
    for mark, other, _ in _FOLDERS:
        if path.name in (mark, other) and path.with_name(mark).is_file():
            path = path.parent
    if not path.is_dir():
        header = read_header(path)
        with reading_unsealed(path):
            return _KINDS.get(header.kind, _inspect_any)(header)
    if (path / MANIFEST).is_file():
        return inspect_cache(read_plan(path), layer_cache)
    for mark, _, inspect in _FOLDERS:
        if (path / mark).is_file():
            return inspect(path)
    return inspect_folder(path)


def _inspect_any(header: Header) -> Inspection:
    """Return what a file of another kind says of itself."""
    facts = {**header_facts(header), "arrays": arrays_in_words(header, ())}
    return Inspection(header.kind, header.path, facts, header_record(header))
