"""The page of the toy: a template, styles and scripts, put into one file with the constants of the papers."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rcnn_svm import __version__, paper
from rcnn_svm.reports.toy.presets import PRESETS

CONSTANTS = {
    "hard_thresh": paper.HARD_THRESH,
    "evict_thresh": paper.EVICT_THRESH,
    "neg_overlap": paper.NEG_OVERLAP,
    "retrain_limit": paper.RETRAIN_LIMIT,
    "max_epochs": paper.MAX_EPOCHS,
    "svm_C": paper.SVM_C,
    "pos_loss_weight": paper.POS_LOSS_WEIGHT,
    "bias_mult": paper.BIAS_MULT,
    "target_norm": paper.TARGET_NORM,
}
# What a reader may change, and where it starts. With tens of points and not thousands, a class is trained after a few,
# C is larger, so that the margin is no wider than the plane, and there is a second pass, to see what comes back.
SETTINGS = (
    {"name": "max_epochs", "label": "passes over the images", "value": 2, "limits": {"min": 1, "max": 9}},
    {"name": "retrain_limit", "label": "train after more added than", "value": 5, "limits": {"min": 0, "max": 200}},
    {
        "name": "hard_thresh",
        "label": "hard above",
        "value": paper.HARD_THRESH,
        "limits": {"min": -10, "max": 10, "step": "any"},
    },
    {
        "name": "evict_thresh",
        "label": "easy below",
        "value": paper.EVICT_THRESH,
        "limits": {"min": -10, "max": 10, "step": "any"},
    },
    {"name": "svm_C", "label": "C", "value": 0.01, "limits": {"min": 0.0001, "max": 1, "step": "any"}},
)
SCRIPTS = ("svm.js", "mining.js", "plane.js", "words.js", "page.js")


def bootstrap_toy() -> str:
    """Return a page, HTML that needs no other file, in which a reader mines hard negatives among points of a plane.

    Its keys are those of `ReferenceMiner` on the same points. Scripts drive it by `window.toy` (see `page.js`).
    """
    folder = files(__package__)
    environment = Environment(loader=PackageLoader(__package__, ""), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(
        version=__version__,
        constants=CONSTANTS,
        settings=SETTINGS,
        presets=[{"name": preset.name, "note": preset.note, "points": preset.points()} for preset in PRESETS],
        style=Markup(folder.joinpath("style.css").read_text(encoding="utf-8")),
        scripts=[Markup(folder.joinpath(name).read_text(encoding="utf-8")) for name in SCRIPTS],
    )
