"""The shell commands of README and docs, as they stand there but for fewer and smaller images.

What would take more than a minute, by a list of reasons, is parsed and not run.
"""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from rcnn_svm.cli.main import command_parser, main
from rcnn_svm.proposals import ranker_training
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES
from tests.converted_once import converted_once
from tests.small_networks import one_thread

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "cache" / "README.md", *sorted(ROOT.glob("docs/*.md"))]
PROGRAMS = ("rcnn-svm", "python", "make", "torchrun", "source")

# What is not run, by how it begins or an option of it, and why.
NOT_RUN = {
    r"rcnn-svm train .* --background-test ": "it needs the features of other images without objects",
    r"make ": "it sets up an environment of its own, or runs the tests",
    r"source ": "it changes the shell that it is typed into",
    r"python -m pytest ": "it runs the tests",
    r"python -m benchmarks\.": "it takes minutes, and a machine that does nothing else",
    r"torchrun ": "it takes as many processes as there are GPUs, and hours",
    r".* --backbone (alexnet|vgg16)": "it downloads the weights of the network",
}

# Options that make a command quick on the toy images; of one that is given twice, the last is taken.
CLASSES = ["--classes", ",".join(SYNTHETIC_CLASSES)]
FEW_BOXES = ["--method", "sliding", "--max-boxes", "20"]
SMALL = ["--crop-size", "32"]
RUN = [*FEW_BOXES, *SMALL, "--pictures", "1", "--jobs", "1"]
QUICK = {
    "run": RUN,
    "propose": [*FEW_BOXES, *CLASSES, "--jobs", "1"],
    "rank": [*CLASSES, "--jobs", "1"],
    "extract": [*SMALL, *CLASSES],
    "finetune": ["--iterations", "2", "--step", "1", "--batch-size", "8", "--foreground", "2", *SMALL, *CLASSES],
    "train": ["--jobs", "1"],
    "detect": FEW_BOXES,
    "mine": FEW_BOXES,
    "train-head": ["--iterations", "3"],
    "evaluate": ["--pictures", "1", *CLASSES],
    "show": [*CLASSES, "--count", "1"],
    "compare-mining": ["--iterations", "3", "--seeds", "1", *CLASSES],
    "reproduce": [*FEW_BOXES, *SMALL, "--jobs", "1", *CLASSES],
}

# What the words in capitals stand for, after an option or, where it is None, at any other place.
TRAIN, TEST = (f"cache/features/voc_2007_{split}.lite0.penultimate" for split in ("trainval", "test"))
STANDS_FOR = {
    ("--features", "DIR"): TRAIN,
    ("--features", "TEST_DIR"): TEST,
    ("--test-features", "DIR"): TEST,
    ("--proposals", "FILE"): "cache/proposals/voc_2007_trainval.sliding.h5",
    ("--model", "FILE"): "cache/models/voc_2007_trainval.lite0.penultimate.h5",
    ("--detections", "FILE"): "cache/detections/voc_2007_test.lite0.penultimate.h5",
    ("detections", "FILE"): "cache/detections/voc_2007_test.lite0.penultimate.h5",
    ("--test-ids", "FILE"): "benchmarks/voc2007_subset/test.txt",
    ("report", "MODEL"): "cache/models/voc_2007_trainval.lite0.penultimate.h5",
    ("--class", "dog"): "ball",
    ("export", "FILE"): "cache/models/voc_2007_trainval.lite0.penultimate.h5",
    ("--out", "DIR"): "out",
    ("--model", "DIR"): "out",
    (None, "PATH"): TRAIN,
}


def shell_blocks(page: Path) -> Iterator[list[str]]:
    """Yield the commands of every block of shell: after `$` where there is output too, else all lines."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        if language not in ("", "sh", "bash", "console"):
            continue
        lines = [line.partition(" #")[0].rstrip() for line in block.replace("\\\n", "").splitlines()]
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        if prompted or lines[0].split()[0] in PROGRAMS:
            yield prompted or [line for line in lines if line]


def commands_within(text: str) -> list[str]:
    """Return the commands in the sentences and tables of a page."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [" ".join(code.split()) for code in re.findall(r"`(rcnn-svm [^`]+)`", prose)]


def stages_of_readme() -> list[str]:
    """Return the commands of the README's table of stages, without what it sets in brackets."""
    text = PAGES[0].read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| `(rcnn-svm [^`]+)` \| ", text, re.M)
    return [re.sub(r" \[[^]]*\]", "", row) for row in rows]


# A block that stands on two pages is there once.
BLOCKS = list(dict.fromkeys(tuple(block) for page in PAGES for block in shell_blocks(page)))
FENCED = list(dict.fromkeys(command for block in BLOCKS for command in block))


def why_not_run(command: str) -> str | None:
    """Return why a command is not run here, or None."""
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, command)), None)


def options_of_benchmark(path: Path) -> set[str]:
    """Return the options that a benchmark describes."""
    words = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    return {word for word in words if re.fullmatch(r"--[\w-]+", str(word))} | {"--train-ids", "--test-ids"}


