"""Finds objects in image files: proposals and features are made as they were for the model's training.

Prints what it finds, best first, with boxes as x1 y1 x2 y2 in pixels from 0, and writes each image with its
boxes drawn. Images are turned upright by their EXIF orientation, also where --ignore-exif was trained with.

Reported are scores above the model's thresholds, where it has them: run and assemble put in those of the best F1 of
each class. Without them a score above 0 means the class, and the training's negatives are pushed below -1: a model
trained on few objects puts many true ones between the two. --thresh SCORE goes before both. A model that was trained
with --calibrate gives probabilities instead of scores: 0.5 is a box as likely right as wrong, in every class.

A folder means the images and videos in it and in its sub-folders, a pattern in quotes what it matches, a number a
camera, until Ctrl-C. Of a video every frame is looked at, or every N-th with --every, one in memory at a time, and
OUT/NAME.mp4 has the boxes drawn; of a camera, pictures of the frames in which something is found. What cannot be read
is named and left out, and the exit code is 2.

--json, --csv, --coco and --yolo write what was found for other tools, --json - to standard output: then nothing else is
written there, and pictures only where --out says.

A model of the assemble stage holds all that detect needs: box regression, voting, scoring again and soft-NMS are done
as it says.

  rcnn-svm detect --model detector.h5 street.jpg harbour.png holidays/
  rcnn-svm detect --model detector.h5 film.mp4 --every 5 --csv found.csv
  rcnn-svm detect --model detector.h5 'photos/**/*.jpg' --json - | jq .
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from rcnn_svm import paper
from rcnn_svm.cli.arguments import (
    add_made_with_argument,
    add_method_argument,
    add_soft_nms_argument,
    add_vote_argument,
    positive_int,
    say_letters,
)
from rcnn_svm.cli.surroundings import say
from rcnn_svm.detection.recipe import PER_IMAGE
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from tqdm import tqdm

    from rcnn_svm.detection.detect import ImageDetector
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.detection.image_detections import ImageDetections
    from rcnn_svm.export.exported import ExportedDetector
    from rcnn_svm.reports.annotated_video import AnnotatedVideo
    from rcnn_svm.reports.found_files import FoundIn, FoundWriter

OUT = Path("cache/reports/detect")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="image or video file, folder of them, pattern in quotes, or number of a camera",
    )
    parser.add_argument(
        "--model", metavar="FILE", type=Path, required=True, help="model of the train stage, or folder of export"
    )
    add_method_argument(parser, otherwise="as for the model's training images")
    parser.add_argument("--max-boxes", metavar="N", type=positive_int, help="with --method: only the first N proposals")
    add_made_with_argument(parser, "state dict of the network, where the features were made with one")
    parser.add_argument(
        "--bbox",
        metavar="FILE",
        type=Path,
        help="correct the boxes with this file of the train-bbox stage, made from the model's layer, or from pool5 for "
        "fc6 and fc7",
    )
    add_vote_argument(parser, otherwise="as the model says")
    parser.add_argument(
        "--again",
        metavar="N",
        type=int,
        help=f"score the best N boxes of an image again, such as {PER_IMAGE}; 0 for none (default: as the model says)",
    )
    parser.add_argument(
        "--thresh",
        metavar="SCORE",
        type=float,
        help="report scores strictly above this, or probabilities (default: the model's thresholds, where it has them "
        "and scores are as it says; else 0, or a probability of 0.5)",
    )
    parser.add_argument(
        "--nms",
        metavar="IOU",
        type=float,
        help="drop a box that overlaps a better one of its class by more than this, also where the model says soft-NMS "
        f"(default: {paper.NMS_THRESHOLD})",
    )
    add_soft_nms_argument(parser, otherwise="as the model says")
    parser.add_argument(
        "--every", metavar="N", type=positive_int, default=1, help="look at every N-th frame of a video (default: all)"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help=f"where to write pictures and annotated videos (default: {OUT})"
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="also write what was found as JSON, an image a line; - for stdout"
    )
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write it as CSV, an object a line")
    parser.add_argument("--coco", metavar="FILE", type=Path, help="also write it as a data set of COCO's, with scores")
    parser.add_argument(
        "--yolo",
        metavar="DIR",
        type=Path,
        help="also write it as YOLO's text files: class, x, y, width, height as shares of the image, score",
    )


def run(args: argparse.Namespace) -> None:
    """Detect, print and draw, one image after the other.

    Raises:
        InputError: nothing can be detected with what is given; or, when all images are done, some could not be read.
    """
    if str(args.json) != "-":
        _detect(args, None)
        return
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        _detect(args, stdout)


def _detect(args: argparse.Namespace, stdout: IO[str] | None) -> None:
    """Detect; where there is a `stdout`, JSON goes there, and what people read is short."""
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.reports.table import wrapped

    if args.nms is not None and args.soft_nms:
        raise InputError("--nms and --soft-nms are two suppressions; give one of them")
    if args.max_boxes and not args.method:
        raise InputError("--max-boxes needs --method: without it, proposals are made as for the training images")
    out = None if stdout is not None and args.out is None else args.out or OUT
    files = [path for path in (None if stdout else args.json, args.csv, args.coco) if path]
    for path in (*files, *(folder / "picture.jpg" for folder in (out, args.yolo) if folder)):
        check_writable(path)
    sources = _sources(args.images, out)
    finder, told = _finder(args)
    print(wrapped(told), end="\n\n", flush=True)
    refused: list[str] = []
    written: list[Path] = []
    writers = _writers(args, stdout, finder.detector.classes, finder.kind)
    with contextlib.ExitStack() as stack:
        # What was found before a full disk or a Ctrl-C is worth keeping, in every file that can be completed.
        for writer in writers:
            stack.callback(writer.close)
        for source in sources:
            written += _look(source, finder, writers, refused, args.every, draw=out is not None, tell=stdout is None)
    for path in (*files, *([args.yolo] if args.yolo else [])):
        say_written(path)
    if out is not None and written:
        say_written(out, *written)
    if refused:
        raise InputError(f"{len(refused)} of {len(sources)} images could not be read, the first is {refused[0]}")


@dataclass(frozen=True)
class _Source:
    """What to look at.

    Attributes:
        source: an image or video file, or the number of a camera.
        name: names its pictures, without suffix.
        picture: the picture of an image, or the annotated video; of a camera the folder of its pictures.
    """

    source: Path | int
    name: str
    picture: Path

    @property
    def is_camera(self) -> bool:
        return isinstance(self.source, int)

    @property
    def is_video(self) -> bool:
        from rcnn_svm.data.video import is_video

        return isinstance(self.source, Path) and is_video(self.source)

    def __str__(self) -> str:
        return f"camera {self.source}" if self.is_camera else str(self.source)


def _sources(given: Sequence[str], out: Path | None) -> list[_Source]:
    """Return what the words of the command line mean, with the pictures that are made of it in `out`.

    Raises:
        InputError: a folder or pattern holds nothing, or a picture would replace what it is made of.
    """
    from rcnn_svm.data.image_folder import images_at
    from rcnn_svm.data.video import VIDEO_SUFFIXES, is_video
    from rcnn_svm.reports.picture_names import picture_names

    cameras = [word for word in given if word.isdecimal() and not os.path.lexists(word)]
    files = images_at([word for word in given if word not in cameras], aside=out, also=VIDEO_SUFFIXES)
    stems = [*(path.stem for path in files), *(f"camera-{number}" for number in cameras)]
    names = [Path(name).stem for name in picture_names(stems)]
    folder, sources = out or Path(), []
    every: list[Path | int] = [*files, *map(int, cameras)]
    for source, name in zip(every, names, strict=True):
        suffix = ".jpg" if isinstance(source, Path) and not is_video(source) else ".mp4"
        sources.append(_Source(source, name, folder if isinstance(source, int) else folder / f"{name}{suffix}"))
    there = {os.path.realpath(path) for path in files}
    for made in sources:
        if out is not None and os.path.realpath(made.picture) in there:
            raise InputError(f"{made.picture} is one of the images, and a picture would replace it; give another --out")
    return sources


class _Pictures(NamedTuple):
    """Reads images and draws what is found.

    Attributes:
        read: returns the pixels of an image file.
        draw: returns a picture of an image with what was found in it, and the names of the classes.
        save: writes a picture to a file.
    """

    read: Callable[[Path], np.ndarray]
    draw: Callable[[np.ndarray, ImageDetections, Sequence[str]], Any]
    save: Callable[[Any, Path], None]


@dataclass(frozen=True)
class _Finder:
    """Finds what is worth reporting.

    Attributes:
        detector: the model.
        images: finds objects in images with it.
        thresh: scores above it are reported; one number or (K,).
        nms_threshold: IoU of the suppression.
        pictures: reads images and draws.
    """

    detector: Detector | ExportedDetector
    images: ImageDetector | ExportedDetector
    thresh: float | np.ndarray
    nms_threshold: float
    pictures: _Pictures

    @property
    def kind(self) -> str:
        return "score" if self.detector.calibration is None else "probability"

    def draw(self, image: np.ndarray, found: ImageDetections) -> Any:
        """Return a picture of what was found in an image."""
        return self.pictures.draw(image, found, self.detector.classes)

    def find(self, image: np.ndarray) -> tuple[ImageDetections, ImageDetections]:
        """Return what is found in an image, and what nearly is, best first."""
        import numpy as np

        # Of every class for itself: a flat sigmoid has its threshold far below the scores of all regions.
        floor = np.minimum(self.thresh, paper.DETECT_THRESH)
        candidates = self.images.detect(image, thresh=floor, nms_threshold=self.nms_threshold)
        found = candidates.above(self.thresh)
        if self.detector.calibration is not None:
            return self.detector.calibrated(found), self.detector.calibrated(candidates)
        return found, candidates


def _finder(args: argparse.Namespace) -> tuple[_Finder, str]:
    """Return what finds objects, and a sentence that says which are reported.

    Raises:
        InputError: the model cannot be used, the parts that were given do not fit it, or the threshold does not.
    """
    from rcnn_svm.proposals.methods import make_proposer

    options = {
        "proposer": make_proposer({"method": args.method, "max_boxes": args.max_boxes}) if args.method else None,
        "vote": args.vote,
        "again": args.again,
        "soft_nms": args.soft_nms if args.nms is None else False,
    }
    detector, images, pictures = (_exported if args.model.is_dir() else _from_file)(args, options)
    thresh, told = _threshold(args, detector)
    return _Finder(detector, images, thresh, paper.NMS_THRESHOLD if args.nms is None else args.nms, pictures), told


def _from_file(args: argparse.Namespace, options: dict[str, Any]) -> tuple[Detector, ImageDetector, _Pictures]:
    """Return a model, and what finds objects in images with it, reads these and draws."""
    from rcnn_svm.data.images import load_image
    from rcnn_svm.detection.bbox_correction import check_regressor
    from rcnn_svm.detection.bbox_regression import BoxRegressor
    from rcnn_svm.detection.detect import ImageDetector
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.reports.pictures import draw_detections, save_picture

    detector = Detector.load(args.model)
    say_letters(detector.classes)
    bbox_regressor = BoxRegressor.load(args.bbox) if args.bbox else None
    if bbox_regressor:
        check_regressor(bbox_regressor, detector, f"box regressor {args.bbox}", f"model {args.model}")
    images = ImageDetector(detector, weights=args.weights, bbox_regressor=bbox_regressor, **options)
    return detector, images, _Pictures(load_image, draw_detections, save_picture)


def _exported(
    args: argparse.Namespace, options: dict[str, Any]
) -> tuple[ExportedDetector, ExportedDetector, _Pictures]:
    """Return the same of a folder of the export command; nothing is loaded that it does not need."""
    from rcnn_svm.export.exported import ExportedDetector
    from rcnn_svm.export.pictures import draw_detections, read_image, save_picture

    for name in ("bbox", "weights"):
        if getattr(args, name):
            raise InputError(f"--{name} is for a model of the train stage; what was exported holds its own")
    detector = ExportedDetector(args.model, **options)
    return detector, detector, _Pictures(read_image, draw_detections, save_picture)


def _writers(args: argparse.Namespace, stdout: IO[str] | None, classes: Sequence[str], kind: str) -> list[FoundWriter]:
    """Return what writes results for other tools, as the options ask."""
    from rcnn_svm.reports.found_files import CocoWriter, CsvWriter, JsonWriter, YoloWriter

    writers: list[FoundWriter] = []
    if args.json:
        writers.append(JsonWriter(stdout or args.json, kind))
    if args.csv:
        writers.append(CsvWriter(args.csv, kind))
    if args.coco:
        writers.append(CocoWriter(args.coco, classes))
    if args.yolo:
        writers.append(YoloWriter(args.yolo, classes))
    return writers


def _look(
    source: _Source,
    finder: _Finder,
    writers: Sequence[FoundWriter],
    refused: list[str],
    every: int,
    *,
    draw: bool,
    tell: bool,
) -> list[Path]:
    """Look at an image, or at the frames of a video one by one; return the pictures that were made.

    Args:
        source: what to look at; where it cannot be read, it is added to `refused`.
        finder: finds the objects.
        writers: write them.
        refused: names of what could not be read.
        every: of a video, look at every n-th frame.
        draw: draw what is found.
        tell: print it.
    """
    import numpy as np

    from rcnn_svm.reports.found_files import FoundIn

    pictures: list[Path] = []
    counts: Counter[str] = Counter()
    frames = hits = 0
    with contextlib.ExitStack() as stack:
        annotated, bar = _video_parts(stack, source, every, draw=draw)
        for image, frame in _readable(source, finder, every, refused):
            found, candidates = finder.find(image)
            picture, name = None, source.name if frame is None else f"{source.name}_frame_{frame[0]:06d}"
            if annotated is not None:
                annotated.add(np.asarray(finder.draw(image, found)))
            elif draw and not source.is_video and (len(found) or not source.is_camera):
                picture = source.picture / f"{name}.jpg" if source.is_camera else source.picture
                finder.pictures.save(finder.draw(image, found), picture)
                # A camera has no end, and its last picture stands for all.
                pictures = [picture]
            entry = FoundIn(str(source), name, found, image.shape[:2], frame, picture)
            for writer in writers:
                writer.add(entry)
            frames, hits = frames + 1, hits + bool(len(found))
            counts.update(name for name, _, _ in found)
            if bar is not None:
                bar.update()
            elif tell and (len(found) or not source.is_camera):
                print(_in_words(entry, candidates, finder.kind), end="\n\n", flush=True)
    if annotated is not None and frames:
        pictures = [source.picture]
    if tell and source.is_video and frames:
        objects = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        print(f"{source}: {hits} of {frames} frames show objects{f': {objects}' if objects else ''}\n", flush=True)
    return pictures


def _video_parts(
    stack: contextlib.ExitStack, source: _Source, every: int, *, draw: bool
) -> tuple[AnnotatedVideo | None, tqdm | None]:
    """Return what a video file's frames are drawn into, where they are, and its progress; None for other sources."""
    from rcnn_svm.data.video import read_video_header
    from rcnn_svm.progress import progress_bar
    from rcnn_svm.reports.annotated_video import AnnotatedVideo

    if isinstance(source.source, int) or not source.is_video:
        return None, None
    try:
        header = read_video_header(source.source)
    except InputError:  # told when its frames are read
        return None, None
    bar = stack.enter_context(progress_bar(-(-header.frames // every), source.name, "frame"))
    annotated = AnnotatedVideo(source.picture, (header.fps or 25) / every) if draw else None
    return stack.enter_context(annotated) if annotated else None, bar


def _readable(
    source: _Source, finder: _Finder, every: int, refused: list[str]
) -> Iterator[tuple[np.ndarray, tuple[int, float] | None]]:
    """Yield the image, or the frames with their numbers and seconds; what cannot be read is told."""
    from rcnn_svm.data.video import read_frames

    try:
        if isinstance(source.source, int) or source.is_video:
            for frame in read_frames(source.source, every=every):
                yield frame.image, (frame.index, frame.time)
        else:
            yield finder.pictures.read(source.source), None
    except InputError as error:
        refused.append(str(source))
        say(f"rcnn-svm detect: error: {error}")


def _in_words(entry: FoundIn, candidates: ImageDetections, kind: str) -> str:
    """Return what was found in an image as lines and a table; of nothing, what was nearest."""
    from rcnn_svm.reports.table import Table

    found = entry.found
    lines = [f"{entry.path}{f' frame {entry.frame[0]}' if entry.frame else ''}: {len(found)} found"]
    if len(candidates) and not len(found):
        best = next(iter(candidates))
        lines.append(f"the best below is {best.name} at {best.score:.3f}; lower --thresh to see it")
    if len(found):
        rows = [[name, f"{score:.3f}", *(f"{value:.0f}" for value in box)] for name, score, box in found]
        lines.append(Table(("class", kind, "x1", "y1", "x2", "y2"), rows).text())
    return "\n".join(lines)


def _threshold(args: argparse.Namespace, detector: Detector | ExportedDetector) -> tuple[float | np.ndarray, str]:
    """Return the score above which detections are reported, one or (K,), and a sentence that says which."""
    from rcnn_svm.reports.thresholds import thresholds_in_words

    calibrated = detector.calibration is not None
    if args.thresh is None and detector.thresholds is not None:
        given = {name: getattr(args, name) for name in ("vote", "again", "soft_nms")}
        others = [name for name, value in given.items() if value not in (None, getattr(detector.recipe, name))]
        others += [name for name in ("nms", "bbox", "method") if getattr(args, name) is not None]
        if not others:
            words = thresholds_in_words(detector.classes, detector.thresholds, detector.thresholds_from, 0)
            return detector.thresholds, f"reported: scores above {words}; --thresh SCORE for another"
        why = f", as the thresholds of the model are for its own --{others[0].replace('_', '-')}"
    else:
        why = ""
    thresh = (0.5 if calibrated else 0.0) if args.thresh is None else args.thresh
    if not calibrated:
        return thresh, f"reported: scores above {thresh:g}{why}"
    if not 0 <= thresh <= 1:
        raise InputError(
            f"--thresh {thresh:g} must be between 0 and 1: {args.model} is calibrated, it has probabilities"
        )
    return detector.scores_at(thresh), f"reported: probabilities above {thresh:g}{why}"
