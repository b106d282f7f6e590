"""Changes one thing in the code at a time, and looks whether a test notices: mutation testing.

  python -m benchmarks.mutation --mutants 300 --out mutants.jsonl

Of all changes that `benchmarks/mutants.py` knows, a sample is drawn by the seed. Every one is made in a copy of the
tree, in a process of its own, which runs the tests that execute the line, those that mirror the module first; they are
found by a run with coverage. Lines of compiled functions, and those that run at import, are tested by the room that
mirrors them. A change is noticed when a test fails, or when they take a minute more than three times as long as before.
Those that are not are printed: each is a test that is missing, or a change that changes nothing. Changes that are in
FILE already are not made again.

Why not mutmut or cosmic-ray: the first replaces functions by ones that choose a mutant at run time, which numba does
not compile; the second starts Python anew for every change, and loading torch takes longer than most tests here.
"""

from __future__ import annotations

import os

# Before numpy: processes are forked from this one, and threads would be lost on the way.
os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", MPLBACKEND="agg", PYTHONDONTWRITEBYTECODE="1")

import argparse
import contextlib
import importlib
import json
import multiprocessing
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from coverage import CoverageData

from benchmarks.mutants import Mutant, mutants_of
from rcnn_svm.reports.table import Table

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "rcnn_svm"
TARGETS = ("rcnn_svm/mining", "rcnn_svm/svm", "rcnn_svm/boxes.py")
TESTS = ("tests/mining", "tests/svm", "tests/test_boxes.py")
# What takes long to load, and is the same for all mutants.
HEAVY = ("torch", "torchvision", "numba", "scipy.optimize", "sklearn.svm", "h5py", "cv2", "hypothesis", "joblib")
MOST_TESTS = 250
MOST_SECONDS = 240.0  # of the tests that a mutant is given to, as they take without one
SLOWER, PATIENCE = 3.0, 60.0
_DURATION = re.compile(r"([\d.]+)s (?:call|setup|teardown) +(tests/\S.*)")
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: `killed`, `slow`, `survived`, or `not run` where no test executes its line."""

    file: str
    line: int
    start: int
    before: str
    after: str
    outcome: str
    tests: int
    seconds: float


class Baseline:
    """Which tests execute a line, and how long they take.

    Args:
        tree: a copy of the repository.
        tests: the tests that are run.
    """

    def __init__(self, tree: Path, tests: Sequence[str]):
        data = tree / ".coverage"
        command = [sys.executable, "-m", "pytest", *_OPTIONS, "--durations=0", "--durations-min=0", "-vv"]
        # No least coverage: these are not all tests.
        command += [f"--cov={PACKAGE}", "--cov-context=test", "--cov-report=", "--cov-fail-under=0", *tests]
        run = subprocess.run(command, cwd=tree, env=_environment(tree), capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"the tests do not pass without a mutant:\n{run.stdout[-3000:]}{run.stderr[-3000:]}")
        self.seconds: dict[str, float] = defaultdict(float)
        for seconds, test in _DURATION.findall(run.stdout):
            self.seconds[test] += float(seconds)
        self._data = CoverageData(str(data))
        self._data.read()
        self._tree = tree

    def tests_of(self, file: str, mutant: Mutant) -> list[str]:
        """Return the tests that a mutant is given to, the likeliest first; none where no test executes its line."""
        contexts = self._data.contexts_by_lineno(str(self._tree / file))
        of_line = set(contexts.get(mutant.line, ()))
        named = {context.split("|")[0] for context in of_line if context}
        if mutant.compiled or (not named and of_line):
            return self._room(file)
        chosen, total, mirror = [], 0.0, _mirror(file)
        for test in sorted(named, key=lambda test: (not test.startswith(mirror), self.seconds[test], test)):
            total += self.seconds[test]
            if chosen and total > MOST_SECONDS:
                break
            chosen.append(test)
        return chosen[:MOST_TESTS]

    def _room(self, file: str) -> list[str]:
        """Return the folder of tests that mirrors a module's; the file that mirrors one which is in no room."""
        path = Path("tests", *Path(file).parts[1:])
        return [str(path.parent)] if path.parent.name != "tests" else [_mirror(file)]

    def time_of(self, tests: Iterable[str]) -> float:
        """Return the seconds that tests, files or folders of them, take."""
        named = tuple(tests)
        return sum(seconds for test, seconds in self.seconds.items() if test.startswith(named))


def _mirror(file: str) -> str:
    """Return the file of tests that mirrors a module."""
    path = Path("tests", *Path(file).parts[1:])
    return str(path.with_name(f"test_{path.name}"))


_OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")


def _environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": str(tree / "numba")}


