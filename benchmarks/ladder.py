#!/usr/bin/env python3
"""The ladder of detectors: what each preset of `rcnn-svm run`, and each part of one, costs and finds.

  python -m benchmarks.ladder --voc VOCdevkit --out cache/ladder

Runs every rung in a folder of its own, on the subset of VOC 2007 in benchmarks/voc2007_subset, and prints one table:
seconds of each stage and of all, mAP of both protocols with a bootstrap interval over the test images. A rung takes
over what an earlier one made by the same settings, and counts the seconds that it took there. Stopped at any moment,
the same command goes on; seconds of a stage that was interrupted are those of its last part. With --only some rungs;
with --fold I the training images alone are used, two thirds of them to train on: settings are decided so, never on the
test images.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

from rcnn_svm.artefacts.files import write_text
from rcnn_svm.cli.arguments import read_ids
from rcnn_svm.cli.main import run_command
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.bootstrap import bootstrap_map, interval
from rcnn_svm.reports.table import Table

SUBSET = Path(__file__).parent / "voc2007_subset"
FOLDS = 3
BARE = ("--no-vote", "--again", "0", "--no-soft-nms")
# The paper's settings with 200 boxes (more gain nothing: docs/results.md, "What time buys"); then what own images take,
# step by step; then the other presets.
RUNGS = {
    "paper, 200 boxes": ["--preset", "paper", "--max-boxes", "200", "--pos-loss-weight", "auto"],
    "learnt order, several layers": ["--preset", "standard", "--no-bbox", *BARE],
    "+ box regression": ["--preset", "standard", *BARE],
    "+ box voting": ["--preset", "standard", "--again", "0", "--no-soft-nms"],
    "+ scored again": ["--preset", "standard", "--no-soft-nms"],
    "standard": ["--preset", "standard"],
    "quick": ["--preset", "quick"],
    "best": ["--preset", "best"],
}
# A rung whose first artefacts another takes over, and which.
TAKEN_OVER = {
    "+ box regression": ("learnt order, several layers", ("ranker.h5", "proposals", "features", "model.h5")),
    "+ box voting": ("+ box regression", ("ranker.h5", "proposals", "features", "model.h5", "bbox.h5")),
    "+ scored again": ("+ box voting", ("ranker.h5", "proposals", "features", "model.h5", "bbox.h5")),
    "standard": ("+ scored again", ("ranker.h5", "proposals", "features", "model.h5", "bbox.h5")),
    "quick": ("standard", ("ranker.h5",)),
}
MADE_BY = {
    "ranker.h5": "rank",
    "proposals": "propose",
    "features": "extract",
    "model.h5": "train",
    "bbox.h5": "train-bbox",
}

Timed = tuple[str, float]


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


def folder_of(name: str, out: Path) -> Path:
    """Return the folder of a rung."""
    return out / re.sub(r"\W+", "_", name).strip("_")


def take_over(source: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Link what another rung made into the folder of this one; no file is ever changed, only replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, copy_function=os.link, dirs_exist_ok=True)
        elif (source / name).exists() and not (folder / name).exists():
            os.link(source / name, folder / name)


def with_earlier(own: list[Timed], earlier: list[Timed]) -> list[Timed]:
    """Return the stages of a rung; what an earlier rung made counts as long as it took there.

    Args:
        own: name and seconds of the stages of the rung, in order.
        earlier: those of the rung that it takes over from, where it does.
    """
    waiting = list(earlier)
    stages = []
    for name, seconds in own:
        known = next((timed for timed in waiting if timed[0] == name), None)
        if known:
            waiting.remove(known)
        stages.append((name, max(seconds, known[1] if known else 0)))
    return [*waiting, *stages]


def run_rung(name: str, options: list[str], voc: Path, train: list[str], test: list[str], out: Path) -> dict:
    """Run a rung, or go on with it; return its record."""
    folder = folder_of(name, out)
    record = folder / "rung.json"
    if record.exists():
        return json.loads(record.read_text())
    earlier: list[Timed] = []
    source, names = TAKEN_OVER.get(name, ("", ()))
    if source and (known := folder_of(source, out) / "rung.json").exists():
        take_over(known.parent, folder, names)
        stages = {MADE_BY[name] for name in names}
        earlier = [(stage, value) for stage, value in json.loads(known.read_text())["stages"] if stage in stages]
    for side, ids in (("train", train), ("test", test)):
        write_text(folder / f"{side}.txt", "\n".join(ids) + "\n")
    argv = ["--voc", voc, "--train-ids", folder / "train.txt", "--test-ids", folder / "test.txt", "--out", folder]
    tested_on = "trainval" if set(test) & set(subset_ids("trainval")) else "test"
    split = ["--train-split", "trainval", "--test-split", tested_on]
    echo = Echo(sys.stdout)
    with contextlib.redirect_stdout(echo):
        code = run_command("run", [*map(str, argv), *split, *options, "--pictures", "12"])
    if code:
        raise SystemExit(code)
    found = re.findall(r"^([\w-]+): ([\d.]+) s$", "".join(echo.kept), re.MULTILINE)
    timed = with_earlier([(stage, float(value)) for stage, value in found], earlier)
    detections = Detections.load(folder / "detections.h5")
    values = bootstrap_map(detections, load_voc(voc, "2007", tested_on, ids=test, classes=detections.classes))
    content = json.loads((folder / "report" / "results.json").read_text())
    made = {
        "options": options,
        "stages": timed,
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
        seconds: dict[str, float] = {}
        for stage, value in made["stages"]:
            seconds[stage] = seconds.get(stage, 0) + value
        ends = [f"{100 * end:.1f}" for end in made["interval11"]]
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


def subset_ids(side: str) -> list[str]:
    """Return the images of the subset, `trainval` or `test`."""
    return read_ids(SUBSET / f"{side}.txt")


def main() -> None:
    """Run the rungs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", metavar="ROOT", type=Path, required=True, help="VOCdevkit folder")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("cache/ladder"), help="where to work")
    parser.add_argument("--only", metavar="RUNG", nargs="+", choices=tuple(RUNGS), help="these rungs alone")
    parser.add_argument("--fold", metavar="I", type=int, choices=range(FOLDS), help="cross-validate on trainval")
    args = parser.parse_args()
    train, test = subset_ids("trainval"), subset_ids("test")
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
