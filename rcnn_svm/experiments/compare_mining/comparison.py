"""What mining is worth: SVMs and softmax heads trained on the same features with different examples, and tested."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import fingerprint, provenance, reading, write_text
from rcnn_svm.artefacts.identity import already_done
from rcnn_svm.artefacts.schema import check_json_schema
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.detection.bbox_correction import correct_detections
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import check_features, detect_in_cache
from rcnn_svm.evaluation.voc import align, evaluate_detections
from rcnn_svm.fast_rcnn.head_training import RoIHeadTrainer
from rcnn_svm.fast_rcnn.roi_head import RoIHead
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.random_negatives import RandomNegativeTrainer, negatives_of_model

KIND = "mining comparison"
SCHEMA = 1
SOFTMAX = "softmax"
# Name and what the table calls it, in its order.
METHODS = {
    "svm-random": "SVM, random negatives",
    "svm-hard": "SVM, hard negatives",
    "softmax-random": "softmax, random",
    "softmax-heuristic": "softmax, Fast R-CNN's heuristic",
    "softmax-ohem": "softmax, OHEM",
    "softmax-ratio": "softmax, SSD's 3:1",
    "softmax-all": "softmax, no sampling",
}
# The random negatives of a seed are as many as its hard ones, which must be there before.
ORDER = ("svm-hard", *(name for name in METHODS if name != "svm-hard"))


@dataclass(frozen=True)
class MiningComparison:
    """One table row after the other: every method with every seed.

    Args:
        train: features to train on.
        test: features to test on, of the same kind.
        database: the test images with their ground truth.
        folder: folder of models and results; what is found there is not done again.
        iterations: steps of every softmax head.
        seeds: one training of every method for each.
        overwrite: replace results that were made with other settings.
    """

    train: FeatureCache
    test: FeatureCache
    database: ImageDatabase
    folder: Path
    iterations: int
    seeds: tuple[int, ...]
    overwrite: bool = False

    def run(self, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """Train, test and record what is not done yet.

        Args:
            say: takes a sentence about every training.

        Returns:
            A result of every method and seed: `method`, `seed`, `map11`, `map_area`, both with boxes corrected or
            None, `seconds` of the training, `negatives` of an SVM of a class on average or None.

        Raises:
            InputError: the folder holds a comparison with other settings, or caches that do not fit.
        """
        self._check()
        return [self._result(method, seed, say) for seed in self.seeds for method in ORDER]

    def histories(self, method: str) -> list[dict[str, np.ndarray]]:
        """Return the training histories of a softmax method, one per seed; none for an SVM."""
        return [RoIHead.load_history(self._model(method, seed)) for seed in self.seeds if method.startswith(SOFTMAX)]

    def _check(self) -> None:
        """Find out before the first training whether its result can be tested."""
        K = len(self.train.classes)
        untrained = Detector(
            classes=self.train.classes,
            W=np.zeros((self.train.dim, K), np.float32),
            B=np.zeros(K, np.float32),
            feat_norm_mean=1.0,
            feature_settings=self.train.settings,
        )
        check_features(untrained, self.test, "what learns from the training cache", f"the cache of {self.test.name}")
        none = np.empty(0, np.int32)
        nothing = Detections(self.test.image_ids, self.train.classes, none, none, np.empty((0, 4)), none, none)
        align(nothing, self.database)

    def _result(self, method: str, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
        path = self.folder / "rows" / f"{method}.seed{seed}.json"
        identity = self._identity(method, seed)
        if already_done(path, lambda: _read(path)["identity"], identity, overwrite=self.overwrite):
            return _read(path)["result"]
        say(f"{METHODS[method]}, seed {seed}:")
        result = {"method": method, "seed": seed, **self._train_and_test(method, seed)}
        content = {
            "kind": KIND,
            "schema": SCHEMA,
            "identity": identity,
            "fingerprint": fingerprint(identity),
            "result": result,
            "provenance": provenance(),
        }
        write_text(path, json.dumps(content, indent=1) + "\n")
        return result

    def _identity(self, method: str, seed: int) -> dict[str, Any]:
        return {
            "method": method,
            "seed": seed,
            "iterations": self.iterations if method.startswith(SOFTMAX) else None,
            "train": self.train.fingerprint,
            "test": self.test.fingerprint,
            "classes": list(self.database.classes),
            "ground_truth": self._ground_truth,
        }

    @cached_property
    def _ground_truth(self) -> str:
        """Digest of the images and objects that the results are measured on; they may change while the cache stays."""
        database = self.database
        return fingerprint([[name, database.source_digest(i)] for i, name in enumerate(database.image_ids)])

    def _train_and_test(self, method: str, seed: int) -> dict[str, Any]:
        trainer = self._trainer(method, seed)
        began = time.monotonic()
        trainer.fit(self.train)
        seconds = time.monotonic() - began
        trainer.save(self._model(method, seed))
        model: Detector | RoIHead = trainer.head_ if isinstance(trainer, RoIHeadTrainer) else trainer.detector_
        found = detect_in_cache(self.test, model)
        result = {"seconds": seconds, "corrected_map11": None, "corrected_map_area": None}
        result["map11"], result["map_area"] = self._evaluate(found)
        result["negatives"] = None
        if isinstance(trainer, RoIHeadTrainer):
            corrected = self._evaluate(correct_detections(found, trainer.head_, self.test))
            result["corrected_map11"], result["corrected_map_area"] = corrected
        else:
            result["negatives"] = float(np.mean(negatives_of_model(self._model(method, seed), model.classes)))
        return result

    def _trainer(self, method: str, seed: int) -> HardNegativeMiner | RandomNegativeTrainer | RoIHeadTrainer:
        """Return the estimator of a method; every one trains in a single thread."""
        family, _, examples = method.partition("-")
        if family == SOFTMAX:
            return RoIHeadTrainer(sampler=examples, iterations=self.iterations, seed=seed)
        if examples == "hard":
            return HardNegativeMiner(n_jobs=1, seed=seed)
        hard = negatives_of_model(self._model("svm-hard", seed), self.train.classes)
        return RandomNegativeTrainer(num_negatives=hard, n_jobs=1, seed=seed)

    def _evaluate(self, detections: Detections) -> tuple[float, float]:
        result = evaluate_detections(align(detections, self.database), self.database)
        return result.map11, result.map_area

    def _model(self, method: str, seed: int) -> Path:
        return self.folder / "models" / f"{method}.seed{seed}.h5"


def _read(path: Path) -> dict[str, Any]:
    """Return what a result file holds; InputError if it is damaged."""
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        check_json_schema(path, content, KIND, SCHEMA, "delete it to train again")
        return {key: content[key] for key in ("identity", "result")}
