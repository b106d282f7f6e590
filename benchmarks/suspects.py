#!/usr/bin/env python3
"""Are the suspects worth a look? Labels are removed, and looked for among the first of every ranking.

  python -m benchmarks.suspects --features DIR

Removes a tenth of the labels of every class, drawn by a seed, from a feature cache in memory (difficult objects apart):
their rows go, and what is left of the objects are proposals that nobody labelled. Then it mines, ranks the hard
negatives of every class, and counts the removed objects among the first. A box finds the object that it overlaps by
half, once; a second box on it is a miss, and so is an object that nobody ever labelled.

Beside the suspects stand the hard negatives by their score at the end of mining; the same, one for each place (those
that overlap a better one by more than 0.3 left out); and in random order.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.relabelled import relabelled
from rcnn_svm.boxes import iou_matrix, nms
from rcnn_svm.cache import FeatureCache
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.voc import Objects, objects_in_cache
from rcnn_svm.mining.engine.history import training_record
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.suspects import find_suspects
from rcnn_svm.paper import HIT_IOU, NMS_THRESHOLD
from rcnn_svm.reports.table import Table, percent

SHARE = 0.1
FIRST = (5, 10, 20, 50)
SHUFFLES = 20
RANKINGS = ("suspects", "final score", "final score, one a place", "random order")


def drawn_labels(objects: Objects, num_classes: int, seed: int) -> np.ndarray:
    """Return which objects lose their label, (G,) bool: a tenth of every class, at least one."""
    rng = np.random.default_rng(seed)
    gone = np.zeros(len(objects.cls), bool)
    for index in range(num_classes):
        candidates = np.flatnonzero((objects.cls == index) & ~objects.difficult)
        count = max(round(SHARE * len(candidates)), 1)
        gone[rng.choice(candidates, min(count, len(candidates)), replace=False)] = True
    return gone


def without_labels(cache: FeatureCache, gone: np.ndarray) -> FeatureCache:
    """Return a cache in memory in which some objects were never labelled.

    Args:
        cache: the regions.
        gone: (G,) bool, which of its objects, in the order of the cache.
    """

    def labels() -> Iterator[np.ndarray]:
        first = 0
        for image in range(cache.num_images):
            regions = cache.block(image)
            label, count = regions.label.copy(), int(regions.gt.sum())  # ground truth comes first
            label[:count][gone[first : first + count]] = 0
            first += count
            yield label

    return relabelled(cache, range(cache.num_images), labels(), cache.classes, cache.name)


def found_in_order(image: np.ndarray, box: np.ndarray, gone_image: np.ndarray, gone_box: np.ndarray) -> np.ndarray:
    """Return which boxes of a ranking, (n,) images and (n, 4) boxes, find a removed object first, (n,) bool."""
    hits, found = np.zeros(len(image), bool), set()
    for place, number in enumerate(image):
        objects = np.flatnonzero(gone_image == number)
        if len(objects):
            overlap = iou_matrix(box[place], gone_box[objects])[0]
            best = int(objects[overlap.argmax()])
            hits[place] = overlap.max() >= HIT_IOU and best not in found
            if hits[place]:
                found.add(best)
    return hits


def rankings(miner: HardNegativeMiner, cache: FeatureCache) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Return images and boxes of every class in the order of each ranking but the random one."""
    support, scores = miner.support_
    boxes = np.concatenate([block.boxes for block in cache.blocks()])[cache.image_start[support[:, 1]] + support[:, 2]]
    record = training_record(miner.history_, miner.negatives_, miner.support_, miner.image_ids_)
    suspects = find_suspects(miner.detector_, record, cache)
    orders: dict[str, list] = {name: [] for name in RANKINGS[:3]}
    for index in range(len(cache.classes)):
        of_class = suspects.keys[:, 0] == index
        orders["suspects"].append((suspects.keys[of_class, 1], suspects.box[of_class]))
        rows = np.flatnonzero(support[:, 0] == index)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        orders["final score"].append((support[rows, 1], boxes[rows]))
        images = [rows[support[rows, 1] == image] for image in np.unique(support[rows, 1])]
        kept = np.concatenate([of_image[nms(boxes[of_image], scores[of_image], NMS_THRESHOLD)] for of_image in images])
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        orders["final score, one a place"].append((support[kept, 1], boxes[kept]))
    return orders


def measure(cache: FeatureCache, seed: int) -> dict[str, list[tuple[int, list[np.ndarray]]]]:
    """Remove labels, mine and rank.

    Returns:
        By ranking, for every class, how many labels were removed, and which places of its list find one: one order, or
        all shuffles.
    """
    objects = objects_in_cache(cache, cache.classes)
    gone = drawn_labels(objects, len(cache.classes), seed)
    fewer = without_labels(cache, gone)
    # As `run` trains on own images.
    ranked = rankings(HardNegativeMiner(pos_loss_weight="auto").fit(fewer), fewer)
    rng = np.random.default_rng(seed)
    ranked["random order"] = ranked["final score"]
    outcomes: dict[str, list] = {name: [] for name in RANKINGS}
    for name in RANKINGS:
        for index, (image, box) in enumerate(ranked[name]):
            removed = gone & (objects.cls == index)
            shuffles = [rng.permutation(len(image)) for _ in range(SHUFFLES)]
            orders = shuffles if name == "random order" else [np.arange(len(image))]
            hits = [found_in_order(image[o], box[o], objects.image[removed], objects.box[removed]) for o in orders]
            outcomes[name].append((int(removed.sum()), hits))
    return outcomes


def precision_recall(outcomes: list[tuple[int, list[np.ndarray]]], first: int | None) -> str:
    """Return precision and recall in percent, of the first of every class; of as many as were removed where None."""
    listed = found = removed = 0
    for count, orders in outcomes:
        among = count if first is None else first
        listed += min(among, len(orders[0]))
        found += np.mean([hits[:among].sum() for hits in orders])
        removed += count
    return f"{percent(found / listed)} / {percent(found / removed)}"


def run(cache: FeatureCache, seeds: list[int]) -> None:
    """Measure with every seed and print the table."""
    outcomes: dict[str, list] = {name: [] for name in RANKINGS}
    for seed in seeds:
        start = time.perf_counter()
        for name, found in measure(cache, seed).items():
            outcomes[name] += found
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    header = ("the first of every class", *map(str, FIRST), "as many as removed")
    rows = [[name, *(precision_recall(outcomes[name], first) for first in (*FIRST, None))] for name in RANKINGS]
    removed = sum(count for count, _ in outcomes["suspects"])
    notes = [
        f"Precision / recall in percent. {removed} labels removed, {percent(SHARE, 0)} % of each class, by seed "
        f"{', '.join(map(str, seeds))}; {cache.num_images} images of {cache.name}."
    ]
    print(Table(header, rows, notes=notes).text())


def main() -> int:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache of training images")
    parser.add_argument("--seeds", metavar="N,N", default="3,4,5", help="draws of labels (default: %(default)s)")
    args = parser.parse_args()
    try:
        run(FeatureCache.open(args.features), [int(seed) for seed in args.seeds.split(",")])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
