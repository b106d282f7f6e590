"""A stage shared out: one part of several, named by the user, by a job scheduler's variables, or by Dask."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path

from rcnn_svm.artefacts.claims import WHOLE

# Variables of a task of a job array and of a process of a group: its number, how many there are, the first number, how
# far numbers are apart, the last; with what holds where one is not set.
_SLURM = {
    "SLURM_ARRAY_TASK_ID": "",
    "SLURM_ARRAY_TASK_COUNT": "",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_STEP": "1",
    "SLURM_ARRAY_TASK_MAX": "-1",
}
_GROUP = {"RANK": "", "WORLD_SIZE": ""}


def add_sharing_arguments(parser: argparse._ActionsContainer, what: str) -> None:
    """Add --part and --scheduler, which share out `what`."""
    parser.add_argument(
        "--part",
        metavar="I/N",
        type=part,
        default=WHOLE,
        help=f"do the I-th of N parts of {what} only; the same command without --part joins them. env: the part that "
        "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, or RANK and WORLD_SIZE, say",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        default="",
        help=f"share out {what} among the workers of this Dask scheduler, such as tcp://host:8786 (extra "
        "rcnn-svm[dask])",
    )


def part(text: str) -> tuple[int, int]:
    """argparse type: `I/N`, counted from 1, or `env`, as (index, parts) with an index from 0."""
    if text == "env":
        return part_of_environment(os.environ)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"must be I/N with 1 <= I <= N, such as 2/4, or env, not {text}")
    return int(match[1]) - 1, int(match[2])


def part_of_environment(variables: Mapping[str, str]) -> tuple[int, int]:
    """Return the part that a job scheduler gave this process, as (index, parts) with an index from 0.

    Args:
        variables: of the environment: those of a task of a SLURM job array, whose numbers may begin anywhere and be
            any step apart, or of a process of a group as torchrun and MPI launchers start it.
    """
    for names in (_SLURM, _GROUP):
        if not all(name in variables for name in tuple(names)[:2]):
            continue
        found = {name: variables[name] for name in names if name in variables}
        try:
            values = [int(found.get(name, default)) for name, default in names.items()]
        except ValueError:
            values = [-1, 0]
        number, parts, first, step, last = [*values, *(0, 1, -1)[len(values) - 2 :]]
        index = (number - first) // max(step, 1)
        regular = last < 0 or last - first == step * (parts - 1)
        if 0 <= index < parts and regular:
            return index, parts
        said = ", ".join(f"{name}={value}" for name, value in found.items())
        raise argparse.ArgumentTypeError(
            f"env needs the number of a part, and of all, evenly counted: {said} is none; give I/N"
        )
    raise argparse.ArgumentTypeError(
        "env needs SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, or RANK and WORLD_SIZE, which are not set; give I/N"
    )


def say_part(of: tuple[int, int], path: Path) -> None:
    """Print that a part is done, and what comes after the last."""
    index, parts = of
    print(f"part {index + 1} of {parts} is done; the same command without --part joins all of {path}", flush=True)
