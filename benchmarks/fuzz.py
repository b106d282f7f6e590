"""Damages files by chance and looks at what every reader of the package makes of them.

  python -m benchmarks.fuzz --cases 5000 --keep DIR

Every case copies a small valid input, mutates one file of it and reads it in a process of its own, with a limit of time
and memory. What may come out: the reader refuses the file with a sentence (InputError, or a command's exit code 2), or
what it makes of the file is what it makes of the valid one, or it is something else in a file that holds no checksum (a
digit of a coordinate, a pixel). Everything else is a fault, kept in DIR with the file and what was printed; with one
the exit code is 1.

The same seed gives the same mutations of the same files; files hold the time they were written at, so keep them.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="agg")  # before numpy: processes are forked from this one

import argparse
import contextlib
import faulthandler
import multiprocessing
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.fuzz_readers import Reader, Refused, all_readers, digest_of, make_inputs
from benchmarks.fuzz_watch import Watch, run_watched
from rcnn_svm.errors import InputError
from rcnn_svm.reports.table import Table

# In the order of the table; those in capitals are faults.
OUTCOMES = ("refused", "equal", "other, seen", "OTHER, UNSEEN", "TRACEBACK", "CRASHED", "HUNG", "MEMORY", "OUTSIDE")
SECONDS = 10.0
MEMORY = 1 << 30  # bytes that a case may take beside what the process had
CASES_A_PROCESS = 400
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Case:
    """One mutated file: the reader, the number of the case among the reader's, and the seed of all."""

    reader: Reader
    number: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the case among the kept ones."""
        return f"{self.reader.name}-{self.number}".replace(" ", "_").replace("/", "_")

    def prepare(self, valid: Path, folder: Path) -> Path:
        """Write the case's files into an empty folder and return the one that is mutated."""
        self.reader.copy(valid, folder)
        return self.reader.damage(folder, random.Random(f"{self.seed}/{self.reader.name}/{self.number}"))


@dataclass(frozen=True)
class Outcome:
    """What came of a case: one of `OUTCOMES`, and in words what led to it."""

    kind: str
    detail: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether it is something that must not be."""
        return self.kind.isupper()


def fuzz(valid: Path, cases: Sequence[Case], jobs: int = 1, seconds: float = SECONDS) -> Iterator[tuple[Case, Outcome]]:
    """Try cases in processes, `jobs` at once, and yield each with its outcome.

    Args:
        valid: folder that `make_inputs` filled.
        cases: what to try.
        jobs: processes at once.
        seconds: what takes the processor longer has hung.
    """
    left: dict[str, list[Case]] = {}
    for case in reversed(cases):
        left.setdefault(case.reader.name, []).append(case)
    scratch = tempfile.TemporaryDirectory(prefix="fuzz-")  # here, as those who are killed leave their files
    workers = [_Worker(valid, Path(scratch.name)) for _ in range(min(jobs, len(cases)))]
    try:
        for worker in workers:
            worker.start(_next_case(left, workers, worker), seconds)
        while busy := [worker for worker in workers if worker.case is not None]:
            soonest = min(worker.deadline for worker in busy) - time.monotonic()
            ready = wait([worker.answers for worker in busy], max(0, soonest))
            for worker in busy:
                if worker.answers in ready or worker.is_late():
                    yield worker.case, worker.outcome()
                    worker.case = None
                    if left:
                        worker.start(_next_case(left, workers, worker), seconds)
    finally:
        for worker in workers:
            worker.stop()
        scratch.cleanup()


def _next_case(left: dict[str, list[Case]], workers: list[_Worker], worker: _Worker) -> Case:
    """Take a case from those that are left: of the worker's reader, or of one that no other works on.

    So the valid file of a reader is read once, and not by all.
    """
    if worker.reader not in left:
        others = {other.reader for other in workers}
        worker.reader = next((name for name in left if name not in others), next(iter(left)))
    case = left[worker.reader].pop()
    if not left[worker.reader]:
        del left[worker.reader]
    return case


class _Worker:
    """A process that tries one case after the other, replaced by a new one when it dies or has tried many."""

    def __init__(self, valid: Path, scratch: Path):
        self._valid = valid
        self._scratch = scratch
        self._process: Any = None
        self._tried = 0
        self.reader = ""
        self.case: Case | None = None
        self.deadline = 0.0
        self.answers: Connection

    def start(self, case: Case, seconds: float) -> None:
        if self._process is None or self._tried >= CASES_A_PROCESS:
            self.stop()
            self.answers, theirs = FORK.Pipe()
            self._root = Path(tempfile.mkdtemp(dir=self._scratch))
            self._process = FORK.Process(target=_work, args=(self._valid, self._root, theirs), daemon=False)
            self._process.start()
            theirs.close()
            self._tried = 0
        self.case, self.deadline = case, time.monotonic() + seconds
        self._seconds, self._began = seconds, (time.monotonic(), self._worked())
        self._tried += 1
        self.answers.send((case.reader.name, case.number, case.seed))  # readers cannot be sent

    def is_late(self) -> bool:
        """Return whether the case has had its time: of the processor, or 12 times as much without it."""
        now = time.monotonic()
        if now <= self.deadline:
            return False
        waited, worked = now - self._began[0], self._worked() - self._began[1]
        if worked < self._seconds and waited < 12 * self._seconds:  # others have the processor
            self.deadline = now + max(self._seconds - worked, 0.5)
            return False
        return True

    def _worked(self) -> float:
        """Return the seconds of the processor that the process has had, and those of its children that have ended."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def outcome(self) -> Outcome:
        if not self.answers.poll():
            os.kill(self._process.pid, signal.SIGABRT)  # faulthandler prints where all threads are
            self._process.join(5)
            self.stop()
            return Outcome("HUNG", (self._root / "printed").read_text("utf-8", "replace"))
        try:
            return self.answers.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self.stop()
            return Outcome("CRASHED", f"exit code {code}" if code >= 0 else signal.Signals(-code).name)

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with what it started
            self._process.join()
            self.answers.close()
            self._process = None


