"""The negatives of every class with the highest scores at the end of mining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rcnn_svm.reports.html.album import Picks

# Negatives of a class that are shown.
PER_CLASS = 24


@dataclass(frozen=True)
class Hardest:
    """The hardest negatives of a class, the hardest first.

    Attributes:
        keys: (n, 2) int32, image and row.
        scores: (n,) float32, by the last training.
        num_support: negatives on or inside the margin, of which these are the first.
    """

    keys: np.ndarray
    scores: np.ndarray
    num_support: int

    @property
    def picks(self) -> Picks:
        """What the page wants before all of the film, the hardest the most."""
        return Picks(np.arange(len(self.keys)) - PER_CLASS, self.keys)


def hardest_negatives(index: int, record: Mapping[str, np.ndarray], most: int = PER_CLASS) -> Hardest:
    """Return the hardest negatives of a class, by its number, from the record of its training, at most so many."""
    of_class = np.flatnonzero(record["support"][:, 0] == index)
    order = of_class[np.argsort(-record["support_scores"][of_class], kind="stable")[:most]]
    return Hardest(record["support"][order, 1:], record["support_scores"][order], len(of_class))
