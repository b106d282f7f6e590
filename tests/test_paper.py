"""Every default that a paper gives is written once, in rcnn_svm/paper.py, and taken from there by all others."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import rcnn_svm
from rcnn_svm import paper
from rcnn_svm.cli.main import command_parser
from rcnn_svm.descent import Schedule
from rcnn_svm.detection.bbox_training import BoxRegressorTrainer
from rcnn_svm.evaluation.voc import evaluate_detections
from rcnn_svm.fast_rcnn.head_training import RoIHeadTrainer
from rcnn_svm.fast_rcnn.roi_pool import RoIPoolingNetwork
from rcnn_svm.finetune.tuner import FineTuner
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.mining.imbalance import measure_cache

PACKAGE = Path(rcnn_svm.__file__).parent
CONSTANTS = {name: value for name, value in vars(paper).items() if name.isupper()}
METHODS = ("BBOX_", "FAST_RCNN_", "FINETUNE_", "FOCAL_", "OHEM_", "SSD_")
# How functions and options spell a parameter that paper.py names otherwise.
SPELLINGS = {"beta", "epochs", "iou", "nms", "threshold", "thresh"}

# Parameters of such a name that no paper gives a value for.
OURS = {
    ("cli/compare_mining.py", "iterations"): "so many steps separate the methods on cached features",
    ("data/splits.py", "seed"): "of the split of one's own images",
    ("features/image_maps.py", "long_side"): "of the image that a ranker sees, not Fast R-CNN's",
    ("proposals/ranker_training.py", "batch_size"): "of the ranker, which no paper has",
    ("proposals/ranker_training.py", "epochs"): "the same",
    ("proposals/ranker_training.py", "weight_decay"): "the same",
    ("reports/toy/presets.py", "seed"): "of the points that the toy starts from",
    ("svm/dual_coordinate_descent.py", "seed"): "of a solver by itself; a miner gives its own",
    ("svm/liblinear.py", "seed"): "of a solver by itself; a miner gives its own",
    ("toy_world/voc_folder.py", "seed"): "of the toy world",
}


def parameter(constant: str) -> str:
    """The parameter that a constant is the default of."""
    for method in METHODS:
        constant = constant.removeprefix(method)
    return constant.lower()


PARAMETERS = {parameter(name) for name in CONSTANTS} | SPELLINGS


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "paper.py":
            yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def function_defaults(node: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    positional = [*node.args.posonlyargs, *node.args.args]
    yield from zip([a.arg for a in reversed(positional)], reversed(node.args.defaults), strict=False)
    yield from ((a.arg, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d is not None)


def option_default(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    words = [value for word in node.args for value in ast.walk(word) if isinstance(value, ast.Constant)]
    names = {word.value.lstrip("-").replace("-", "_") for word in words if isinstance(word.value, str)}
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if "dest" in given:
        names.add(given["dest"].value)
    if "default" in given:
        yield from ((name, given["default"]) for name in names)


def defaults(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Name and value of every default of a function, of a class's field and of an option, and of every constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield from function_defaults(node)
        elif isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
            yield node.target.id, node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            yield from option_default(node)
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))


def is_number(value: ast.expr) -> bool:
    """Whether numbers are all that an expression consists of."""
    try:
        found = ast.literal_eval(value)
    except ValueError:
        return False
    return isinstance(found, int | float | tuple) and not isinstance(found, bool)


def typed_again(tree: ast.Module) -> list[str]:
    """The parameters of the papers whose default is a number in place of a constant of paper.py."""
    return [name for name, value in defaults(tree) if parameter(name) in PARAMETERS and is_number(value)]


@pytest.mark.parametrize(
    "code",
    [
        "def f(a, svm_C: float = 1e-3): pass",
        "def f(*, hard_thresh=-1.0001): pass",
        "class Schedule:\n    lr: float = 1e-3",
        "NMS_THRESHOLD = 0.3",
        "parser.add_argument('--batch-size', type=int, default=128)",
        "parser.add_argument('--lambda', dest='ridge_lambda', default=1000.0)",
        "parser.add_argument(*('--epochs', '--passes'), default=1)",
    ],
)
def test_a_number_in_place_of_a_constant_is_found(code):
    assert typed_again(ast.parse(code))


@pytest.mark.parametrize(
    "code", ["def f(svm_C=paper.SVM_C): pass", "def f(a, planks=5): pass", "def f(lr=None, seed=AUTO): pass"]
)
def test_other_defaults_are_not(code):
    assert not typed_again(ast.parse(code))


def test_no_default_of_the_papers_is_typed_again():
    found = {(file, name.lower()) for file, tree in modules() for name in typed_again(tree)}
    assert found == set(OURS)


def test_every_constant_is_used():
    used = {
        node.attr
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "paper"
    }
    assert used == set(CONSTANTS)


def test_the_papers_numbers():
    # Those a reader of the papers knows by heart, typed here once more on purpose.
    assert (paper.NEG_OVERLAP, paper.NMS_THRESHOLD, paper.BBOX_MIN_OVERLAP) == (0.3, 0.3, 0.6)
    assert (paper.SVM_C, paper.POS_LOSS_WEIGHT, paper.BIAS_MULT, paper.TARGET_NORM) == (1e-3, 2, 10, 20)
    assert (paper.HARD_THRESH, paper.EVICT_THRESH, paper.RETRAIN_LIMIT) == (-1.0001, -1.2, 2000)
    assert (paper.FINETUNE_BATCH_SIZE, paper.FINETUNE_FOREGROUND, paper.FINETUNE_ITERATIONS) == (128, 32, 70_000)
    assert (paper.IMAGES_PER_BATCH * paper.ROIS_PER_IMAGE, paper.FG_FRACTION, paper.BG_THRESH_LO) == (128, 0.25, 0.1)
    assert (paper.OHEM_BATCH_SIZE, paper.OHEM_NMS_THRESHOLD, paper.SSD_RATIO, paper.FOCAL_GAMMA) == (128, 0.7, 3, 2)


@pytest.mark.parametrize(
    ("command", "call", "options"),
    [
        ("train", HardNegativeMiner, {"epochs": "max_epochs"}),
        ("train-bbox", BoxRegressorTrainer, {}),
        ("finetune", FineTuner, {}),
        ("train-head", Schedule, {}),
        ("train-head", RoIHeadTrainer, {}),
        ("train-head", RoIPoolingNetwork, {}),
        ("imbalance", measure_cache, {}),
        ("evaluate", evaluate_detections, {}),
    ],
)
def test_the_commands_defaults_are_the_functions(command, call, options):
    parser = command_parser(command)
    known = {name: given.default for name, given in inspect.signature(call).parameters.items()}
    compared = 0
    for action in parser._actions:
        name = options.get(action.dest, action.dest)
        # An option left out is None where the command finds the value itself.
        if name in known and action.default is not None and known[name] is not inspect.Parameter.empty:
            assert action.default == known[name], f"{command} {action.dest}"
            compared += 1
    assert compared
