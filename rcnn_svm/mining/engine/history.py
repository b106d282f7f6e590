"""What happened while mining: every hard negative added, every training, every eviction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from rcnn_svm.notebook import html_table, sparkline
from rcnn_svm.words import counted

# name: (columns, dtype), in the order of the file format
TABLES = {
    "added": (4, np.int32),
    "scan": (5, np.int32),
    "updates": (8, np.int32),
    "update_loss": (4, np.float64),
    "update_gap": (1, np.float64),
    "evicted": (3, np.int32),
    "budget": (5, np.int32),
    "convergence": (4, np.float64),
    "selection": (3, np.float64),
    "validation": (3, np.float64),
}


@dataclass(repr=False)
class MiningHistory:
    """The record of a training, as tables that grow.

    All indices are 0-based; a key is (image, row of the image).

    Tables (see `table`):
        added (A, 4): class, epoch, image, row of every negative added, in order.
        scan (S, 5): class, epoch, image, candidates (regions that pass the overlap and score tests), added;
            the difference are keys that were in the cache already, or for which a memory budget left no room.
        updates (U, 8): class, epoch, image, positives, negatives trained on, negatives left after eviction,
            negatives added since the class's last update, solver passes.
        update_loss (U, 4): loss of the positives, of the negatives, regulariser, total; before the eviction.
        update_gap (U, 1): relative duality gap proven by the solver, NaN from a solver that proves none.
        evicted (E, 3): update, image, row.
        budget (M, 5): class, epoch, image, hard negatives left out, negatives evicted although not easy: whenever
            a memory budget bound.
        convergence (V, 4): class, epoch, objective on the cache, objective on all data, after complete passes.
        selection (S, 3): C, held-out mean average precision, seconds of training: where C was chosen from data.
        validation (P, 3): class, epoch, held-out average precision, after complete passes: where a cache to validate on
            was given. The other tables then end with the class's best pass, whose detector is kept.
    """

    parts: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in TABLES})

    def __repr__(self) -> str:
        evicted = sum(map(len, self.parts["evicted"]))
        negatives, updates = counted(self.num_added, "hard negative"), counted(self.num_updates, "update")
        return f"MiningHistory({negatives} added, {updates}, {evicted:,} evicted)"

    def _repr_html_(self) -> str:
        """Return what happened to every class, by its number, for a notebook."""
        updates, loss = self.table("updates"), self.table("update_loss")[:, 3]
        classes = np.concatenate([self.table("added")[:, 0], updates[:, 0]])
        rows = []
        for index, record in enumerate(class_records(self.tables(), int(classes.max(initial=-1)) + 1)):
            counts = [f"{record[name]:,}" for name in ("negatives", "evicted", "updates")]
            if record["updates"]:
                own = updates[:, 0] == index
                size = sparkline(updates[own, 4].tolist(), f"negatives that class {index} was trained on, by update")
                objective = sparkline(loss[own].tolist(), f"objective of class {index}, by update")
                rows.append([index, record["positives"], *counts, size, objective, f"{record['loss']:.4g}"])
            else:
                rows.append([index, "", *counts, "", "", "not trained"])
        header = ["class", "positives", "hard negatives", "evicted", "updates", "set", "objective", "at last"]
        return html_table(repr(self), header, rows, "classes")

    def record(self, name: str, rows: np.ndarray | list) -> None:
        """Append rows to a table."""
        columns, dtype = TABLES[name]
        self.parts[name].append(np.asarray(rows, dtype).reshape(-1, columns))

    def table(self, name: str) -> np.ndarray:
        """Return a whole table."""
        columns, dtype = TABLES[name]
        joined = np.concatenate([np.empty((0, columns), dtype), *self.parts[name]])
        self.parts[name] = [joined]
        return joined

    def tables(self) -> dict[str, np.ndarray]:
        """Return every table by name."""
        return {name: self.table(name) for name in TABLES}

    def take_over(self, others: Sequence[MiningHistory]) -> None:
        """Append what others recorded, in the order of epochs, images and classes, and empty them.

        Args:
            others: records of disjoint classes, each in order, none of them earlier than this one's end.
        """
        tables = {name: [other.table(name) for other in others] for name in TABLES}
        offsets = np.cumsum([0] + [len(table) for table in tables["updates"]])
        for table, offset in zip(tables["evicted"], offsets[:-1], strict=True):
            table[:, 0] += offset
        joined = {name: np.concatenate(parts) for name, parts in tables.items()}
        for name in ("added", "scan", "budget"):
            table = joined[name]
            self.record(name, table[np.lexsort((table[:, 0], table[:, 2], table[:, 1]))])
        convergence = joined["convergence"]
        self.record("convergence", convergence[np.lexsort((convergence[:, 0], convergence[:, 1]))])
        updates = joined["updates"]
        order = np.lexsort((updates[:, 0], updates[:, 2], updates[:, 1]))
        number = np.empty(len(order), np.int64)
        number[order] = np.arange(len(order)) + self.num_updates
        joined["evicted"][:, 0] = number[joined["evicted"][:, 0]]
        self.record("evicted", joined["evicted"][np.argsort(joined["evicted"][:, 0], kind="stable")])
        for name in ("updates", "update_loss", "update_gap"):
            self.record(name, joined[name][order])
        for other in others:
            other.parts = {name: [] for name in TABLES}

    def keep_until(self, last: np.ndarray) -> None:
        """Forget what came after a class's last pass, all but its validation, as if mining had ended there.

        Args:
            last: (K,) int, the number of the last pass to keep of every class.
        """
        tables = {name: self.table(name) for name in ("added", "scan", "updates", "budget", "convergence")}
        stays = {name: table[:, 1] <= last[table[:, 0].astype(np.int64)] for name, table in tables.items()}
        for name in ("update_loss", "update_gap"):
            tables[name], stays[name] = self.table(name), stays["updates"]
        evicted = self.table("evicted").copy()
        tables["evicted"], stays["evicted"] = evicted, stays["updates"][evicted[:, 0]]
        evicted[:, 0] = (np.cumsum(stays["updates"]) - 1)[evicted[:, 0]]
        for name, table in tables.items():
            self.parts[name] = [table[stays[name]]]

    @property
    def num_updates(self) -> int:
        """Trainings so far, of all classes."""
        return sum(map(len, self.parts["updates"]))

    @property
    def num_added(self) -> int:
        """Hard negatives added so far, to all classes."""
        return sum(map(len, self.parts["added"]))


def class_records(tables: Mapping[str, np.ndarray], num_classes: int) -> list[dict[str, Any]]:
    """Return what a training did of every class, JSON-able; None for what a class that was not trained has not.

    Args:
        tables: those of a `MiningHistory`, by name.
        num_classes: K.
    """
    updates = tables["updates"]
    added = np.bincount(tables["added"][:, 0], minlength=num_classes)
    left = np.bincount(updates[tables["evicted"][:, 0], 0], minlength=num_classes)
    records = []
    for index in range(num_classes):
        of_class = np.flatnonzero(updates[:, 0] == index)
        last = of_class[-1] if len(of_class) else None
        records.append(
            {
                "positives": None if last is None else int(updates[last, 3]),
                "negatives": int(added[index]),
                "evicted": int(left[index]),
                "updates": len(of_class),
                "loss": None if last is None else float(tables["update_loss"][last, 3]),
                "gap": None if last is None else float(tables["update_gap"][last, 0]),
            }
        )
    return records


def training_record(
    history: MiningHistory, negatives: np.ndarray, support: tuple[np.ndarray, np.ndarray], image_ids: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the record of a training as a detector's file keeps it, by table.

    Args:
        history: what happened.
        negatives: (N, 3) int32, class, image and row of the negatives at the end.
        support: (S, 3) int32 and (S,) float32, class, image, row and score of those on or inside the margin.
        image_ids: identifiers of the images that keys count.
    """
    keys, scores = support
    return {
        **history.tables(),
        "negatives": negatives,
        "support": keys,
        "support_scores": scores,
        "image_ids": np.array(image_ids, h5py.string_dtype()),
    }
