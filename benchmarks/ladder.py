#!/usr/bin/env python3
"""The ladder of detectors: what each preset of `rcnn-svm run`, and each part of one, costs and finds.

  python benchmarks/ladder.py --voc VOCdevkit --out cache/ladder

Runs every rung in a folder of its own, on the subset of VOC 2007 in benchmarks/voc2007_subset, and prints one table:
seconds of each stage and of all, mAP of both protocols with a bootstrap interval over the test
images. Stopped at any moment, the same command goes on; seconds of a stage that was interrupted are those of its last
part. With --only some rungs; with --fold I the training images alone are used, two thirds of them to train on: settings
are decided so, never on the test images.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
from pathlib import Path

from rcnn_svm.artefacts.files import write_text
from rcnn_svm.cli.main import run_command
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.bootstrap import bootstrap_map, interval
from rcnn_svm.reports.table import Table

SUBSET = Path(__file__).parent / "voc2007_subset"
FOLDS = 3
# What is added step by step, from the paper's settings with 400 boxes; then the presets.
RUNGS = {
    "paper, 400 boxes": ["--preset", "paper", "--max-boxes", "400", "--pos-loss-weight", "auto"],
    "+ several layers": ["--preset", "paper", "--max-boxes", "400", "--layer", "multi", "--pos-loss-weight", "auto"],
    "+ learnt order, 100 boxes": ["--preset", "standard", "--no-bbox", "--no-vote", "--again", "0"],
    "+ box regression": ["--preset", "standard", "--no-vote", "--again", "0"],
    "+ box voting": ["--preset", "standard", "--again", "0"],
    "quick": ["--preset", "quick"],
    "standard": ["--preset", "standard"],
    "best": ["--preset", "best"],
}


class Echo(io.TextIOBase):
    """Text that is printed and kept."""

    def __init__(self, stream: io.TextIOBase):
        self._stream = stream
        self.kept: list[str] = []

    def write(self, text: str) -> int:
        self.kept.append(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


def run_rung(name: str, options: list[str], voc: Path, train: list[str], test: list[str], out: Path) -> dict:
    """Run a rung, or go on with it; return its record."""
    folder = out / re.sub(r"\W+", "_", name).strip("_")
    record = folder / "rung.json"
    if record.exists():
        return json.loads(record.read_text())
    for side, ids in (("train", train), ("test", test)):
        write_text(out / f"{side}.txt", "\n".join(ids) + "\n")
    argv = ["--voc", voc, "--train-ids", out / "train.txt", "--test-ids", out / "test.txt", "--out", folder]
    split = ["--train-split", "trainval", "--test-split", "trainval" if set(test) & set(_ids("trainval")) else "test"]
    echo = Echo(sys.stdout)
    with contextlib.redirect_stdout(echo):
        code = run_command("run", [*map(str, argv), *split, *options, "--pictures", "12"])
    if code:
        raise SystemExit(code)
    stages = re.findall(r"^([\w-]+): ([\d.]+) s$", "".join(echo.kept), re.MULTILINE)
    seconds: dict[str, float] = {}
    for stage, value in stages:
        seconds[stage] = seconds.get(stage, 0) + float(value)
    database = load_voc(voc, "2007", split[3], ids=test)
    detections = Detections.load(folder / "detections.h5")
    values = bootstrap_map(detections, database)
    content = json.loads((folder / "report" / "results.json").read_text())
    made = {
        "options": options,
        "seconds": seconds,
        "map11": content["map_voc07"],
        "map_area": content["map_area"],
        "interval11": interval(values[:, 0]),
        "interval_area": interval(values[:, 1]),
    }
    write_text(record, json.dumps(made, indent=1) + "\n")
    return made


def table_of(records: dict[str, dict]) -> Table:
    """Return the table of rungs."""
    rows = []
    for name, made in records.items():
        seconds, ends = made["seconds"], [f"{100 * end:.1f}" for end in made["interval11"]]
        parts = ("rank", "propose", "extract", "train", "train-bbox")
        rows.append(
            [
                name,
                *(f"{seconds[part]:.0f}" if part in seconds else "" for part in parts),
                f"{sum(seconds.values()):.0f}",
                f"{100 * made['map11']:.1f}",
                "-".join(ends),
                f"{100 * made['map_area']:.1f}",
            ]
        )
    head = ("rung", "rank", "propose", "extract", "train", "bbox", "all, s", "mAP 11", "95 %", "mAP area")
    return Table(head, rows)


def _ids(side: str) -> list[str]:
    return (SUBSET / f"{side}.txt").read_text().split()


def main() -> None:
    """Run the rungs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", metavar="ROOT", type=Path, required=True, help="VOCdevkit folder")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("cache/ladder"), help="where to work")
    parser.add_argument("--only", metavar="RUNG", nargs="+", choices=tuple(RUNGS), help="these rungs alone")
    parser.add_argument("--fold", metavar="I", type=int, choices=range(FOLDS), help="cross-validate on trainval")
    args = parser.parse_args()
    train, test = _ids("trainval"), _ids("test")
    if args.fold is not None:
        test = train[args.fold :: FOLDS]
        train = [image_id for image_id in train if image_id not in set(test)]
    records = {}
    try:
        for name in args.only or RUNGS:
            records[name] = run_rung(name, RUNGS[name], args.voc, train, test, args.out)
    except InputError as error:
        sys.exit(f"ladder: error: {error}")
    table = table_of(records)
    write_text(args.out / "ladder.md", table.markdown() + "\n")
    print(table.text())


if __name__ == "__main__":
    main()
