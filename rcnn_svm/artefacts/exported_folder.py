"""What the folder of an exported detector holds: networks, and one JSON file that describes them and all else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rcnn_svm.artefacts.files import reading, require_regular
from rcnn_svm.artefacts.schema import check_json_schema
from rcnn_svm.errors import InputError

KIND = "exported detector"
SCHEMA = 1
DESCRIPTION = "detector.json"
# Crops in, scores and corrections of boxes out; a whole image in, maps out; weights that rank windows by these maps.
NETWORK, MAPS, RANKER = "network.onnx", "maps.onnx", "ranker.npz"

# The outputs of `NETWORK`, (N, K) and (N, K, 4). Where features have context or a scene, there are two more for each,
# whose names begin so: what a box's second crop, or the crop of the whole image, adds to those of the box.
SCORES, DELTAS = "scores", "deltas"
CONTEXT, SCENE = "context_", "scene_"


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a file's content, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def read_description(folder: Path) -> dict[str, Any]:
    """Return what describes an exported detector.

    Raises:
        InputError: the folder holds no exported detector, or one that another version wrote, or it is damaged.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{folder} is no folder of an exported detector: it has no {DESCRIPTION}; correct the path")
    with reading(path):
        described = json.loads(path.read_text(encoding="utf-8"))
        if described["kind"] != KIND:
            raise InputError(f"{path} describes {str(described['kind'])[:60]!r}, expected {KIND!r}; correct the path")
        check_json_schema(path, described, KIND, SCHEMA, "export it again")
        if not isinstance(described["files"], dict):
            raise ValueError("its files have no digests")
    return described


def read_part(folder: Path, name: str, described: dict[str, Any]) -> bytes:
    """Return the content of a file of an exported detector.

    Raises:
        InputError: it is missing, or is not the one that was exported with the others.
    """
    path = folder / name
    try:
        require_regular(path)
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; copy the whole folder, or export the detector again") from error
    if digest_of(content) != described["files"].get(name):
        raise InputError(f"{path} is damaged or of another export; copy the whole folder, or export the detector again")
    return content
