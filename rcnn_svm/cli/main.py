"""`rcnn-svm COMMAND ...`: finds the command, turns what went wrong into one sentence and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence
from itertools import groupby
from types import ModuleType

from rcnn_svm import __version__
from rcnn_svm.cli.surroundings import (
    DEBUG,
    SIGNAL_BASE,
    SYSTEM_ERRORS,
    flush_output,
    forget_output,
    in_words,
    say,
    surroundings,
    was_interrupted,
)
from rcnn_svm.errors import InputError

# The commands under their headings, in the order of `rcnn-svm --help`, which reads them from here alone: a command's
# module is loaded when it is called.
HEADINGS = {
    "all at once": {"run": "run all stages: images in, mAP out"},
    "stages, in their order": {
        "rank": "learn where objects are, for propose --ranker (optional)",
        "propose": "find regions that may hold an object, and report their recall",
        "finetune": "fine-tune a network on the windows of an image set (optional)",
        "extract": "compute the features of all regions into a feature cache",
        "train": "train one SVM per class by hard negative mining",
        "train-bbox": "train bounding-box regression on cached features (optional)",
        "train-head": "train Fast R-CNN's last layers, with a sampler or with OHEM",
        "assemble": "put all that detect needs into one model file (optional)",
        "test": "score a feature cache with a model and keep the best boxes",
        "evaluate": "compute average precision and report it",
    },
    "use": {
        "detect": "find objects in image files",
        "export": "write a detector as ONNX, for machines without torch",
        "mine": "find hard negatives in images and videos without labels",
    },
    "look": {
        "inspect": "show what an artefact holds, verify it, list hard negatives",
        "diff": "say where two artefacts or runs differ first, and why",
        "show": "draw proposals, negatives, a class's mining, detections",
        "report": "write a page: the film of mining, what was hard, what is wrong",
        "imbalance": "measure easy and hard examples and their shares of the loss",
        "toy": "write a page in which mining runs step by step in a plane",
    },
    "experiments": {
        "reproduce": "reproduce the paper's tables on VOC 2007",
        "compare-mining": "compare mining methods on the same cached features",
    },
    "data and checks": {
        "check": "say what is odd about labels, and draw a sheet of them",
        "synthesize": "write a synthetic image set in VOC layout",
        "import": "import a feature cache of the original MATLAB code",
        "parity": "train a recorded case and compare every key with the original",
    },
}
COMMANDS = {command: line for commands in HEADINGS.values() for command, line in commands.items()}

EXIT_CODES = (
    "Exit codes: 0 done, 1 a check failed or the output was cut off, "
    "2 wrong usage, input or surroundings (one sentence says what), 130 interrupted (129 by SIGHUP, 143 by SIGTERM)."
)


class HelpFormatter(argparse.HelpFormatter):
    """Help as wide as the terminal, up to 110 columns; text is filled, indented and empty lines stay as they are."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=32, width=min(shutil.get_terminal_size().columns - 2, 110))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = groupby(text.strip().splitlines(), lambda line: not line or line.startswith(" "))
        return "\n".join(line for fixed, part in lines for line in (part if fixed else _wrap(" ".join(part), width)))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrap(text, width)


def _wrap(text: str, width: int) -> list[str]:
    """Return text in lines that leave names such as train-head whole."""
    return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rcnn-svm COMMAND ...` and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # Up to the command, all words are our own options; those after it are the command's.
    own = next((number for number, word in enumerate(argv, 1) if not word.startswith("-")), len(argv))
    command = _parser().parse_args(argv[:own]).command
    return run_command(command, argv[own:], prog=f"rcnn-svm {command}")


def run_command(command: str, argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one command and return the exit code.

    Args:
        command: one of `COMMANDS`.
        argv: arguments of the command; those of this process where None.
        prog: name of the program in the help; the name of the script where None.
    """
    with surroundings() as signals:
        try:
            # Libraries are loaded from here on, which Ctrl-C may interrupt too.
            code = _run(command, list(sys.argv[1:] if argv is None else argv), prog)
            flush_output()
            return code
        except InputError as error:
            say(f"rcnn-svm {command}: error: {error}")
            return 2
        except BrokenPipeError:
            forget_output()  # whoever read it has gone
            return 1
        except (KeyboardInterrupt, Exception) as error:
            if was_interrupted(error):
                say(f"rcnn-svm {command}: interrupted; what was completed is kept, run the same command to go on")
                code = SIGNAL_BASE + (signals or [signal.SIGINT])[0]
            elif isinstance(error, SYSTEM_ERRORS) and DEBUG not in os.environ:
                say(f"rcnn-svm {command}: error: {in_words(error)}")
                code = 2
            else:
                raise
            forget_output()
            return code


def run_arguments(command: str, argv: Sequence[str]) -> int:
    """Run one command inside another and return its exit code; what it raises goes to the caller."""
    return _run(command, argv)


def _run(command: str, argv: Sequence[str], prog: str | None = None) -> int:
    args = command_parser(command, prog).parse_args(argv)
    if getattr(args, "scheduler", ""):
        from rcnn_svm.cli.workers import share_out

        share_out(command, argv, args.scheduler, run_arguments)
    return _module(command).run(args) or 0


def command_parser(command: str, prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of a command's arguments; `prog` is what its help calls the program."""
    module = _module(command)
    parser = argparse.ArgumentParser(prog, description=module.__doc__, epilog=EXIT_CODES, formatter_class=HelpFormatter)
    module.add_arguments(parser)
    return parser


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all words up to the command."""
    width = max(map(len, COMMANDS))
    lines = ["R-CNN with SVM hard negative mining: images in, mAP out, stage by stage."]
    for heading, commands in HEADINGS.items():
        lines += ["", f"{heading}:", *(f"  {command:{width}}  {line}" for command, line in commands.items())]
    parser = argparse.ArgumentParser(
        prog="rcnn-svm",
        usage="rcnn-svm COMMAND ...",
        description="\n".join(lines),
        epilog=f"rcnn-svm COMMAND --help explains a command. {EXIT_CODES}",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rcnn-svm {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=argparse.SUPPRESS)
    return parser


def _module(command: str) -> ModuleType:
    # `import` is a keyword, so its module has another name.
    name = "import_cache" if command == "import" else command.replace("-", "_")
    return importlib.import_module(f"rcnn_svm.cli.{name}")


if __name__ == "__main__":
    sys.exit(main())
