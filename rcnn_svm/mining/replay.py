"""A recorded mining once more, with the scores by which negatives came and left.

The record of a training has keys and no scores, which would be many times as long. Mining is deterministic and takes
seconds, so it is repeated with the recorded parameters on the same features while a watcher notes the scores. The keys
have to be the recorded ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.engine.watch import WatchedTraining
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.svm.class_weights import AUTO

# The highest scores of a training that are kept.
HARDEST = 12
# Histograms have bins of this width, in which the paper's thresholds are edges, and reach at least so far.
BIN, REACH = 0.1, 3.0


@dataclass(frozen=True)
class Scored:
    """Negatives of a class at some of its trainings.

    Attributes:
        update: (n,) int64, number of the training among those of the class.
        keys: (n, 2) int32, image and row.
        before: (n,) float32, score by the training before, or in the scan where it came since; 0 in the first image.
        after: (n,) float32, score by the training.
    """

    update: np.ndarray
    keys: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def __len__(self) -> int:
        return len(self.update)


@dataclass(frozen=True)
class ClassReplay:
    """The mining of one class in scores.

    Attributes:
        updates: (U,) int64, the rows of its trainings in the table `updates` of the record.
        entered: every negative that came, at the first training on it, in order.
        left: every negative that left, at the training after which it did.
        hardest: the negatives of every training with the highest scores, the highest first.
        positives, negatives: (U, B) int64, histograms of the scores by every training, before the easy ones leave.
    """

    updates: np.ndarray
    entered: Scored
    left: Scored
    hardest: Scored
    positives: np.ndarray
    negatives: np.ndarray


@dataclass(frozen=True)
class Replay:
    """A mining in scores.

    Attributes:
        rules: the four rules that it went by.
        edges: (B + 1,) float64, of the bins of all histograms; the outer bins hold what is beyond them.
        classes: the K classes of the detector.
    """

    rules: MiningRules
    edges: np.ndarray
    classes: tuple[ClassReplay, ...]


def replay_mining(
    detector: Detector,
    record: Mapping[str, np.ndarray],
    cache: FeatureCache,
    *,
    validate: FeatureCache | None = None,
    n_jobs: int = -1,
    name: str = "the model",
) -> Replay:
    """Repeat the mining of a detector and return its scores.

    Args:
        detector: a trained detector.
        record: the record of its training, as `Detector.load_history` returns it.
        cache: the features that it was trained on.
        validate: the features that it was validated on, if it was.
        n_jobs: threads that share the classes among them; -1 for every core.
        name: what to call the model in a message.

    Raises:
        InputError: the model was not mined, was mined on other features, or mining them again takes other regions.
    """
    identity = detector.training.get("identity", {})
    if not record or "parameters" not in identity or identity.get("training") == "random negatives":
        raise InputError(
            f"{name} has no record of a mining; give a model of the train stage without --random-negatives"
        )
    for given, key in ((cache, "cache"), (validate, "validate")):
        if (None if given is None else given.fingerprint) != identity.get(key):
            what, option = ("mined", "--features") if key == "cache" else ("validated", "--validate")
            more = ", and what was trained on beside it with --negatives and --mined" if key == "cache" else ""
            on = f"{given.name} ({given.fingerprint})" if given is not None else "none"
            raise InputError(
                f"{name} was {what} on the feature cache of fingerprint {identity.get(key)}, not on {on}; give that "
                f"one with {option}{more}"
            )
    miner = _miner(detector, n_jobs, name)
    notes = _Notes(histogram_edges(miner.rules))
    miner.fit(cache, validate=validate, folds=[], watch=notes)
    _check_same_keys(miner, record, detector, name)
    updates = record["updates"][:, 0]
    parts = [notes.of_class(index, np.flatnonzero(updates == index)) for index in range(len(detector.classes))]
    return Replay(miner.rules, notes.edges, tuple(parts))


def histogram_edges(rules: MiningRules) -> np.ndarray:
    """Return the edges (B + 1,) float64 of bins that hold -1, 1 and the thresholds of some rules."""
    thresholds = rules.hard_thresh, rules.evict_thresh
    low, high = (np.ceil(np.array([-min(thresholds) + 1, max(thresholds) + 1]).clip(REACH) / BIN)).astype(int)
    return np.arange(-low, high + 1) * BIN


def _miner(detector: Detector, n_jobs: int, name: str) -> HardNegativeMiner:
    """Return a miner with the parameters of a detector's training."""
    parameters = {**detector.training["identity"]["parameters"], "feat_norm_mean": detector.feat_norm_mean}
    if parameters.get("svm_C") == AUTO:
        parameters["svm_C"] = detector.training["svm_C"]
    try:
        return HardNegativeMiner(**parameters, n_jobs=n_jobs)
    except TypeError as error:
        raise InputError(f"{name} was mined by another version of rcnn-svm ({error}); train it again") from error


