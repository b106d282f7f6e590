"""The two image sets of `rcnn-svm run`, and their record in its folder, by which a later run goes on."""

from __future__ import annotations

import argparse
import csv
import io
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rcnn_svm.cli.arguments import check_sets, open_split, read_ids, recorded_name, splits_of_its_own
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase
    from rcnn_svm.data.checks import Reading

SOURCES = ("voc", "coco", "xml", "csv", "yolo")
DRAWN = re.compile(r"--test-fraction (?P<test_fraction>\S+) --split-seed (?P<split_seed>\S+)")


class Side(NamedTuple):
    """The images to train on, or those to test on.

    Attributes:
        source: the arguments that name the source of the images, as every stage spells them.
        split: split of the source.
        ids: file that restricts the split, or None.
        database: the images.
        label: stands for the images in names of files.
    """

    source: argparse.Namespace
    split: str
    ids: Path | None
    database: ImageDatabase
    label: str

    def words(self) -> list[object]:
        """Return the arguments that name the images."""
        source, words = self.source, []
        for name in (*SOURCES, "images"):
            if getattr(source, name):
                words += [f"--{name}", getattr(source, name)]
        if source.voc:
            words += ["--year", source.year]
        elif self.split != "all" and not splits_of_its_own(source):
            words += ["--test-fraction", source.test_fraction, "--split-seed", source.split_seed]
        words += ["--split", self.split]
        if self.ids:
            words += ["--ids", self.ids]
        if source.classes:
            words += ["--classes", source.classes]
        words += [f"--{name.replace('_', '-')}" for name in ("ignore_exif", "skip_bad_images") if getattr(source, name)]
        return words


class Record(NamedTuple):
    """What an earlier run in the same folder recorded of a side.

    Attributes:
        path: the file.
        ids: image ids.
        name: name of the image set; None in files of earlier versions.
        drawn: what drew the split, by option; empty where it was not drawn.
        options: the options that named the images, by name; empty where they cannot be read.
    """

    path: Path
    ids: list[str]
    name: str | None
    drawn: dict[str, str]
    options: dict[str, str]


def add_side_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which images are trained on and which are tested on."""
    parser.add_argument(
        "--train-split",
        metavar="NAME",
        help="split to train on (default: trainval of a devkit; of other sources train, or all)",
    )
    parser.add_argument("--train-ids", metavar="FILE", type=Path, help="only these training images, one id a line")
    parser.add_argument(
        "--test-split", metavar="NAME", help="split to test on (default: test; all where it has a source of its own)"
    )
    parser.add_argument("--test-ids", metavar="FILE", type=Path, help="only these test images, one id a line")
    add_test_source_arguments(parser)
    parser.add_argument(
        "--negatives",
        metavar="PATH",
        type=Path,
        help="folder of images, or video, that shows none of the objects: more negatives to train on",
    )


def add_test_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name test images which have a source of their own."""
    own = parser.add_mutually_exclusive_group()
    own.add_argument("--test-coco", metavar="FILE", type=Path, help="test on what this COCO file annotates")
    own.add_argument("--test-xml", metavar="DIR", type=Path, help="test on what this folder of XML files annotates")
    own.add_argument("--test-csv", metavar="FILE", type=Path, help="test on what this CSV file annotates")
    own.add_argument("--test-yolo", metavar="PATH", type=Path, help="test on what this data.yaml or folder labels")
    parser.add_argument("--test-images", metavar="DIR", type=Path, help="image folder of these (default: --images)")


def has_test_source(args: argparse.Namespace) -> bool:
    """Return whether the test images have a source of their own.

    Raises:
        InputError: there is a folder of test images, and nothing that says what they show.
    """
    separate = any(getattr(args, f"test_{name}", None) for name in SOURCES)
    if args.test_images and not separate:
        raise InputError(
            "--test-images needs --test-coco, --test-xml, --test-csv or --test-yolo, which say what the images show"
        )
    return separate


def with_test_source(args: argparse.Namespace, classes: Sequence[str]) -> argparse.Namespace:
    """Return the arguments with the test images' own source in the place of that of the training images.

    Args:
        args: the arguments.
        classes: those of the training, whether or not all of them occur among the test images.
    """
    from rcnn_svm.data.class_names import write_class_list

    own = {name: getattr(args, f"test_{name}", None) for name in SOURCES}
    images = {"images": args.test_images or args.images, "classes": write_class_list(classes)}
    return argparse.Namespace(**{**vars(args), **own, **images})


