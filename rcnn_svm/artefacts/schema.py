"""Versions of file formats: every file says its own, and one that is not read here says what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain


def check_schema(
    path: str | os.PathLike, kind: str, found: Any, reads: int, remedy: str = "make it again", made_by: Any = None
) -> None:
    """Check that a file has the layout that is read here.

    Args:
        path: the file.
        kind: what it holds.
        found: version of its layout, as it says.
        reads: version that this version of rcnn-svm reads.
        remedy: what to do where it is an earlier one.
        made_by: version of rcnn-svm that wrote it, where the file says so.

    Raises:
        InputError: it has another; a later one asks for a later rcnn-svm.
    """
    if found == reads and not isinstance(found, bool):
        return
    if isinstance(found, int) and found > reads:
        writer = f"rcnn-svm {plain(made_by)}" if made_by else "a later rcnn-svm"
        remedy = f"{writer} wrote it: install that version or a later one (pip install --upgrade rcnn-svm)"
    raise InputError(f"{path} has {kind} schema {plain(found)}, this version of rcnn-svm reads {reads}; {remedy}")


def check_json_schema(
    path: str | os.PathLike, content: Mapping[str, Any], kind: str, reads: int, remedy: str = "make it again"
) -> None:
    """Check the version of a JSON file by its `schema`; files of before there was one have version 1.

    Arguments and errors as in `check_schema`.
    """
    provenance = content.get("provenance")
    made_by = provenance.get("rcnn_svm") if isinstance(provenance, Mapping) else None
    check_schema(path, kind, content.get("schema", 1), reads, remedy, made_by)