def copy_tree(to: Path) -> None:
    """Copy what tests need of the repository."""
    for name in ("rcnn_svm", "tests", "benchmarks", "docs", "scripts"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, to)


def _child(tree: Path, tests: list[str], compiled: bool) -> None:
    """Run tests in a copy of the tree, and end with pytest's exit code."""
    os.setsid()
    os.chdir(tree)
    os.environ.update(_environment(tree))
    if compiled:  # machine code of what calls the mutant may hold a copy of the function as it was
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(dir=tree)
    importlib.import_module("numba").config.reload_config()
    sys.dont_write_bytecode = True
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("benchmarks", PACKAGE, "tests")]:
        del sys.modules[name]
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    import pytest

    os._exit(int(pytest.main([*_OPTIONS, "-x", *tests])))


def try_mutant(tree: Path, file: str, mutant: Mutant, baseline: Baseline) -> Outcome:
    """Make one change in a copy of the tree, run its tests and take it back."""
    path = tree / file
    source = path.read_bytes()
    tests = baseline.tests_of(file, mutant)
    began = time.monotonic()
    outcome = "not run"
    if tests:
        path.write_bytes(mutant.applied(source))
        process = FORK.Process(target=_child, args=(tree, tests, mutant.compiled))
        process.start()
        process.join(SLOWER * baseline.time_of(tests) + PATIENCE)
        outcome = "slow" if process.exitcode is None else "killed" if process.exitcode else "survived"
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what the tests started
        process.join()
        path.write_bytes(source)
    seconds = time.monotonic() - began
    return Outcome(file, mutant.line, mutant.start, mutant.before, mutant.after, outcome, len(tests), round(seconds, 1))


def draw(tree: Path, targets: Sequence[str], count: int, seed: int) -> list[tuple[str, Mutant]]:
    """Return a sample of all mutants of files and folders, by file and line."""
    files = [
        path.relative_to(tree)
        for target in targets
        for path in sorted((tree / target).rglob("*.py") if (tree / target).is_dir() else [tree / target])
    ]
    every = [(str(file), mutant) for file in files for mutant in mutants_of((tree / file).read_bytes())]
    chosen = random.Random(seed).sample(range(len(every)), min(count, len(every)))
    print(f"{len(chosen)} of {len(every)} mutants of {len(files)} files")
    return [every[index] for index in sorted(chosen)]


def summary(outcomes: Sequence[Outcome]) -> Table:
    """Return how many mutants of every file were noticed."""
    by_file: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_file[outcome.file].append(outcome)
    rows = [[file, *_counts(found)] for file, found in by_file.items()]
    return Table(("file", "mutants", "noticed", "survived", "not run", "%"), rows, ["all", *_counts(outcomes)])


def _counts(outcomes: Sequence[Outcome]) -> list[str]:
    noticed = sum(outcome.outcome in ("killed", "slow") for outcome in outcomes)
    survived = sum(outcome.outcome == "survived" for outcome in outcomes)
    counts = len(outcomes), noticed, survived, len(outcomes) - noticed - survived
    return [*map(str, counts), f"{100 * noticed / max(len(outcomes), 1):.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", metavar="FILE", nargs="*", default=TARGETS, help="modules, or folders of them")
    parser.add_argument("--tests", metavar="PATH", nargs="+", default=TESTS, help="tests that may notice")
    parser.add_argument("--mutants", metavar="N", type=int, default=300, help="size of the sample (default: 300)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seeds the sample (default: 0)")
    parser.add_argument("--out", metavar="FILE.jsonl", type=Path, required=True, help="a line for every mutant")
    args = parser.parse_args()
    for name in HEAVY:
        importlib.import_module(name)
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    outcomes = [Outcome(**json.loads(line)) for line in lines]
    done = {(outcome.file, outcome.start, outcome.after) for outcome in outcomes}
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder).resolve()
        copy_tree(tree)
        drawn = draw(tree, args.targets, args.mutants, args.seed)
        todo = [(file, mutant) for file, mutant in drawn if (file, mutant.start, mutant.after) not in done]
        baseline = Baseline(tree, args.tests)
        print(f"{len(baseline.seconds)} tests pass in {sum(baseline.seconds.values()):.0f} s", flush=True)
        for number, (file, mutant) in enumerate(todo, 1):
            outcome = try_mutant(tree, file, mutant, baseline)
            outcomes.append(outcome)
            with args.out.open("a") as stream:
                print(json.dumps(asdict(outcome)), file=stream)
            if outcome.outcome in ("survived", "not run"):
                change = f"{outcome.before} -> {outcome.after}"
                print(f"{number}/{len(todo)} {file}:{mutant.line}: {outcome.outcome}: {change}", flush=True)
    print(summary(outcomes).text())


if __name__ == "__main__":
    main()
