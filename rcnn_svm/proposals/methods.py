"""Proposers by name, and from the settings recorded with what they made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain

METHODS = ("fast", "quality", "opencv-fast", "opencv-quality", "sliding")
RANKED = "ranked"  # the method that proposals of a ranker record
# Fewer objects teach a ranker no order: with 50, in 20 images, it is no better than selective search's own.
MIN_OBJECTS = 50

Proposer = Callable[[np.ndarray], np.ndarray]


class RecordedProposer(Protocol):
    """A proposer that says what decides its boxes."""

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the boxes, JSON-able."""

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """Return the proposals, (N, 4) float32, of an image, (H, W, 3) uint8 RGB, best first."""


def make_proposer(settings: Mapping[str, Any]) -> RecordedProposer:
    """Return the proposer that settings describe.

    Args:
        settings: `method`, one of METHODS, and the keyword arguments of its class where they are not the
            defaults; what a `ProposalSet` records besides (versions, image set) is ignored.

    Raises:
        InputError: the boxes came from a file, or the method is unknown.
    """
    method = settings.get("method")
    limits: dict[str, Any] = {name: settings.get(name) for name in ("max_boxes", "merge_iou")}
    if method == "sliding":
        from rcnn_svm.proposals.sliding_window import SlidingWindow

        grid: dict[str, Any] = {
            name: settings[name] for name in ("scales", "aspect_ratios", "stride") if name in settings
        }
        return SlidingWindow(**grid, **limits)
    if method in METHODS:
        # Imported here, so that the command line knows the names without loading OpenCV.
        from rcnn_svm.proposals.selective_search import SelectiveSearch

        return SelectiveSearch(method, **limits)
    if method == RANKED:
        raise InputError(
            "the proposals were made by a ranker, which the settings only name; assemble it into the model (assemble "
            f"--ranker FILE), or choose how to make others with --method: {', '.join(METHODS)}"
        )
    origin = f"were read from {settings['source']}" if "source" in settings else f"have method {plain(method)!r}"
    raise InputError(
        f"the proposals {origin}, so none can be made like them for another image; "
        f"choose how with --method: {', '.join(METHODS)}"
    )
