#!/usr/bin/env python3
"""How much faster are two Dask workers than one? Each stage that is shared out, by one worker and by two.

  python -m benchmarks.workers --voc VOCdevkit --images 80

Workers are processes of one thread on this machine. A stage is timed from the command to its result, joining included;
a turn before those that count lets the workers load their libraries. One and two workers take turns.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from distributed import LocalCluster

from rcnn_svm.cli.main import run_arguments
from rcnn_svm.data import load_voc
from rcnn_svm.data.checks import count_classes
from rcnn_svm.reports.table import Table

ROUNDS = 2


def stages(voc: Path, ids: Path, classes: str, made: Path) -> dict[str, list[str]]:
    """Return the arguments of every stage but --out; `made` has what the stages before it made."""
    data = ["--voc", str(voc), "--ids", str(ids), "--classes", classes]
    proposals, features = str(made / "propose"), str(made / "extract")
    return {
        "propose": [*data, "--method", "fast", "--jobs", "1"],
        "extract": [*data, "--proposals", proposals, "--max-boxes", "100", "--threads", "1"],
        "train": ["--features", features, "--jobs", "1"],
        "test": ["--features", features, "--model", str(made / "train")],
    }


def main() -> int:
    """Run every stage by one and by two workers, in turns, and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", metavar="ROOT", type=Path, required=True, help="VOCdevkit folder")
    parser.add_argument("--images", metavar="N", type=int, default=80, help="images (default: %(default)s)")
    args = parser.parse_args()
    database = load_voc(args.voc)
    chosen = database.subset(database.image_ids[: args.images])
    objects = count_classes(chosen)[0]
    classes = ",".join(name for name, count in zip(chosen.classes, objects, strict=True) if count)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = folder / "ids.txt"
        ids.write_text("\n".join(chosen.image_ids), encoding="utf-8")
        clusters = {
            number: LocalCluster(n_workers=number, threads_per_worker=1, processes=True, dashboard_address=None)
            for number in (1, 2)
        }
        try:
            for stage in stages(args.voc, ids, classes, folder / "made"):
                seconds: dict[int, list[float]] = {1: [], 2: []}
                for turn in range(ROUNDS + 1):
                    for number, cluster in clusters.items():
                        out = folder / "out"
                        words = [
                            *stages(args.voc, ids, classes, folder / "made")[stage],
                            "--out",
                            str(out),
                            "--scheduler",
                            cluster.scheduler_address,
                        ]
                        begun = time.perf_counter()
                        run_arguments(stage, words)
                        if turn:
                            seconds[number].append(time.perf_counter() - begun)
                        if turn == ROUNDS and number == 2:
                            (folder / "made").mkdir(exist_ok=True)
                            shutil.move(out, folder / "made" / stage)
                        else:
                            shutil.rmtree(out) if out.is_dir() else out.unlink()
                one, two = (statistics.median(seconds[number]) for number in (1, 2))
                rows.append([stage, f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}"])
                print(f"{stage}: {seconds}", file=sys.stderr, flush=True)
        finally:
            for cluster in clusters.values():
                cluster.close()
    print(Table(("stage", "1 worker, s", "2 workers, s", "ratio"), rows).text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