class _OfTraining(NamedTuple):
    """What `_Notes` keeps of one training; the names are those of `ClassReplay`."""

    entered: Scored
    left: Scored
    hardest: Scored
    positives: np.ndarray
    negatives: np.ndarray


class _Notes:
    """Watches a mining and keeps the scores of all that came or left, and of the hardest."""

    def __init__(self, edges: np.ndarray):
        self.edges = edges
        self._parts: dict[int, list[_OfTraining]] = defaultdict(list)

    def __call__(self, training: WatchedTraining) -> None:
        positives, first_new = training.num_positives, len(training.keys) - training.num_new
        hardest = positives + np.argsort(-training.scores[positives:], kind="stable")[:HARDEST]
        self._parts[training.index].append(
            _OfTraining(
                entered=self._scored(training, np.arange(first_new, len(training.keys))),
                left=self._scored(training, _rows_of(training.keys, training.evicted)),
                hardest=self._scored(training, hardest),
                positives=self._histogram(training.scores[:positives]),
                negatives=self._histogram(training.scores[positives:]),
            )
        )

    def of_class(self, index: int, updates: np.ndarray) -> ClassReplay:
        """Return the first `len(updates)` trainings of a class: with validation, later ones may have been undone."""
        parts = self._parts[index][: len(updates)]
        return ClassReplay(
            updates,
            entered=_joined([part.entered for part in parts]),
            left=_joined([part.left for part in parts]),
            hardest=_joined([part.hardest for part in parts]),
            positives=self._stacked([part.positives for part in parts]),
            negatives=self._stacked([part.negatives for part in parts]),
        )

    def _scored(self, training: WatchedTraining, rows: np.ndarray) -> Scored:
        update = np.full(len(rows), training.number)
        return Scored(update, training.keys[rows], training.before[rows], training.scores[rows])

    def _histogram(self, scores: np.ndarray) -> np.ndarray:
        return np.histogram(np.clip(scores, self.edges[0], self.edges[-1]), self.edges)[0]

    def _stacked(self, histograms: list[np.ndarray]) -> np.ndarray:
        return np.array(histograms, np.int64).reshape(-1, len(self.edges) - 1)


def _joined(parts: list[Scored]) -> Scored:
    """Return what was scored at several trainings, one after the other; nothing at none."""
    if not parts:
        return Scored(np.empty(0, np.int64), np.empty((0, 2), np.int32), *np.empty((2, 0), np.float32))
    return Scored(
        update=np.concatenate([part.update for part in parts]),
        keys=np.concatenate([part.keys for part in parts]),
        before=np.concatenate([part.before for part in parts]),
        after=np.concatenate([part.after for part in parts]),
    )


def _rows_of(keys: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Return where `some` (n, 2) of the keys (N, 2) are; every negative is there once, positives are none of them."""
    place = {key: row for row, key in enumerate(map(tuple, keys.tolist()))}
    return np.array([place[key] for key in map(tuple, some.tolist())], np.int64)


def _check_same_keys(miner: HardNegativeMiner, record: Mapping[str, np.ndarray], detector: Detector, name: str) -> None:
    """Check that a mining took the recorded keys, trained at the recorded images and let the same keys go."""
    for table, columns in (("added", 4), ("updates", 7), ("evicted", 3)):
        found, wanted = miner.history_.table(table)[:, :columns], record[table][:, :columns]
        if np.array_equal(found, wanted):
            continue
        same = (found[: len(wanted)] == wanted[: len(found)]).all(axis=1)
        longer = max(found, wanted, key=len)
        first = longer[len(same) if same.all() else np.argmin(same)]
        # What left is told by the number of the training, which is the same in both by now.
        index, _, image = record["updates"][first[0], :3] if table == "evicted" else first[:3]
        raise InputError(
            f"mining for {name} again takes other regions than its record has (first for class "
            f"{detector.classes[index]!r} at image {record['image_ids'][image]}): it was trained by another version of "
            "rcnn-svm or on another kind of processor; train it again here"
        )