def load_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """Return the images to train on and those to test on.

    Where the folder of the run has a record, images keep their side and image sets their names: images that came since
    are drawn, and what was made of the others serves again.

    Raises:
        InputError: the sources do not fit together, or the folder holds a run on other images or another draw.
    """
    # What was proposed for was decoded before.
    sides = open_sides(args, "headers" if (args.out / "proposals").exists() else "pixels")
    records = None if args.overwrite else _read_records(args.out)
    if records:
        is_drawn = (
            not args.voc
            and not splits_of_its_own(args)
            and (sides[0].split, sides[1].split, args.train_ids, args.test_ids) == ("train", "test", None, None)
        )
        sides = _go_on(sides, records, args, is_drawn=is_drawn)
    train, test = (side.database.name for side in sides)
    labels = (train, test) if train != test else (f"{train}_train", f"{test}_test")
    return sides[0]._replace(label=labels[0]), sides[1]._replace(label=labels[1])


def open_sides(args: argparse.Namespace, read: Reading) -> tuple[Side, Side]:
    """Return the images to train on and those to test on, as the sources and options say, without names for files.

    Args:
        args: the arguments.
        read: what of the images is checked.

    Raises:
        InputError: the sources do not fit together, or cannot be used.
    """
    separate = has_test_source(args)
    chosen = separate or (args.train_ids and args.test_ids)
    defaults = ("trainval", "test") if args.voc else ("all", "all") if chosen else _sides_of_its_own(args)
    train_split, test_split = args.train_split or defaults[0], args.test_split or ("all" if separate else defaults[1])
    train = open_split(args, train_split, args.train_ids, read)
    source = with_test_source(args, train.classes) if separate else args
    test = open_split(source, test_split, args.test_ids, read)
    check_sets([train, test], read, args)
    return Side(args, train_split, args.train_ids, train, ""), Side(source, test_split, args.test_ids, test, "")


def are_drawn(args: argparse.Namespace) -> bool:
    """Return whether a run draws the sides, as nothing says which images are to be tested on."""
    chosen = any((args.train_split, args.test_split, args.train_ids, args.test_ids))
    return not (args.voc or chosen or has_test_source(args) or splits_of_its_own(args))


def _sides_of_its_own(args: argparse.Namespace) -> tuple[str, str]:
    """Return the splits to train and to test on that are taken without options, of a source that is no devkit.

    Where data.yaml has three, what is not tested on is trained on, as VOC's trainval is.
    """
    own = splits_of_its_own(args)
    if not own:
        return "train", "test"
    return ("trainval" if "trainval" in own else "train"), ("test" if "test" in own else "val")


def whole_side(args: argparse.Namespace) -> Side:
    """Return all images of a source, to train on.

    Raises:
        InputError: the test images were not drawn from it.
    """
    if args.voc or has_test_source(args) or args.train_ids or args.test_ids or args.train_split or args.test_split:
        raise InputError(
            "--test-fraction 0 trains on the images that a fraction was drawn from; here the test images are named, so "
            "the training has all others already"
        )
    whole = open_split(args, "all", None, "headers")
    records = None if args.overwrite else _read_records(args.out)
    # A run keeps its names, whatever the file is called now.
    name = records[0].name.removesuffix("_train") if records and records[0].name else whole.name
    return Side(args, "all", None, whole, f"{name}_all")


def negatives_side(args: argparse.Namespace, sides: Sequence[Side]) -> Side:
    """Return the images of --negatives, which show no object, as images to train on beside the others.

    A CSV file in the folder of the run lists them, so that every stage takes them like others. Of a video, frames are
    written beside it, one a second.

    Args:
        args: the arguments of the run.
        sides: the other images; the first has the classes.

    Raises:
        InputError: there is no image, or one of them is an image with labels.
    """
    from rcnn_svm.artefacts.files import write_text
    from rcnn_svm.data.class_names import write_class_list
    from rcnn_svm.data.image_folder import images_at
    from rcnn_svm.data.video import is_video, save_frames
    from rcnn_svm.words import counted

    folder, listed = args.negatives, args.out / "negatives.csv"
    if is_video(folder):
        folder = save_frames(folder, args.out / "frames", seconds=1)
    elif not folder.is_dir():
        raise InputError(f"--negatives {folder} must be a folder of images or a video; correct the path")
    names = [path.relative_to(folder).as_posix() for path in images_at([folder], aside=args.out)]
    lines = io.StringIO()
    csv.writer(lines).writerows([("image", "x1", "y1", "x2", "y2", "class"), *((name, *[""] * 5) for name in names)])
    write_text(listed, lines.getvalue())
    none = dict.fromkeys(SOURCES)
    own = {**none, "csv": listed, "images": folder, "classes": write_class_list(sides[0].database.classes)}
    source = argparse.Namespace(**{**vars(args), **own})
    database = open_split(source, "all", None, "headers")
    check_sets([database], "headers", args)
    labelled = {
        side.database.image_digest(number): side.database.image_ids[number]
        for side in sides
        for number in range(len(side.database))
        if len(side.database.annotation(number).boxes)
    }
    both = [number for number in range(len(database)) if database.image_digest(number) in labelled]
    if both:
        raise InputError(
            f"{counted(len(both), 'image')} of {args.negatives} {'is' if len(both) == 1 else 'are'} labelled and "
            f"{'shows' if len(both) == 1 else 'show'} objects, first {database.image_path(both[0])}; take them out of "
            "the negatives"
        )
    print(f"negatives: {args.negatives}, {counted(len(database), 'image')} without objects, to train on")
    return Side(source, "all", None, database, database.name)


