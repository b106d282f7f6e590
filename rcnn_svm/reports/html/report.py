"""`Report`: what was hard for a detector, gathered and written as one page that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import array_digest, fingerprint, provenance, write_text
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.replay import replay_mining
from rcnn_svm.mining.suspects import Suspects, find_suspects
from rcnn_svm.reports.html.crops import lost_crops
from rcnn_svm.reports.html.facts import cache_facts, made_by, mining_facts, settings_text
from rcnn_svm.reports.html.found import Found
from rcnn_svm.reports.html.mined import Mined
from rcnn_svm.reports.html.page import PAGE, render_page


@dataclass(frozen=True, eq=False)
class Report:
    """What was hard for a detector, as one page: the film of its mining, its hardest negatives, its errors in a test.

    Args:
        detector: trained by mining.
        record: the record of its training, as `Detector.load_history` returns it.
        cache: the features that it was trained on.
        validate: the features that it was validated on, if it was.
        images: the training images, perhaps among others, for crops; the page has none where None.
        detections: what it found in test images, before or after non-maximum suppression; the page shows no test where
            None.
        test_images: the test images with their objects, exactly those of the detections.
        name: what the page calls the model.
        made: how the artefacts were made, by heading; see `made_by`.
        n_jobs: threads that mine; -1 for every core.

    Raises:
        InputError: there is no record of the training; or there are detections without test images, or the reverse.

    Examples:
        A model of the train stage with its features and images, written to report/report.html:

            cache = FeatureCache.open("cache/features/voc_2007_trainval.lite0.penultimate")
            Report.of_model("model.h5", cache, images=load_voc("VOCdevkit")).save("report")
    """

    detector: Detector
    record: Mapping[str, np.ndarray]
    cache: FeatureCache
    validate: FeatureCache | None = None
    images: ImageDatabase | None = None
    detections: Detections | None = None
    test_images: ImageDatabase | None = None
    name: str = "the model"
    made: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    n_jobs: int = -1

    def __post_init__(self) -> None:
        if "support" not in self.record:
            raise InputError(
                f"{self.name} has no record of its training, only the detector; give one of the train stage"
            )
        if (self.detections is None) != (self.test_images is None):
            raise InputError("detections need the test images with their objects, and these need detections; give both")

    @classmethod
    def of_model(cls, path: str | os.PathLike, cache: FeatureCache, **options: Any) -> Report:
        """Return the report of a model file.

        Args:
            path: what the train stage wrote, or assemble made of it.
            cache: the features that it was trained on.
            options: arguments of the class.

        Raises:
            InputError: the file is missing, damaged or no detector, or has no record of its training.
        """
        made = {"Model": made_by(path, Detector.KIND), **options.pop("made", {})}
        record = Detector.load_history(path)
        return cls(Detector.load(path), record, cache, name=Path(path).name, made=made, **options)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides what the page shows, JSON-able."""
        record = array_digest(*(self.record[name] for name in ("added", "updates", "evicted", "support")))
        return {
            "model": {"digest": self.detector.digest, "record": record, "training": self.detector.training},
            "features": self.cache.fingerprint,
            "images": None if self.images is None else self.images.name,
            "detections": None if self.detections is None else self.detections.fingerprint,
            "test_images": None if self.test_images is None else self.test_images.name,
        }

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the page into a folder and return its path.

        Raises:
            InputError: it cannot be written, or the mining cannot be repeated (see `replay_mining`).
        """
        path = Path(folder) / PAGE
        write_text(path, self.html())
        return path

    def html(self) -> str:
        """Return the page.

        Raises:
            InputError: the mining cannot be repeated (see `replay_mining`).
        """
        settings, made, data = self.settings, provenance(), self._mined.data
        return render_page(
            **self._mined.content,
            found=None if self._found is None else self._found.content,
            first_case=len(data["crops"]),
            title=f"{self.name}, {self.cache.name}",
            summary=self.summary,
            notes=self.notes,
            sections=self._sections,
            provenance={
                **self.made,
                "Training features": cache_facts(self.cache),
                "Mining": mining_facts(self.detector),
                "This report": {"command": made["command"], "fingerprint": fingerprint(settings)},
            },
            settings_text=settings_text(settings),
            time=made["time"],
            made_from={"settings": settings, "fingerprint": fingerprint(settings), "provenance": made},
            data={**data, "crops": [*data["crops"], *([] if self._found is None else self._found.crops[0])]},
        )

    @property
    def _sections(self) -> list[tuple[str, str]]:
        """Anchors and names of what the page has."""
        of_test = [] if self._found is None else [("errors", "Errors"), ("images", "Best and worst images")]
        of_mining = [("film", "Film"), ("hardest", "Hardest negatives"), ("suspects", "Suspects")]
        return [*of_mining, *of_test, ("settings", "Settings")]

    @property
    def summary(self) -> str:
        """The mining in a sentence."""
        came, left = len(self.record["added"]), len(self.record["evicted"])
        return (
            f"{len(self.detector.classes)} classes, {self.cache.num_images:,} images, {self.cache.num_rows:,} regions: "
            f"in {len(self.record['updates']):,} trainings {came:,} hard negatives came in and {left:,} left."
        )

    @property
    def notes(self) -> list[str]:
        """Sentences on what the page lacks."""
        of_test = [] if self._found is None else lost_crops(*self._found.crops, "errors")
        return [*self._mined.notes, *of_test]

    @cached_property
    def suspects(self) -> Suspects:
        """Hard negatives that look like objects nobody labelled.

        Raises:
            InputError: see `find_suspects`.
        """
        return find_suspects(self.detector, self.record, self.cache, name=self.name)

    @cached_property
    def _found(self) -> Found | None:
        if self.detections is None or self.test_images is None:
            return None
        return Found(self.detections, self.test_images)

    @cached_property
    def _mined(self) -> Mined:
        random = self.detector.training.get("identity", {}).get("training") == "random negatives"
        replay = None
        if not random:
            replay = replay_mining(
                self.detector, self.record, self.cache, validate=self.validate, n_jobs=self.n_jobs, name=self.name
            )
        return Mined(self.detector.classes, self.record, replay, self.cache, self.suspects, self.images)
