"""What a watcher sees of a training of a class: its examples with their scores before and after.

The record (`history.py`) has keys alone. A watcher is called while mining goes on and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WatchedTraining:
    """One training of a class, after its easy negatives have left.

    Attributes:
        index: number of the class in the training.
        number: which of its trainings it is, from 0.
        num_positives: so many of the examples are positives; they come first.
        num_new: so many of the examples, the last ones, came since the training before.
        keys: (N, 2) int32, image and row of the examples that it was trained on.
        before: (N,) float32, their scores by the training before; of those that came since, in the scan. What the first
            image brings was not scored: it has 0 there, and so have the positives before the first training.
        scores: (N,) float32, their scores by this training.
        evicted: (n, 2) int32, keys of the negatives that left after it.
    """

    index: int
    number: int
    num_positives: int
    num_new: int
    keys: np.ndarray
    before: np.ndarray
    scores: np.ndarray
    evicted: np.ndarray


# Called from the thread that mines the class: its trainings come in order, classes do not.
Watch = Callable[[WatchedTraining], None]
