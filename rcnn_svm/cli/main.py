"""`rcnn-svm STAGE ...`: finds the stage, turns what went wrong into one sentence and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from rcnn_svm import __version__
from rcnn_svm.errors import InputError

STAGES = (
    "run",
    "reproduce",
    "synthesize",
    "propose",
    "finetune",
    "extract",
    "train",
    "bbox",
    "train-head",
    "test",
    "evaluate",
    "detect",
    "inspect",
    "imbalance",
    "import",
    "parity",
    "compare-mining",
)

EXIT_CODES = (
    "exit codes: 0 done, 1 a check failed or the output was cut off, "
    "2 wrong usage or input (one sentence says what), 130 interrupted"
)


def _module(stage: str):
    # `import` is a keyword, so its module has another name.
    name = "import_cache" if stage == "import" else stage.replace("-", "_")
    return importlib.import_module(f"rcnn_svm.cli.{name}")


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=110)


def _configure(parser: argparse.ArgumentParser, stage: str) -> None:
    module = _module(stage)
    parser.description = f"{module.HELP}.\n\n{module.__doc__}"
    parser.epilog = EXIT_CODES
    parser.formatter_class = _formatter
    module.add_arguments(parser)
    parser.set_defaults(stage=stage)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rcnn-svm STAGE ...` and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="rcnn-svm",
        description="R-CNN with SVM hard negative mining: images in, mAP out, stage by stage.",
        epilog=EXIT_CODES,
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=f"rcnn-svm {__version__}")
    subparsers = parser.add_subparsers(metavar="STAGE", required=True)
    for stage in STAGES:
        _configure(subparsers.add_parser(stage, help=_module(stage).HELP), stage)
    return _execute(parser.parse_args(argv))


def run_stage(stage: str, argv: Sequence[str] | None = None) -> int:
    """Run one stage as a script of its own and return the exit code."""
    parser = argparse.ArgumentParser()
    _configure(parser, stage)
    return _execute(parser.parse_args(argv))


def run_arguments(stage: str, argv: Sequence[str]) -> int:
    """Run one stage inside another and return its exit code; what it raises goes to the caller."""
    parser = argparse.ArgumentParser()
    _configure(parser, stage)
    args = parser.parse_args(argv)
    return _module(stage).run(args) or 0


def _execute(args: argparse.Namespace) -> int:
    try:
        return _module(args.stage).run(args) or 0
    except InputError as error:
        print(f"rcnn-svm {args.stage}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"rcnn-svm {args.stage}: interrupted; what was completed is kept, run the same command to go on",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain once more when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
