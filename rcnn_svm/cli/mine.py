"""Finds hard negatives among images and videos that nobody has labelled: regions that the model fires on.

Most of them are background that looks like an object; some are real objects. The sheets show all, the highest scores
first: strike out what is real in OUT/manifest.jsonl, by deleting its line or by "keep": false. The rest are negatives
of the classes that fired:

  rcnn-svm mine --model run/detector.h5 yard.mp4 holidays/ --out mined
  rcnn-svm train --features DIR --mined mined/manifest.jsonl --out better.h5

Regions are the proposals with the scores of the SVMs, before boxes are corrected and voted. A region is taken where it
scores above --thresh: by default above the margin of the training, -1, since what is above has weight in a detector.
Images are read one at a time, of a video one frame a second: neighbouring frames show the same. What a class fires on
in several frames is taken once. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rcnn_svm.cli.arguments import (
    add_made_with_argument,
    add_method_argument,
    add_overwrite_argument,
    positive_float,
    positive_int,
)
from rcnn_svm.cli.surroundings import say
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from rcnn_svm.detection.detect import ImageDetector
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.mining.mined_regions import MinedRegion
    from rcnn_svm.mining.unlabelled import Guards

EVERY = 1.0  # seconds between two frames
# Those of `Guards`, which take a second to load.
THRESH, PER_IMAGE = -1.0, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="image, video, or folder of both")
    parser.add_argument(
        "--model", metavar="FILE", type=Path, required=True, help="model of the train or assemble stage"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("cache/mined"), help="where to write (default: %(default)s)"
    )
    add_overwrite_argument(parser, "what was mined before, with what was struck out,")
    parser.add_argument(
        "--every",
        metavar="SECONDS",
        type=positive_float,
        default=EVERY,
        help="seconds of a video between two frames that are looked at (default: %(default)s)",
    )
    guards = parser.add_argument_group("what is taken")
    guards.add_argument(
        "--thresh",
        metavar="SCORE",
        type=float,
        default=THRESH,
        help="regions that score above this (default: %(default)s, the margin)",
    )
    guards.add_argument(
        "--max-score",
        metavar="SCORE",
        type=float,
        help="no region that scores above this: it may be a real object (default: no limit)",
    )
    guards.add_argument(
        "--per-image",
        metavar="N",
        type=positive_int,
        default=PER_IMAGE,
        help="so many regions of an image or a frame, the best (default: %(default)s)",
    )
    made = parser.add_argument_group("proposals and features")
    add_method_argument(made, otherwise="as for the model's training images")
    made.add_argument("--max-boxes", metavar="N", type=positive_int, help="with --method: only the first N proposals")
    add_made_with_argument(made, "state dict of the network, where the features were made with one")


class Taken(NamedTuple):
    """An image that is looked at.

    Attributes:
        place: number of its file among all.
        source: the file.
        frame: number of the frame; None for an image.
        time: its second in the video; None for an image.
        image: (H, W, 3) uint8 RGB.
    """

    place: int
    source: Path
    frame: int | None
    time: float | None
    image: np.ndarray


def run(args: argparse.Namespace) -> None:
    """Mine and write the folder, or find it done.

    Raises:
        InputError: nothing can be mined with what is given; or, when all is done, some files could not be read.
    """
    import shutil

    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable, file_digest, fingerprint, write_text
    from rcnn_svm.artefacts.identity import already_done, say_written
    from rcnn_svm.data.image_folder import images_at
    from rcnn_svm.data.video import VIDEO_SUFFIXES
    from rcnn_svm.detection.detect import ImageDetector
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.mining.mined_regions import MANIFEST, RECORD, read_record, write_record, write_regions
    from rcnn_svm.mining.unlabelled import Guards
    from rcnn_svm.proposals.methods import make_proposer

    if args.max_boxes and not args.method:
        raise InputError("--max-boxes needs --method: without it, proposals are made as for the training images")
    if args.max_score is not None and args.max_score <= args.thresh:
        raise InputError(f"--max-score {args.max_score:g} is not above --thresh {args.thresh:g}, so nothing is taken")
    detector = Detector.load(args.model)
    method = {"method": args.method, "max_boxes": args.max_boxes} if args.method else None
    finder = ImageDetector(detector, proposer=make_proposer(method) if method else None, weights=args.weights)
    guards = Guards(thresh=args.thresh, max_score=args.max_score, per_image=args.per_image)
    sources = images_at(args.paths, aside=args.out, also=VIDEO_SUFFIXES)
    digests = [file_digest(path) if path.is_file() else "" for path in sources]
    identity = {
        "detector": detector.digest,
        "proposals": method or "as for the training",
        "thresh": args.thresh,
        "max_score": args.max_score,
        "per_image": args.per_image,
        "every": args.every,
        "images": [list(pair) for pair in zip(map(str, sources), digests, strict=True)],
    }
    record, manifest = args.out / RECORD, args.out / MANIFEST
    check_writable(record)

    refused: list[Path] = []
    with claimed(record):
        if already_done(record, lambda: read_record(args.out)["identity"], identity, overwrite=args.overwrite):
            shutil.rmtree(args.out / "parts", ignore_errors=True)  # of a process that was ended just before it did
            return
        for path in (record, manifest, *args.out.glob("sheet-*.jpg")):
            path.unlink(missing_ok=True)
        shutil.rmtree(args.out / "crops", ignore_errors=True)
        folder = args.out / "parts" / fingerprint(identity)
        parts = _scan(finder, guards, sources, args.every, folder, refused)
        lines = write_regions(args.out, parts, detector.classes, detector.feature_settings, detector.dim)
        sheets = _draw(args.out, lines)
        write_text(manifest, "".join(f"{line.line()}\n" for line in lines))
        write_record(args.out, identity, str(args.model))
        shutil.rmtree(args.out / "parts", ignore_errors=True)
    _report(lines, detector)
    if lines:
        print(f"\nlook at {args.out / 'sheet-*.jpg'}")
        print(f'strike out real objects in {manifest}: delete the line, or set "keep": false')
        print(f"then: rcnn-svm train --features DIR --mined {manifest}")
    say_written(args.out, manifest, *sheets)
    if refused:
        raise InputError(f"{len(refused)} of {len(sources)} files could not be read to their end, first {refused[0]}")


def _scan(
    finder: ImageDetector, guards: Guards, sources: Sequence[Path], seconds: float, folder: Path, refused: list[Path]
) -> list[Path]:
    """Look at all images and write what is taken, a part after the other; parts that are there already stay.

    Args:
        finder: makes regions.
        guards: which of them are taken.
        sources: images and videos.
        seconds: between two frames of a video.
        folder: where to write the parts.
        refused: takes the files that cannot be read.
    """
    from rcnn_svm.mining.mined_regions import PART_IMAGES, MinedFrame, load_part, save_part
    from rcnn_svm.progress import progress_bar

    parts = sorted(folder.glob("*.h5"))
    place, frame = load_part(parts[-1])[1]["next"] if parts else (0, 0)
    # Images that were begun, until their regions come.
    begun: deque[Taken] = deque()

    def images() -> Iterator[np.ndarray]:
        for taken in _images(sources, seconds, place, frame, refused):
            begun.append(taken)
            yield taken.image

    made: list[MinedFrame] = []
    with progress_bar(_count(sources, seconds), "mine", "image", initial=PART_IMAGES * len(parts)) as bar:

        def save(after: Taken) -> None:
            following = [after.place + 1, 0] if after.frame is None else [after.place, after.frame + 1]
            parts.append(folder / f"{len(parts):06d}.h5")
            save_part(parts[-1], made, {"next": following})
            made.clear()

        taken: Taken | None = None
        for regions in finder.regions(images()):
            taken = begun.popleft()
            rows, cls = guards.select(regions.boxes, regions.scores)
            made.append(
                MinedFrame(
                    source=str(taken.source),
                    frame=taken.frame,
                    time=taken.time,
                    image_size=taken.image.shape[:2],
                    boxes=regions.boxes[rows],
                    cls=cls,
                    scores=regions.scores[rows, cls],
                    features=regions.features[rows],
                    crops=[_jpeg(taken.image, box) for box in regions.boxes[rows]],
                )
            )
            bar.update()
            if len(made) == PART_IMAGES:
                save(taken)
        if made and taken is not None:
            save(taken)
    if not parts:
        raise InputError(f"none of the {len(sources)} files can be read, the first is {sources[0]}")
    return parts


def _images(sources: Sequence[Path], seconds: float, place: int, first: int, refused: list[Path]) -> Iterator[Taken]:
    """Yield images and frames from frame `first` of file `place` on; what cannot be read is said, and left out."""
    from rcnn_svm.data.images import load_image
    from rcnn_svm.data.video import frames_in, is_video, read_frames

    for number, path in enumerate(sources[place:], place):
        try:
            if not is_video(path):
                yield Taken(number, path, None, None, load_image(path))
                continue
            every, begin = frames_in(path, seconds), first if number == place else 0
            # The frames of an earlier call, so that none comes twice or is left out.
            for frame in read_frames(path, every=every, first=-(-begin // every) * every):
                yield Taken(number, path, frame.index, frame.time, frame.image)
        except InputError as error:
            refused.append(path)
            say(f"rcnn-svm mine: error: {error}")


def _count(sources: Sequence[Path], seconds: float) -> int:
    """Return how many images there are, about."""
    from rcnn_svm.data.video import frames_in, is_video, read_video_header

    count = 0
    for path in sources:
        try:
            frames = read_video_header(path).frames if is_video(path) else 1
            count += -(-frames // frames_in(path, seconds)) if is_video(path) else 1
        except InputError:
            continue
    return count


def _jpeg(image: np.ndarray, box: np.ndarray) -> bytes:
    """Return a region with its surroundings, as the bytes of a JPEG file."""
    import io

    from rcnn_svm.reports.pictures import crop_with_context

    stream = io.BytesIO()
    crop_with_context(image, box).save(stream, format="JPEG", quality=90)
    return stream.getvalue()


def _draw(out: Path, lines: Sequence[MinedRegion]) -> list[Path]:
    """Write the sheets, the highest scores first, and return their paths."""
    from rcnn_svm.reports.sheets import REGIONS_A_SHEET, mined_sheet
    from rcnn_svm.reports.style import save_figure

    sheets: list[Path] = []
    for first in range(0, len(lines), REGIONS_A_SHEET):
        sheets.append(out / f"sheet-{len(sheets) + 1:03d}.jpg")
        save_figure(mined_sheet(lines[first : first + REGIONS_A_SHEET], out), sheets[-1])
    return sheets


def _report(lines: Sequence[MinedRegion], detector: Detector) -> None:
    """Print what was taken, class by class."""
    from rcnn_svm.reports.table import Table

    rows = []
    for name in detector.classes:
        scores = [line.score for line in lines if line.cls == name]
        if scores:
            above = sum(score > 0 for score in scores)
            rows.append([name, str(len(scores)), str(above), f"{max(scores):+.2f}"])
    if not rows:
        print("no region scores above --thresh: nothing to learn from these images")
        return
    images = len({(line.source, line.frame) for line in lines})
    notes = [f"{len(lines)} regions of {images} images; those above 0 are what detect reports, real objects among them"]
    print(Table(("class", "regions", "above 0", "highest"), rows, notes=notes).text())
