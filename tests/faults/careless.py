"""Kills a command whose files are written under their final names, and says how often something was lost by it.

`python -m tests.faults.careless FOLDER WORD`: with the word `careful`, files are written as the package does. Each kill
comes just before a change of a file. In a process of its own, which is forked again and again.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import rcnn_svm.cli.toy  # noqa: F401
from benchmarks.faults_kinds import Place, kill, order
from benchmarks.faults_world import STAGES
from rcnn_svm.artefacts import files


@contextlib.contextmanager
def under_its_name(path: str | os.PathLike) -> Iterator[BinaryIO]:
    collected = io.BytesIO()
    yield collected
    data = collected.getvalue()
    with open(path, "wb", buffering=0) as stream:
        for part in (data[:1000], data[1000:]):
            stream.write(part)
            os.fsync(stream.fileno())


def main(folder: Path, how: str) -> None:
    if how != "careful":
        files.atomic_stream = under_its_name
    place = Place(folder, mounts=False)
    place.world.mkdir()
    place.out.mkdir()
    outcomes = [kill(place, STAGES["toy"], number, 16, random.Random(0)) for number in range(1, 16, 2)]
    outcomes.append(order(place, STAGES["toy"], 0, 1, random.Random(0)))
    place.close()
    for outcome in outcomes:
        print(f"{outcome.injected:d} {outcome.lost or 'nothing'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