def _work(valid: Path, root: Path, answers: Connection) -> None:
    """Answer cases with their outcomes until killed; `root` is for its files."""
    os.setpgid(0, 0)
    readers = {reader.name: reader for reader in all_readers()}
    printed = os.open(root / "printed", os.O_RDWR | os.O_CREAT)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    faulthandler.enable(2)
    watch = Watch(root / "touched")
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + 4 * MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wanted: dict[str, str] = {}
    while True:
        try:
            reader, number, seed = answers.recv()
        except EOFError:
            return
        case = Case(readers[reader], number, seed)
        if case.reader.name not in wanted:
            wanted[case.reader.name] = _valid_result(case.reader, valid, root / "valid")
        answers.send(_try(case, valid, root, wanted[case.reader.name], watch))


def _valid_result(reader: Reader, valid: Path, folder: Path) -> str:
    """Return the digest of what a reader makes of the valid input."""
    folder.mkdir()
    reader.copy(valid, folder)
    try:
        return digest_of(reader.read(folder))
    finally:
        shutil.rmtree(folder)


def _try(case: Case, valid: Path, root: Path, wanted: str, watch: Watch) -> Outcome:
    """Read a case in this process."""
    folder = root / f"case{case.number}"  # a new name, as modules may remember files by name and time
    folder.mkdir()
    case.prepare(valid, folder)
    there = _files(folder, case.reader.outputs)
    os.ftruncate(1, 0)
    os.lseek(1, 0, os.SEEK_SET)
    watch.begin()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _status("VmRSS")
    outcome = _outcome(case, folder, wanted)
    taken = _status("VmHWM") - before
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    text = os.pread(1, 1 << 20, 0).decode("utf-8", "replace")
    touched = watch.strays(folder, case.reader.outputs)
    changed = sorted(str(path) for path, _ in there ^ _files(folder, case.reader.outputs))
    shutil.rmtree(folder)
    if not outcome.is_fault:
        if taken > MEMORY:
            return Outcome("MEMORY", f"{taken:,} bytes")
        if touched or changed:
            return Outcome("OUTSIDE", f"touched {touched}, changed {changed}")
        if "Traceback (most recent call last)" in text or "Exception ignored" in text or "HDF5-DIAG" in text:
            return Outcome("TRACEBACK", text)
    return Outcome(outcome.kind, f"{outcome.detail}\n{text}" if outcome.is_fault else "")


