"""What trainings leave besides models: checkpoints, and the weights of fine-tuned networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.artefacts.header import Header
from rcnn_svm.finetune.record import KIND, WEIGHTS, load_record
from rcnn_svm.reports.inspection.result import Inspection, arrays_in_words, header_facts, header_record, made_by
from rcnn_svm.reports.settings_in_words import data_in_words, network_in_words, training_in_words
from rcnn_svm.words import counted, names_in_words, size_in_words


def inspect_checkpoint(header: Header) -> Inspection:
    """Return what a checkpoint holds.

    Raises:
        InputError: the file is damaged.
    """
    done, arrays = Checkpoint(header.path, header.settings).load()
    facts = {
        **header_facts(header),
        "reached": _reached(done, arrays),
        "trained on": data_in_words({"identity": header.settings}),
        "settings": training_in_words({"identity": header.settings}),
        "arrays": f"{len(arrays)}: {arrays_in_words(header, ())}",
    }
    return Inspection(header.kind, header.path, facts, {**header_record(header), "done": done})


def _reached(done: int, arrays: Mapping[str, np.ndarray]) -> str:
    """Return how far a training came, by what it keeps."""
    if "added" in arrays:
        added, updates = counted(len(arrays["added"]), "hard negative"), counted(len(arrays["updates"]), "update")
        return f"{counted(done, 'image')} mined, counted in all passes; {added} and {updates} so far"
    if "sums" in arrays:
        return counted(done, "class", "classes")
    return counted(done, "step")


def inspect_finetuned(folder: Path) -> Inspection:
    """Return what the weights of a fine-tuned network are, by the record beside them.

    Raises:
        InputError: a file is missing, damaged, or does not belong to the other.
    """
    record = load_record(folder / WEIGHTS)
    first, last = record.log[0], record.log[-1]
    num_bytes = (folder / WEIGHTS).stat().st_size
    facts = {
        **made_by(record.provenance),
        "size": f"{size_in_words(num_bytes)} ({WEIGHTS}), SHA-256 {record.weights_sha256[:16]}",
        "trained on": data_in_words({"identity": record.identity}),
        "network": network_in_words(record.network),
        "settings": training_in_words({"identity": record.identity}),
        "classes": f"{len(record.classes)}: {names_in_words(record.classes)}",
        "loss": f"{first['loss']:.3f} up to step {first['iteration']:,}, {last['loss']:.3f} up to step "
        f"{last['iteration']:,}",
        "accuracy": f"{100 * last['accuracy']:.1f} % of the windows at last, of those on objects "
        f"{100 * last['foreground_accuracy']:.1f} %",
    }
    content = {
        "made_by": record.provenance,
        "bytes": num_bytes,
        "weights_sha256": record.weights_sha256,
        "settings": record.identity,
        "log": record.log,
    }
    return Inspection(KIND, folder, facts, content)
