"""What holds a trained detector back most, and what to do about it: the last lines of `run`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_svm.evaluation.at_threshold import AtThreshold
from rcnn_svm.evaluation.tide import MENDED, ErrorCosts
from rcnn_svm.proposals.recall import RecallReport
from rcnn_svm.reports.table import WIDTH
from rcnn_svm.words import shortened

# A class with fewer objects to learn from has too few; what is found of more is no matter of their number alone.
FEW = 50
# Proposals that hold fewer of a class's objects limit it; of fewer objects than these the share says nothing.
LOW_RECALL, MIN_TESTED = 0.8, 5
# So many obstacles are told, of those that cost this share of the mAP or more.
TOLD, MIN_COST = 4, 0.01


@dataclass(frozen=True)
class Obstacle:
    """What holds a detector back.

    Attributes:
        cost: mAP that it costs, in [0, 1], about.
        what: it, in words.
        remedy: what to do about it.
    """

    cost: float
    what: str
    remedy: str


def error_summary(costs: ErrorCosts, at: AtThreshold, most: int = 5) -> dict[str, Any]:
    """Return what `obstacles` reads of an evaluation's errors, JSON-able.

    Args:
        costs: the AP that each kind of error costs.
        at: what is found and wrong at a threshold.
        most: pairs of classes at most.
    """
    K = len(at.classes)
    between = np.where(np.eye(K, dtype=bool), 0, at.confusion[:K, :K])
    rows, columns = np.unravel_index(np.argsort(-between, axis=None, kind="stable")[:most], between.shape)
    pairs = [(int(between[i, j]), at.classes[i], at.classes[j]) for i, j in zip(rows, columns, strict=True)]
    return {
        "ap_cost": {name: float(cost) for name, cost in zip(MENDED, costs.mean_gain, strict=True)},
        "confused": [{"object": own, "detected": other, "count": count} for count, own, other in pairs if count],
    }


def obstacles(
    results: Mapping[str, Any], learnt: Mapping[str, int], recall: RecallReport, done: Sequence[str]
) -> list[Obstacle]:
    """Return what holds a detector back, what costs most first.

    Costs of different kinds overlap: mending one may mend part of another.

    Args:
        results: the report of `evaluate`, read from its JSON file.
        learnt: number of objects to learn from, by class.
        recall: how well proposals cover the test images, at IoU 0.5 first.
        done: options of `run` that are in use, of `bbox` and `vote`.
    """
    ap = {entry["class"]: entry["ap_area"] for entry in results["classes"] if entry["ap_area"] is not None}
    if not ap:
        return []
    found = [_few_objects(ap, learnt), _proposals(ap, recall)]
    errors = results.get("errors", {"ap_cost": {}, "confused": []})
    costs = {name: cost for name, cost in errors["ap_cost"].items() if cost is not None}
    unused = [option for option in ("bbox", "vote") if option not in done]
    place = f"run again with --{unused[0]}" if unused else "label boxes tightly; --preset best in a new --out"
    found.append(Obstacle(costs.get("Loc", 0), "boxes badly placed on their objects", place))
    if errors["confused"]:
        pairs = ", ".join(
            f"{_short(pair['object'])} taken for {_short(pair['detected'])} ({pair['count']})"
            for pair in errors["confused"][:2]
        )
        remedy = "check their labels; add images of each, side by side too"
        found.append(Obstacle(costs.get("Cls", 0), f"classes confused: {pairs}", remedy))
    background = "run --negatives DIR: images that show none of the objects"
    found.append(Obstacle(costs.get("Bkg", 0), "objects found where there is only background", background))
    missed = "add images of such objects; more --max-boxes"
    found.append(Obstacle(costs.get("Missed", 0), "objects missed altogether", missed))
    return sorted((one for one in found if one.cost >= MIN_COST), key=lambda one: -one.cost)[:TOLD]


def _few_objects(ap: Mapping[str, float], learnt: Mapping[str, int]) -> Obstacle:
    """Return what classes of few objects lack to the AP of the others, half of the rest where all have few."""
    few = [name for name in ap if learnt.get(name, 0) < FEW]
    others = [ap[name] for name in ap if name not in few]
    wanted = float(np.mean(others)) if others else (1 + float(np.mean(list(ap.values())))) / 2
    lack = {name: max(wanted - ap[name], 0) for name in few}
    worst = sorted(few, key=lambda name: -lack[name])
    named = [f"{_short(name)} {learnt.get(name, 0)}" for name in worst if lack[name] > 0][:3]
    return Obstacle(
        sum(lack.values()) / len(ap),
        f"few objects to learn from: {', '.join(named)}",
        f"label {FEW} or more of each",
    )


def _proposals(ap: Mapping[str, float], recall: RecallReport) -> Obstacle:
    """Return what would be gained if proposals held the objects of all classes as they do those of the best."""
    covered = {
        name: cover.recall[0]
        for name, cover in recall.by_class.items()
        if name in ap and cover.objects >= MIN_TESTED and cover.recall[0] < LOW_RECALL
    }
    lack = {name: min(ap[name] * (0.95 / max(share, 0.05) - 1), 0.95 - share) for name, share in covered.items()}
    lowest = sorted(covered, key=lambda name: covered[name])[:3]
    named = ", ".join(f"{100 * covered[name]:.0f} % of {_short(name)}" for name in lowest)
    return Obstacle(
        sum(lack.values()) / len(ap),
        f"proposals find only {named}",
        "more --max-boxes in a new --out",
    )


def obstacle_lines(found: Sequence[Obstacle], width: int = WIDTH) -> list[str]:
    """Return obstacles and remedies as lines for a terminal, each with the points of mAP that it costs."""
    lines = []
    for one in found:
        text = f"{100 * one.cost:4.0f}  {one.what} -> {one.remedy}"
        lines += textwrap.wrap(text, width, subsequent_indent=" " * 6, break_on_hyphens=False, initial_indent="")
    return lines


def _short(name: str) -> str:
    return shortened(name, 20)