def tested_before(out: Path) -> list[str]:
    """Return the ids of the images that an earlier run in a folder tested on; none where there was none."""
    records = _read_records(out)
    return records[1].ids if records else []


def _read_records(out: Path) -> tuple[Record, Record] | None:
    """Return what an earlier run recorded, or None."""
    paths = [out / f"{name}_ids.txt" for name in ("train", "test")]
    if not all(path.exists() for path in paths):
        return None
    records = []
    for path in paths:
        ids = read_ids(path)
        first = path.read_text(encoding="utf-8-sig").splitlines()[0]
        found = DRAWN.search(first)
        try:
            words = shlex.split(first.removeprefix("# ").rpartition("; rcnn-svm ")[0])
        except ValueError:  # someone edited it
            words = []
        options = dict(zip(words[::2], words[1::2], strict=False))
        records.append(Record(path, ids, recorded_name(path), found.groupdict() if found else {}, options))
    return records[0], records[1]


def _choice(options: dict[str, str], side: str) -> dict[str, str | None]:
    """Return what a user chose by the options that name the images of a side, besides lists and what may change."""
    if "--voc" in options:
        choice = {"year": options.get("--year"), "split": options.get("--split")}
    else:
        # What a list says and what was drawn may take each other's place.
        choice = {"split": side if "--ids" in options else options.get("--split")}
    # The classes to test are those of the training, which labels decide where no option does.
    return {**choice, "classes": options.get("--classes")} if side == "train" else choice


def _go_on(
    sides: tuple[Side, Side], records: tuple[Record, Record], args: argparse.Namespace, *, is_drawn: bool
) -> tuple[Side, Side]:
    """Return the sides of a later run; InputError where it is another run altogether."""
    from rcnn_svm.artefacts.identity import REMEDY, check_same
    from rcnn_svm.data import split_database

    databases = [side.database for side in sides]
    known = {*records[0].ids, *records[1].ids}
    if not known & {image_id for database in databases for image_id in database.image_ids}:
        raise InputError(
            f"{args.out} holds a run on other images: none of the {len(known)} that {records[0].path.name} and "
            f"{records[1].path.name} list is among these; {REMEDY}"
        )
    for name, side, record in zip(("train", "test"), sides, records, strict=True):
        if record.options:
            words = [str(word) for word in side.words()]
            options = dict(zip(words[::2], words[1::2], strict=True))
            check_same(record.path, _choice(record.options, name), _choice(options, name))
    if is_drawn:
        for record in records:
            if record.drawn:
                check_same(record.path, record.drawn, {name: str(getattr(args, name)) for name in record.drawn})
        whole = open_split(args, "all", None, "annotations")
        check_sets([whole], "annotations", args)
        known_ids = records[0].ids, records[1].ids
        databases = [*split_database(whole, args.test_fraction, args.split_seed, known=known_ids)]
    later = []
    for side, database, record in zip(sides, databases, records, strict=True):
        name = record.name or database.name
        if side.ids or (database.image_ids, name) != (side.database.image_ids, side.database.name):
            # Not what the source and its options say, but what the record does.
            split = side.split if side.source.voc or side.split != "all" else record.path.name.partition("_")[0]
            side = side._replace(database=database.subset(database.image_ids, name), split=split, ids=record.path)
        later.append(side)
    return later[0], later[1]


def record_sides(train: Side, test: Side, out: Path, *, overwrite: bool) -> None:
    """Print how many images are on each side and what changed since an earlier run, and write which they are."""
    from rcnn_svm import __version__
    from rcnn_svm.artefacts.files import fingerprint, write_text

    records = None if overwrite else _read_records(out)
    for number, (name, side) in enumerate((("train", train), ("test", test))):
        ids, changed = side.database.image_ids, ""
        words = [str(word) for word in side.words()]
        if records:
            before = set(records[number].ids)
            new, gone = len({*ids} - before), len(before - {*ids})
            if new or gone:
                changed = f" ({new} more than in the run before, {gone} less)"
        made = f"# {shlex.join(words)}; rcnn-svm {__version__}; {fingerprint(ids)}; image set {side.database.name}"
        write_text(out / f"{name}_ids.txt", "\n".join([made, *ids, ""]))
        print(f"{name}: {side.database.name}, {len(ids)} images{changed}")
    paths = ({side.database.image_path(i) for i in range(len(side.database))} for side in (train, test))
    common = len(set.intersection(*paths))
    if common:
        print(f"warning: {common} images are on both sides, so the result says little about new images")
