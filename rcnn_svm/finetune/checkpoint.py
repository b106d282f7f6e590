"""The progress of a fine-tuning on disk: everything that decides the steps that follow."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch

from rcnn_svm.artefacts.files import READ_ERRORS, atomic_path, provenance
from rcnn_svm.artefacts.identity import first_difference
from rcnn_svm.errors import InputError

KIND = "fine-tuning checkpoint"
SCHEMA = 1


def save_checkpoint(path: str | Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Replace the checkpoint, atomically.

    Args:
        path: where it lies.
        identity: JSON-able; a checkpoint of another identity is refused.
        state: tensors, numbers, text, and lists and dictionaries of these.
    """
    header = {"kind": KIND, "schema": SCHEMA, "identity": identity, "provenance": provenance()}
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        torch.save({"header": json.dumps(header), "state": state}, stream)


def load_checkpoint(path: str | Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a checkpoint, on the CPU.

    Raises:
        InputError: the file is damaged or the checkpoint of another fine-tuning.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        header, state = json.loads(content["header"]), content["state"]
        found = {key: header[key] for key in ("kind", "schema", "identity")}
    except (*READ_ERRORS, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is no readable checkpoint (damaged); delete it to start anew") from error
    wanted = {"kind": KIND, "schema": SCHEMA, "identity": identity}
    if found != wanted:
        raise InputError(
            f"{path} is the checkpoint of another fine-tuning ({first_difference(found, wanted)}); "
            "delete it to start anew, or go on with the settings it was begun with"
        )
    return state
