"""The thresholds that a model carries, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rcnn_svm.words import counted, names_in_words, shortened


def thresholds_in_words(
    classes: Sequence[str], thresh: Sequence[float] | np.ndarray, chosen: Mapping[str, Any], limit: int = 5
) -> str:
    """Return thresholds that a model carries in a sentence or two.

    Args:
        classes: K names.
        thresh: K scores.
        chosen: how they were chosen, `Detector.thresholds_from`.
        limit: names of classes at most; with 0 nothing is said of those with the threshold of others.
    """
    least, most = int(np.argmin(thresh)), int(np.argmax(thresh))
    words = f"{thresh[least]:.2f}"
    if thresh[least] < thresh[most]:
        words += f" ({shortened(classes[least], 24)}) to {thresh[most]:.2f} ({shortened(classes[most], 24)})"
    if "images" not in chosen:  # someone's own
        return words
    words += f", the best F1 of each class on {counted(chosen['images'], 'image')}"
    if not chosen["of_this_model"]:
        words += " that this model learnt from too, of one that did not"
    if chosen["borrowed"] and limit:
        few = f"fewer than {chosen['min_objects']} objects say too little"
        if len(chosen["borrowed"]) == len(classes):
            words += f"; the median of all, as {few}"
        else:
            words += f"; of {names_in_words(chosen['borrowed'], limit)} the median of the others, as {few}"
    return words
