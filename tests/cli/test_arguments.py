"""Arguments that several commands share: each is described once, and its choices are those of the code."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from rcnn_svm.cli import arguments, parity
from rcnn_svm.cli.main import COMMANDS, command_parser
from rcnn_svm.fast_rcnn import samplers, targets
from rcnn_svm.features import runtime, warp
from rcnn_svm.mining import hard_negatives

FOLDER = Path(arguments.__file__).parent

# Options of one name that are different things.
APART = {
    ("check.py", "--proposals"): "of some of the images",
    ("detect.py", "--coco"): "a file to write",
    ("detect.py", "--csv"): "a file to write",
    ("detect.py", "--max-boxes"): "with --method only",
    ("detect.py", "--yolo"): "a folder to write",
    ("mine.py", "--max-boxes"): "with --method only",
    ("reproduce.py", "--voc"): "the one source",
    ("reproduce.py", "--backbone"): "several networks",
    ("reproduce.py", "--weights"): "of several networks",
    ("run.py", "--method"): "a learnt order too",
    ("sides.py", "--negatives"): "images, not their features",
    ("train_head.py", "--backbone"): "networks that can pool RoIs",
}


def test_the_words_of_an_extraction_by_hand():
    words = ["--voc", "kit", "--classes", "cat,dog", "--max-boxes", "3", "--device", "cpu", "--part", "2/3"]
    args = command_parser("extract").parse_args(words)
    assert (args.voc, args.year, args.classes, args.max_boxes, args.device) == (
        Path("kit"),
        "2007",
        "cat,dog",
        3,
        "cpu",
    )
    assert args.part == (1, 3) and (args.split, args.voc_split) == (None, "trainval")
    for wrong in (["--csv", "a.csv"], ["--max-boxes", "0"], ["--device", "tpu"]):  # a second source; out of range
        with pytest.raises(SystemExit):
            command_parser("extract").parse_args([*words, *wrong])


def test_choices_are_those_of_the_code():
    assert arguments.DEVICES == runtime.DEVICES
    assert arguments.RUNTIMES == runtime.KINDS
    assert arguments.CROP_MODES == warp.CROP_MODES
    assert arguments.SOLVERS == tuple(hard_negatives.SOLVERS) == tuple(parity.TIGHT)
    assert tuple(samplers.SAMPLERS) == arguments.SAMPLERS
    assert targets.BOX_TARGETS == arguments.BOX_TARGETS


def options_of(path: Path) -> set[str]:
    """The options that a module describes itself."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    added = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    words = [word for call in added for part in call.args for word in ast.walk(part) if isinstance(word, ast.Constant)]
    return {word.value for word in words if str(word.value).startswith("--")}


def test_what_is_shared_is_described_in_one_place():
    shared = options_of(FOLDER / "arguments.py")
    assert {"--device", "--seed", "--weights", "--backbone", "--layer", "--crop-size", "--jobs", "--solver"} <= shared
    commands = {path.name: options_of(path) for path in FOLDER.glob("*.py") if path.name != "arguments.py"}
    again = {(name, option) for name, options in commands.items() for option in options & shared}
    # Of an image set, each command that takes no others names those that it needs.
    again -= {(name, option) for name, option in again if option in ("--classes", "--ids")}
    assert again == set(APART)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is(command):
    counted = Counter()
    for action in command_parser(command)._actions:
        said = f"{command} {action.option_strings}: {action.help}"
        assert action.help and not action.help.startswith(("of ", "for ", "default:")), said
        assert action.nargs == 0 or action.metavar or action.choices, said
        counted.update(action.option_strings)
    assert max(counted.values()) == 1


def test_letters_that_no_font_has_are_noted_once(capsys):
    letter = "\U0010fffd"  # for private use
    arguments.say_letters(["cat", "Käfer"])
    assert capsys.readouterr().err == ""
    for _ in range(2):
        arguments.say_letters([f"cat{letter}"])
    note = capsys.readouterr().err
    assert note.startswith(f"note: pictures and plots spell out {letter}, as \\U0010fffd: ") and note.count("\n") == 1
