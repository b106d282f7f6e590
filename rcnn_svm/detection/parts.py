"""A test of an image set that several processes share: parts of consecutive images, and what joins them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rcnn_svm.artefacts.files import parts_folder, remove_parts
from rcnn_svm.artefacts.identity import check_still_there
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_set import candidates, check_features, join_candidates, scored_images
from rcnn_svm.detection.interfaces import RegionScorer
from rcnn_svm.errors import InputError

IMAGES = 100  # of a part: what an interruption can lose


class TestParts:
    """The parts of a test, files in a folder.

    Args:
        path: the file of all detections, which the folder of parts is beside.
        cache: regions and features of the image set.
        detector: scores the proposals.
        settings: as `run_settings` returns them.
    """

    __test__ = False  # of pytest

    def __init__(self, path: Path, cache: FeatureCache, detector: RegionScorer, settings: dict[str, Any]):
        self.folder = parts_folder(path, settings)
        self._cache, self._detector, self._settings = cache, detector, settings
        starts = range(0, cache.num_images, IMAGES)
        self._parts = {
            self.folder / f"{start:07d}.h5": range(cache.num_images)[start : start + IMAGES] for start in starts
        }

    def compute(self, part: tuple[int, int]) -> None:
        """Compute every n-th part, beginning with the i-th, that is not there yet; `part` is (i, n).

        Raises:
            InputError: as `detect_in_cache`.
        """
        check_features(self._detector, self._cache)
        for path, images in list(self._parts.items())[part[0] :: part[1]]:
            if not self._is_complete(path):
                image_ids = [self._cache.image_ids[number] for number in images]
                scored = scored_images(self._cache, self._detector, images)
                candidates(scored, image_ids, self._detector.classes, self._settings).save(path)

    def join(self) -> Detections:
        """Return what `detect_in_cache` returns, from all parts.

        Raises:
            InputError: a part is missing or damaged.
        """
        check_still_there(*self._parts)
        return join_candidates([Detections.load(path) for path in self._parts], self._cache.image_ids, self._settings)

    def remove(self) -> None:
        """Remove the parts, whose whole is there."""
        remove_parts(self.folder)

    def _is_complete(self, path: Path) -> bool:
        try:
            return Detections.load(path).settings == self._settings
        except InputError:
            return False
