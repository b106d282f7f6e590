"""Disturbs every stage that writes something, runs the same command again and compares with an undisturbed run.

  python -m benchmarks.faults --times 50 --seed 0

kill: SIGKILL at random moments, half of them just before a change of a file. signals: SIGINT, SIGTERM and SIGHUP at
random moments. disk: a disk that is full at a random write. folder: the output can no longer be written, or it or the
input is gone, at a random moment. two: a second process with the same command. shards: a shard of a feature cache
deleted, cut, or with a bit flipped. order: whether files and folders are on disk before a name says that they are.

Lost is what must not be: a command that prints a traceback, hangs, takes damaged data, calls a result complete that is
not, or, run again when the fault is over, refuses to go on or makes other bytes than the undisturbed one. Times in what
is written, and checksums over them, are not compared. With a loss the exit code is 1. Ctrl-C prints the table so far.

Moments are those of the processor's clock of a command, so that a busy machine does not move them. Linux only.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="agg")  # before numpy: processes are forked from this one

import argparse
import contextlib
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.faults_kinds import KINDS, Outcome, Place, times_of
from benchmarks.faults_process import load_libraries, mounts_of_our_own
from benchmarks.faults_world import STAGES, Stage, make_world
from rcnn_svm.reports.table import Table

TOTALS = ("injected", "told", "survived", "lost")


def inject(
    place: Place, kinds: Sequence[str], stages: Sequence[str], times: int, seed: int
) -> Iterator[tuple[Stage, str, int, Outcome]]:
    """Inject faults and yield each with its stage, its kind, its number and what came of it.

    They come in rounds, one fault of every kind in every stage, so that a part of them is spread as all are.

    Args:
        place: where, with its world.
        kinds: of `KINDS`.
        stages: names of stages; those that a kind does not come to are left out.
        times: faults of each kind in each stage.
        seed: of all that is random.
    """
    numbers = {}
    for name in stages:
        for kind in kinds:
            count = times_of(kind, name, times)
            numbers[name, kind] = random.Random(f"{seed}/{name}/{kind}").sample(range(count), count)
    for turn in range(times):
        for (name, kind), order in numbers.items():
            if turn < len(order):
                number = order[turn]
                rng = random.Random(f"{seed}/{name}/{kind}/{number}")
                yield STAGES[name], kind, number, KINDS[kind](place, STAGES[name], number, len(order), rng)


def fault_table(counts: Mapping[str, Counter[str]], kinds: Sequence[str], about: Sequence[str]) -> Table:
    """Return the table of faults by stage: those of every kind, then how many of all were told, survived, lost."""
    total: Counter[str] = sum(counts.values(), Counter())
    rows = [
        [name, *(str(found[column] or "-") for column in (*kinds, *TOTALS))]
        for name, found in [*counts.items(), ("all", total)]
    ]
    return Table(("stage", *kinds, *TOTALS), rows[:-1], rows[-1], notes=about)


def main() -> int:
    """Inject faults and print the table; return 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", metavar="A,B", default=",".join(KINDS), help="of %(default)s (default: all)")
    parser.add_argument("--stages", metavar="A,B", default=",".join(STAGES), help="of %(default)s (default: all)")
    parser.add_argument(
        "--times", metavar="N", type=int, default=50, help="faults of a kind in a stage (default: %(default)s)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of all random moments (default: %(default)s)")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="folder for what was written where something was lost")
    args = parser.parse_args()
    kinds, stages = args.kinds.split(","), args.stages.split(",")
    for given, known in ((kinds, KINDS), (stages, STAGES)):
        if not set(given) <= set(known):
            parser.error(f"{', '.join(set(given) - set(known))}: expected some of {', '.join(known)}")
    start = time.monotonic()
    load_libraries()
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    about, done = [], 0
    mounts = "disk" in kinds and mounts_of_our_own()
    if "disk" in kinds:
        how = "a small disk in memory" if mounts else "a limit of a file's size, as nothing can be mounted here"
        about.append(f"disk: {how}.")
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        place = Place(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-"))), mounts=mounts)
        stack.callback(place.close)
        place.world.mkdir()
        place.out.mkdir()
        make_world(place.must_run, place.world)
        print(f"the world is made: {time.monotonic() - start:.0f} s", flush=True)
        for stage, kind, number, outcome in inject(place, kinds, stages, args.times, args.seed):
            found = counts[stage.name]
            found.update({kind: int(outcome.injected), "injected": int(outcome.injected)})
            found.update(
                {
                    "told": int(outcome.told),
                    "survived": int(outcome.injected and not outcome.lost),
                    "lost": int(bool(outcome.lost)),
                }
            )
            if outcome.lost:
                print(f"{stage.name}, {kind} {number}: LOST: {outcome.lost}", flush=True)
                if args.keep:
                    shutil.copytree(place.out, args.keep / f"{stage.name}-{kind}-{number}", dirs_exist_ok=True)
            done += 1
            if done % 50 == 0:
                print(f"{done} faults, {time.monotonic() - start:.0f} s", flush=True)
    print(fault_table(counts, kinds, about).text(120))
    print(f"seed {args.seed}, {done} faults tried, {time.monotonic() - start:.0f} s")
    return int(any(found["lost"] for found in counts.values()))


if __name__ == "__main__":
    raise SystemExit(main())