def check(command: str) -> None:
    """Fail where a command is not one that its program understands."""
    program, *words = shlex.split(command)
    scripts = [word for word in words if word.endswith(".py")]
    if program == "rcnn-svm":
        command_parser(words[0]).parse_args(words[1:])
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{word}:", makefile, re.M) for word in words)
    elif scripts and scripts[0].startswith("scripts/"):
        (name,) = re.findall(r'run_command\("([\w-]+)"\)', (ROOT / scripts[0]).read_text(encoding="utf-8"))
        command_parser(name).parse_args(words[words.index(scripts[0]) + 1 :])
    elif words[0] == "-m" and words[1].startswith("benchmarks."):
        path = ROOT / f"{words[1].replace('.', '/')}.py"
        assert {word for word in words if word.startswith("--")} <= options_of_benchmark(path)
    else:
        assert program == "source" or words[:2] == ["-m", "pytest"]
        assert program == "source" or words[2].startswith("-") or (ROOT / words[2]).exists()


def run(command: str) -> int:
    """Run a command in the current folder, quickly, and return its exit code."""
    words = shlex.split(command)[1:]
    for number, (before, word) in enumerate(pairwise(words), 1):
        words[number] = STANDS_FOR.get((before, word)) or STANDS_FOR.get((None, word), word)
    quick = QUICK.get(words[0], [])
    if words[0] == "run":
        shutil.rmtree("cache/run", ignore_errors=True)  # where the block has several, a user gives one of them
        quick = [*quick, *(CLASSES if "--voc" in words else [])]
    return main([*words, *quick])


@pytest.fixture(scope="module")
def folder(own_data, tmp_path_factory) -> Iterator[Path]:
    """The current folder, with images and boxes under the names that the pages give them."""
    root = tmp_path_factory.mktemp("commands")
    shutil.copytree(own_data.voc, root / "VOCdevkit")
    shutil.copytree(own_data.images, root / "photos")
    shutil.copy(next(own_data.images.iterdir()), root / "street.jpg")
    shutil.copy(own_data.csv, root / "boxes.csv")
    _write_background(root)
    shutil.copy(own_data.coco, root / "boxes.json")
    shutil.copytree(own_data.xml, root / "labels")
    shutil.copytree(own_data.yolo, root / "pets" / "labels")
    shutil.copytree(own_data.images, root / "pets" / "images")
    (root / "benchmarks/voc2007_subset").mkdir(parents=True)
    for split, ids in own_data.splits.items():
        (root / f"benchmarks/voc2007_subset/{split}.txt").write_text("\n".join(ids))
    with contextlib.chdir(root), one_thread(), converted_once():
        yield root


def _write_background(root: Path) -> None:
    """Write images without objects, and a video of such."""
    (root / "empty").mkdir()
    writer = cv2.VideoWriter(str(root / "yard.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 2, (80, 60))
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 255, (60, 80, 3), np.uint8)
        cv2.imwrite(str(root / "empty" / f"{seed}.png"), noise)
        writer.write(noise)
    writer.release()


@pytest.fixture(scope="module")
def stages(folder) -> dict[str, int]:
    """The exit codes of the commands in the README's table of stages, run one after the other."""
    codes = {}
    with pytest.MonkeyPatch.context() as patch:
        # The toy images have fewer objects than rank asks for.
        patch.setattr(ranker_training, "MIN_OBJECTS", 5)
        for command in stages_of_readme():
            if why_not_run(command):
                continue
            codes[command] = run(command)
            if "--split trainval" in command and " rank " not in command:
                run(command.replace("trainval", "test"))
    return codes


def test_the_stages_of_the_readme(stages):
    names = [command.split()[1] for command in stages]
    after = [
        "train",
        "train-bbox",
        "assemble",
        "test",
        "evaluate",
        "mine",
        "detect",
        "export",
        "inspect",
        "show",
        "report",
    ]
    assert names == ["propose", "rank", "extract", *after]
    assert set(stages.values()) == {0}


RUN_HERE = [[command for command in block if not why_not_run(command)] for block in BLOCKS]
RECORDED = [command for block in RUN_HERE for command in block if " golden/" in command]


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in RUN_HERE if block and not set(block) & set(RECORDED)])
def test_a_block_of_commands(block, stages):
    assert [command for command in block if run(command) != 0] == []


@pytest.mark.golden
@pytest.mark.parametrize("command", RECORDED)
def test_a_command_on_a_recorded_case(command, golden_dir, folder):
    (folder / "golden").symlink_to(golden_dir)
    assert run(command) == 0


@pytest.mark.parametrize("command", FENCED)
def test_a_command_is_one_that_its_program_understands(command):
    check(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_sentences_and_tables_exist(page):
    for text in commands_within(page.read_text(encoding="utf-8")):
        command, *words = re.sub(r"[\[\]]", "", text).split()[1:]
        if command != "COMMAND" and not command.startswith("--"):
            options = {word for word in words if word.startswith("--")}
            assert options <= {*command_parser(command)._option_string_actions}, text


def test_scripts_that_pages_name_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        modules = [f"benchmarks/{name}.py" for name in re.findall(r"python -m benchmarks\.(\w+)", text)]
        for path in [*re.findall(r"\b(?:scripts|benchmarks)/\w+\.py\b", text), *modules]:
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_every_reason_not_to_run_a_command_is_that_of_one():
    commands = [*FENCED, *stages_of_readme()]
    assert [pattern for pattern in NOT_RUN if not any(re.match(pattern, command) for command in commands)] == []
