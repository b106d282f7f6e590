#!/usr/bin/env python3
"""What does a detector's second day cost? A week with own photos, every command timed.

  python -m benchmarks.week --voc VOCdevkit --out cache/week

Photos of cats and dogs from VOC 2007 stand for a user's own, with boxes in one CSV file: 80, ten more the next day, a
third class, photos without any of them, a video that nobody has looked at, all photos, and the detector on another
machine. Every step is a command of its own, as it is typed.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from rcnn_svm.data import ImageDatabase, load_voc
from rcnn_svm.reports.table import Table, percent

FIRST, NEXT = ("cat", "dog"), "horse"
PHOTOS, MORE, OF_NEXT, BACKGROUND = 80, 10, 15, 15
SECONDS, FPS, SIZE = 30, 25, (480, 360)  # of the video


@dataclass
class Week:
    """The user's folder, and what each step took.

    Attributes:
        database: where the photos come from.
        out: the folder.
        rows: the step, its command, its wall seconds and the mAP of the run, if it was one.
    """

    database: ImageDatabase
    out: Path
    rows: list[list[str]] = field(default_factory=list)

    def label(self, photos: Sequence[int], classes: Sequence[str]) -> None:
        """Put photos into the user's folder, and the boxes of some classes in them into his file."""
        (self.out / "photos").mkdir(parents=True, exist_ok=True)
        with open(self.out / "boxes.csv", "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("image", "x1", "y1", "x2", "y2", "class"))
            for photo in photos:
                path = Path(self.database.image_path(photo))
                shutil.copy(path, self.out / "photos" / path.name)
                truth = self.database.annotation(photo)
                for box, cls in zip(truth.boxes.tolist(), truth.classes.tolist(), strict=True):
                    name = self.database.classes[cls]
                    if name in classes:
                        writer.writerow((path.name, *map(round, box), name))

    def step(self, title: str, *words: str) -> None:
        """Run a command in the user's folder, and remember how long it took."""
        print(f"\n{title}\n$ {shlex.join(['rcnn-svm', *words])}", flush=True)
        begun = time.perf_counter()
        command = [sys.executable, "-m", "rcnn_svm", *words]
        subprocess.run(command, cwd=self.out, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
        report = self.out / "run/report/results.json"
        tested = words[0] == "run" and "--test-fraction" not in words
        figure = json.loads(report.read_text(encoding="utf-8"))["map_voc07"] if tested else None
        self.rows.append([title, words[0], f"{seconds:.0f}", percent(figure)])


def names_in(database: ImageDatabase, photo: int) -> set[str]:
    """Return the classes of which a photo shows an object."""
    return {database.classes[cls] for cls in database.annotation(photo).classes.tolist()}


def write_video(database: ImageDatabase, photos: Sequence[int], path: Path) -> None:
    """Write a video that pans over photos, some seconds each."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, SIZE)
    frames = SECONDS * FPS // len(photos)
    for photo in photos:
        wide = cv2.resize(database.load_image(photo), (SIZE[0] * 5 // 4, SIZE[1]))
        for frame in range(frames):
            left = frame * (wide.shape[1] - SIZE[0]) // frames
            writer.write(np.ascontiguousarray(wide[:, left : left + SIZE[0], ::-1]))
    writer.release()


def main() -> int:
    """Live the week and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", metavar="ROOT", type=Path, required=True, help="VOCdevkit folder")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the user's folder; made anew")
    args = parser.parse_args()

    database = load_voc(args.voc, 2007, "trainval")
    shows = [names_in(database, photo) for photo in range(len(database))]
    pets = [photo for photo, names in enumerate(shows) if names & {*FIRST} and NEXT not in names]
    of_next = [photo for photo, names in enumerate(shows) if NEXT in names][:OF_NEXT]
    others = [photo for photo, names in enumerate(shows) if not names & {*FIRST, NEXT, "person"}]
    shutil.rmtree(args.out, ignore_errors=True)
    week = Week(database, args.out.resolve())

    run = ("run", "--csv", "boxes.csv", "--images", "photos", "--out", "run")
    week.label(pets[:PHOTOS], FIRST)
    week.step(f"{PHOTOS} photos", *run)
    week.step("the same again", *run)
    week.label(pets[: PHOTOS + MORE], FIRST)
    week.step(f"{MORE} photos more", *run)
    week.label([*pets[: PHOTOS + MORE], *of_next], (*FIRST, NEXT))
    week.step(f"a new class, {len(of_next)} photos", *run)
    (week.out / "street").mkdir()
    for photo in others[:BACKGROUND]:
        shutil.copy(database.image_path(photo), week.out / "street")
    week.step(f"{BACKGROUND} photos without objects", *run, "--negatives", "street")
    write_video(database, others[BACKGROUND : BACKGROUND + 10], week.out / "yard.avi")
    week.step(f"a video of {SECONDS} s mined", "mine", "--model", "run/detector.h5", "yard.avi", "--out", "mined")
    (features,) = (path for path in (week.out / "run/features").iterdir() if "train" in path.name)
    mined = ("--mined", "mined/manifest.jsonl", "--out", "again.h5")
    week.step("trained with it", "train", "--features", str(features.relative_to(week.out)), *mined)
    week.step("all photos", *run, "--negatives", "street", "--test-fraction", "0")
    week.step("export", "export", "run/everything/detector.h5", "--out", "exported")
    photo = Path(database.image_path(pets[-1]))
    shutil.copy(photo, week.out)
    week.step("one photo elsewhere", "detect", "--model", "exported", photo.name, "--out", "found")
    notes = ("Seconds of the whole command; mAP by 11 levels of the photos set aside, the same ones but for new ones.",)
    print("\n" + Table(("step", "command", "s", "mAP"), week.rows, notes=notes, left=(0, 1)).text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
