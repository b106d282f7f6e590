"""What the other models are: box regressor, proposal ranker, Fast R-CNN's heads and whole networks, fine-tuned ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import reading
from rcnn_svm.artefacts.header import Header, read_arrays
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.proposals.ranker import ProposalRanker
from rcnn_svm.reports.bbox import corrections_table
from rcnn_svm.reports.inspection.result import Inspection, Section, header_facts, header_record
from rcnn_svm.reports.settings_in_words import data_in_words, features_in_words, network_in_words, training_in_words
from rcnn_svm.words import counted, names_in_words


def inspect_regressor(header: Header) -> Inspection:
    """Return what a box regressor's file holds.

    Raises:
        InputError: the file is damaged.
    """
    regressor = BoxRegressor.load(header.path)
    with reading(header.path):
        facts = {
            **header_facts(header),
            "trained on": data_in_words(regressor.training),
            "features": _features(regressor),
            "settings": training_in_words(regressor.training),
            "classes": names_in_words(regressor.classes),
        }
        record = {**header_record(header), "dim": regressor.dim, "digest": regressor.digest}
        sections = (Section("classes", corrections_table(regressor)),) if regressor.training else ()
    return Inspection(header.kind, header.path, facts, record, sections)


def inspect_ranker(header: Header) -> Inspection:
    """Return what a proposal ranker's file holds.

    Raises:
        InputError: the file is damaged.
    """
    ranker = ProposalRanker.load(header.path)
    with reading(header.path):
        stages, dim, hidden = ranker.hidden_W.shape
        facts = {
            **header_facts(header),
            "trained on": data_in_words(ranker.training),
            "maps": network_in_words(ranker.maps),
            "stages": f"{stages}, each from {dim} numbers of a box by {hidden} hidden units to an expected IoU and a "
            f"correction; {_num_weights(header):,} weights",
            "settings": training_in_words(ranker.training),
        }
    return Inspection(header.kind, header.path, facts, {**header_record(header), "digest": ranker.digest})


def inspect_head(header: Header) -> Inspection:
    """Return what the file of a RoI head or of a Fast R-CNN network holds; no network is built.

    Raises:
        InputError: the file is damaged.
    """
    history, settings = read_arrays(header.path, "history"), header.settings
    with reading(header.path):
        training = settings["training"]
        network = {"network": network_in_words(settings["network"])} if "network" in settings else {}
        features = {}
        if "features" in settings:
            norm = f", mean norm {settings['feat_norm_mean']:.4g}"
            features["features"] = features_in_words(settings["features"], f"{_input_dim(header)}-d") + norm
        facts = {
            **header_facts(header),
            "trained on": data_in_words(training),
            **features,
            **network,
            "settings": training_in_words(training),
            "classes": f"{len(settings['classes'])}: {names_in_words(settings['classes'])}",
            "weights": f"{_num_weights(header):,} numbers",
            **_losses(history),
        }
        record = {**header_record(header), "num_weights": _num_weights(header), "history": _losses_record(history)}
    return Inspection(header.kind, header.path, facts, record)


def _features(model: Any) -> str:
    made = features_in_words(model.feature_settings, f"{model.dim}-d")
    return f"{made}, mean norm {model.feat_norm_mean:.4g}"


def _input_dim(header: Header) -> int:
    """Return D of a RoI head: the length of the input of its first layer."""
    return header.arrays["hidden_W"][0][0]


def _num_weights(header: Header) -> int:
    """Return how many numbers a model has, its history left out."""
    return sum(math.prod(shape) for name, (shape, _) in header.arrays.items() if not name.startswith("history/"))


def _losses(history: dict[str, np.ndarray]) -> dict[str, str]:
    record = _losses_record(history)
    if not record:
        return {}
    taken, first, last = (record[name] for name in ("boxes_taken", "first", "last"))
    return {
        "steps": f"{record['steps']:,}, {counted(round(taken / record['steps']), 'box', 'boxes')} each, "
        f"{100 * record['foreground'] / max(taken, 1):.0f} % on objects",
        "loss": f"classes {first[0]:.3f} in the first tenth, {last[0]:.3f} in the last; boxes {first[1]:.3f} and "
        f"{last[1]:.3f}",
    }


def _losses_record(history: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return how a descent went, JSON-able: steps, boxes, and the mean losses of its first tenth and its last."""
    steps = history.get("steps")
    if steps is None or not len(steps):
        return {}
    tenth = max(len(steps) // 10, 1)
    taken, foreground = steps[:, 2:4].sum(axis=0, dtype=np.float64).tolist()
    return {
        "steps": len(steps),
        "boxes_taken": taken,
        "foreground": foreground,
        "first": steps[:tenth, :2].mean(axis=0, dtype=np.float64).tolist(),
        "last": steps[-tenth:, :2].mean(axis=0, dtype=np.float64).tolist(),
        "probes": history["probes"].tolist(),
    }
