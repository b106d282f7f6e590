"""Presets of `run`: settings that go together, from the paper's to the best that frozen features give here.

What each costs and finds is measured by `benchmarks/ladder.py`; docs/results.md has the table.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields, replace
from typing import Any

from rcnn_svm.detection.recipe import PER_IMAGE
from rcnn_svm.proposals.methods import METHODS, MIN_OBJECTS, RANKED

RUN_METHODS = (RANKED, *METHODS)
# Proposals of selective search where no order is learnt; more gained nothing (docs/results.md, "What time buys").
MOST_SEARCHED = 400


@dataclass(frozen=True)
class Preset:
    """Settings of `run`.

    Attributes:
        method: how to find proposals: windows in learnt order (`ranked`), or one of `METHODS`.
        max_boxes: proposals of an image; None for all.
        backbone, layer, context, scene: what the features are, as in the extract stage.
        bbox: train and use bounding-box regression.
        vote: move boxes by box voting.
        again: boxes of an image that are scored again; 0 for none.
        soft_nms: lower the scores of boxes that overlap better ones, in the place of suppression.
    """

    method: str
    max_boxes: int | None
    backbone: str = "lite0"
    layer: str | None = "multi"
    context: bool = False
    scene: bool = False
    bbox: bool = True
    vote: bool = True
    again: int = 0
    soft_nms: bool = True


PAPER, QUICK, STANDARD, BEST = "paper", "quick", "standard", "best"
PRESETS = {
    PAPER: Preset(method="fast", max_boxes=None, layer=None, bbox=False, vote=False, soft_nms=False),
    QUICK: Preset(method=RANKED, max_boxes=50),
    STANDARD: Preset(method=RANKED, max_boxes=100, again=PER_IMAGE),
    BEST: Preset(method=RANKED, max_boxes=100, backbone="lite2", context=True, scene=True, again=PER_IMAGE),
}
PURPOSES = {
    PAPER: "the paper's settings, all proposals of selective search",
    QUICK: "the fewest crops",
    STANDARD: "what own images take without --preset",
    BEST: "larger network, two crops a box: most mAP, most time",
}


def take_preset(args: argparse.Namespace, objects: int) -> str:
    """Fill in the settings that were not given with those of the preset; return what was chosen, as options.

    Args:
        args: arguments of `run`; those of a preset are None where they were not given.
        objects: how many there are to learn from.
    """
    preset, why = PRESETS[args.preset], ""
    if preset.method == RANKED and args.method is None and objects < MIN_OBJECTS:
        preset = replace(preset, method=METHODS[0], max_boxes=MOST_SEARCHED)
        why = (
            f"\nthe boxes are selective search's in its own order: there are {objects} objects to learn from, and an "
            f"order is learnt from {MIN_OBJECTS} or more"
        )
    for setting in fields(preset):
        if getattr(args, setting.name) is None:
            setattr(args, setting.name, getattr(preset, setting.name))
    chosen: dict[str, Any] = {setting.name: getattr(args, setting.name) for setting in fields(preset)}
    words = [f"--preset {args.preset}:"]
    for name, value in chosen.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value:
            words.append(f"{option} {value}")
    return " ".join(words) + why
