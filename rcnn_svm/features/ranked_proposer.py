"""The proposer of a ranker: one pass of its network over the whole image, then its boxes in their learnt order."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from rcnn_svm.boxes import clip_boxes
from rcnn_svm.features.image_maps import ImageMaps
from rcnn_svm.proposals.methods import RANKED
from rcnn_svm.proposals.ranker import ProposalRanker
from rcnn_svm.proposals.ranking import check_limits, limit_boxes, limit_settings


class RankedProposer:
    """Proposer: the boxes of a `ProposalRanker`, best first.

    Args:
        ranker: makes boxes from maps.
        maps: makes the maps; where None, the network that the ranker records is loaded with the first image.
        max_boxes, merge_iou: which boxes of an image to keep, as in `limit_boxes`.
        weights: weights file to take where the published weights are not those that the ranker was trained with.
        threads: how many call it at once.

    Raises:
        InputError: a limit without meaning.
    """

    def __init__(
        self,
        ranker: ProposalRanker,
        maps: ImageMaps | None = None,
        *,
        max_boxes: int | None = None,
        merge_iou: float | None = None,
        weights: str | os.PathLike | None = None,
        threads: int | None = None,
    ):
        check_limits(max_boxes, merge_iou)
        self._ranker = ranker
        self._maps = maps
        self._weights = weights
        self._threads = threads
        self._loading = threading.Lock()  # a network is loaded once, by the thread that comes first
        self.max_boxes = max_boxes
        self.merge_iou = merge_iou

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the boxes, JSON-able."""
        return {
            "method": RANKED,
            "ranker": self._ranker.digest,
            **limit_settings(self.max_boxes, self.merge_iou),
        }

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the proposals of an image.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (N, 4) float32, x1 y1 x2 y2, whole 0-based inclusive pixels, distinct, N >= 1.

        Raises:
            InputError: `image` is no such array, or the network cannot be loaded.
        """
        maps = self._source()(image)
        size = image.shape[:2]
        boxes = clip_boxes(np.floor(self._ranker.propose(maps, size) + 0.5), size)
        first = np.sort(np.unique(boxes, axis=0, return_index=True)[1])
        return limit_boxes(boxes[first], self.max_boxes, self.merge_iou)

    def _source(self) -> ImageMaps:
        with self._loading:
            if self._maps is None:
                from rcnn_svm.features.map_network import load_recorded_maps  # here, for it loads torch

                self._maps = load_recorded_maps(self._ranker.maps, self._weights, threads=self._threads)
            return self._maps
