"""Stages run one after the other in this process, each command once, with their times on disk."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rcnn_svm.artefacts.files import fingerprint, provenance, reading, write_text
from rcnn_svm.artefacts.schema import check_json_schema
from rcnn_svm.errors import InputError

KIND, SCHEMA = "time of a stage", 1


def recorded_stage(stage: str) -> str:
    """Return the name that the time of a stage is recorded under, which has stayed that of older records."""
    return "bbox" if stage == "train-bbox" else stage


class StageRunner:
    """Prints, runs and times stages.

    A command that was done, or failed, in this process is not run again. One that was done by an earlier process is:
    the stage finds its result and checks it; its time remains what it took to make.

    Args:
        run: stage and arguments -> exit code; raises InputError.
        folder: folder of the times.
    """

    def __init__(self, run: Callable[[str, Sequence[str]], int], folder: Path):
        self._run = run
        self._folder = folder
        self._outcomes: dict[str, InputError | None] = {}

    def __call__(self, stage: str, *words: object) -> float:
        """Run a stage, and return the seconds it took, interrupted attempts included.

        Raises:
            InputError: the stage failed, now or before.
        """
        argv = [str(word) for word in words]
        recorded = recorded_stage(stage)
        key = fingerprint([recorded, argv])
        path = self._folder / f"{recorded}-{key}.json"
        if key not in self._outcomes:
            print(f"\n$ rcnn-svm {stage} {shlex.join(argv)}", flush=True)
            self._outcomes[key] = self._attempt(stage, argv, path)
        failure = self._outcomes[key]
        if failure is not None:
            raise failure
        return _read(path)["seconds"]

    def _attempt(self, stage: str, argv: list[str], path: Path) -> InputError | None:
        """Run a stage and write down its time; return what made it fail."""
        before = _read(path)
        start, done = time.perf_counter(), False
        try:
            code = self._run(stage, argv)
            if code:
                return InputError(f"the {stage} stage ended with exit code {code}; see what it printed")
            done = True
            return None
        except InputError as error:
            return error
        finally:
            now = time.perf_counter() - start
            print(f"{stage}: {now:.1f} s", flush=True)
            if not before["done"]:
                content = {
                    "kind": KIND,
                    "schema": SCHEMA,
                    "stage": recorded_stage(stage),
                    "arguments": argv,
                    "seconds": before["seconds"] + now,
                    "done": done,
                    "provenance": provenance(),
                }
                write_text(path, json.dumps(content, indent=1) + "\n")


def _read(path: Path) -> dict:
    if not path.exists():
        return {"seconds": 0.0, "done": False}
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        check_json_schema(path, content, KIND, SCHEMA, "delete it to run the stage again")
        return {"seconds": float(content["seconds"]), "done": bool(content["done"])}