def _outcome(case: Case, folder: Path, wanted: str) -> Outcome:
    try:
        found = digest_of(case.reader.read(folder))
    except (InputError, Refused):
        return Outcome("refused")
    except MemoryError:
        return Outcome("MEMORY", traceback.format_exc())
    except BaseException:  # SystemExit too, which no reader may raise
        return Outcome("TRACEBACK", traceback.format_exc())
    if found == wanted:
        return Outcome("equal")
    return Outcome("OTHER, UNSEEN" if case.reader.sealed else "other, seen")


def _status(key: str) -> int:
    """Return a size of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def _files(folder: Path, outputs: tuple[str, ...]) -> set[tuple[Path, tuple[int, ...]]]:
    """Return the files of a case that no output is, with what changes where one is written."""
    found = set()
    for path in folder.rglob("*"):
        if not path.relative_to(folder).parts[0].lstrip(".").startswith(outputs):
            status = path.lstat()
            found.add((path, (status.st_mode, status.st_size, status.st_mtime_ns) if path.is_file() else ()))
    return found


def shared_out(readers: Sequence[Reader], number: int) -> list[int]:
    """Return how many of `number` cases each reader gets, at least one, by their shares."""
    total = sum(reader.share for reader in readers)
    return [max(1, round(number * reader.share / total)) for reader in readers]


def outcome_table(counts: dict[str, Counter[str]]) -> Table:
    """Return the table of outcomes by reader."""
    rows = [
        [name, *(str(found[kind] or "-") for kind in OUTCOMES), str(found.total())] for name, found in counts.items()
    ]
    total = sum(counts.values(), Counter())
    footer = ["all", *(str(total[kind]) for kind in OUTCOMES), str(total.total())]
    return Table(("reader", *OUTCOMES, "cases"), rows, footer)


def main() -> int:
    """Fuzz and print the table; return 1 if a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", metavar="N", type=int, default=5_000, help="mutated files (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the mutations (default: %(default)s)")
    parser.add_argument("--readers", metavar="A,B", help="only readers whose names contain one of these words")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes at once (default: %(default)s)")
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=SECONDS, help="limit of a case (default: %(default)s)"
    )
    parser.add_argument("--keep", metavar="DIR", type=Path, help="folder for the files that show a fault")
    args = parser.parse_args()
    words = args.readers.split(",") if args.readers else [""]
    readers = [reader for reader in all_readers() if any(word.strip() in reader.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="fuzz-valid-") as name:
        valid = Path(name)
        make_inputs_apart(valid)
        numbers = shared_out(readers, args.cases)
        cases = [
            Case(reader, number, args.seed)
            for reader, count in zip(readers, numbers, strict=True)
            for number in range(count)
        ]
        counts: dict[str, Counter[str]] = {reader.name: Counter() for reader in readers}
        start = time.perf_counter()
        for case, outcome in fuzz(valid, cases, args.jobs, args.seconds):
            counts[case.reader.name][outcome.kind] += 1
            if outcome.is_fault:
                print(f"{case.name}: {outcome.kind} {_last_line(outcome.detail)}", flush=True)
                if args.keep:
                    _keep(args.keep, case, outcome, valid)
        seconds = time.perf_counter() - start
    print(outcome_table(counts).text())
    print(f"{len(cases):,} cases in {seconds:.0f} s")
    return int(any(kind.isupper() for found in counts.values() for kind in found))


def make_inputs_apart(folder: Path) -> None:
    """Write the valid files in a process of its own, as threads that it begins do not survive where one is forked."""
    process = FORK.Process(target=_make_quietly, args=(folder,))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the valid files could not be made:\n{(folder / 'printed').read_text()}")


def _make_quietly(folder: Path) -> None:
    printed = os.open(folder / "printed", os.O_WRONLY | os.O_CREAT)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    make_inputs(folder)


def _last_line(text: str) -> str:
    return next((line[:200] for line in reversed(text.splitlines()) if line.strip()), "")


def _keep(folder: Path, case: Case, outcome: Outcome, valid: Path) -> None:
    """Write the case's files and what was printed."""
    kept = folder / case.name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    damaged = case.prepare(valid, kept)
    (folder / f"{case.name}.txt").write_text(f"{outcome.kind}: {damaged.relative_to(folder)}\n{outcome.detail}\n")


if __name__ == "__main__":
    sys.exit(run_watched(main, "benchmarks.fuzz"))
