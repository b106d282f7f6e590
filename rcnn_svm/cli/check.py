"""Says what is odd about labels before hours are spent on them, and draws a sheet of labelled images.

Prints the objects and images of every class; names that are alike (`Cat` beside `cat`), objects labelled twice, boxes
of one pixel or of an odd shape, images without labels, identical images, also where one is trained on and the other
tested on. With --proposals also the objects that no proposal overlaps enough. Nothing is changed.

  rcnn-svm check --yolo pets
  rcnn-svm check --csv boxes.csv --images photos --json

The options are those of `rcnn-svm run`, which says the same in a line at its start.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import add_data_arguments, open_split, positive_int, say_letters, unlabelled_images
from rcnn_svm.cli.sides import add_side_arguments, are_drawn, has_test_source, open_sides, with_test_source
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rcnn_svm.data import ImageDatabase


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    add_data_arguments(parser, split=False)
    add_side_arguments(parser)
    parser.add_argument(
        "--proposals", metavar="FILE", type=Path, nargs="+", help="what the propose stage wrote for some of the images"
    )
    parser.add_argument(
        "--count", metavar="N", type=positive_int, default=48, help="images of the sheet (default: %(default)s)"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="PNG or JPEG to write (default: cache/pictures/NAME.labels.jpg)"
    )
    parser.add_argument("--json", action="store_true", help="print all that was found as JSON, and draw nothing")


def run(args: argparse.Namespace) -> None:
    """Print what was found, and draw the sheet."""
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.data.findings import label_findings
    from rcnn_svm.reports.labels import findings_text, labels_sheet
    from rcnn_svm.reports.pictures import save_picture
    from rcnn_svm.reports.table import json_text

    if args.out and args.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{args.out} is no name of a picture; end it with .png or .jpg")
    sides = _sides(args)
    recall = _recall(sides, args.proposals) if args.proposals else None
    found = label_findings(sides, _unlabelled(args, sides))
    if args.json:
        missed = {"missed_by_proposals": dict(zip(found.classes, recall, strict=True))} if recall else {}
        print(json_text({**found.record(), **missed}), end="")
        return
    print(findings_text(found, recall))
    first = next(iter(sides.values()))
    out = args.out or Path("cache/pictures") / f"{first.name}.labels.jpg"
    check_writable(out)
    say_letters(first.classes)
    save_picture(labels_sheet(list(sides.values()), count=args.count), out)
    print()
    say_written(out)


def _sides(args: argparse.Namespace) -> dict[str, ImageDatabase]:
    """Return the sides that the source defines; where a run would draw them, all images together."""
    if are_drawn(args):
        from rcnn_svm.cli.arguments import check_sets

        database = open_split(args, "all", None, "pixels")
        check_sets([database], "pixels", args)
        return {"all": database}
    train, test = open_sides(args, "pixels")
    return {"train": train.database, "test": test.database}


def _unlabelled(args: argparse.Namespace, sides: Mapping[str, ImageDatabase]) -> list[str]:
    """Return the image files that no side has."""
    sources = [args]
    if has_test_source(args):
        sources.append(with_test_source(args, sides["train"].classes))
    used = {str(database.image_path(index)) for database in sides.values() for index in range(len(database))}
    return sorted({str(path) for source in sources for path in unlabelled_images(source)} - used)


def _recall(sides: Mapping[str, ImageDatabase], paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Return how many objects of every class count, and how many of them proposals miss, in the images they are for.

    Raises:
        InputError: no image has proposals.
    """
    import numpy as np

    from rcnn_svm import paper
    from rcnn_svm.proposals.recall import recall_report
    from rcnn_svm.proposals.store import ProposalSet

    numbers = np.zeros((len(next(iter(sides.values())).classes), 2), np.int64)
    covered = 0
    for proposals in map(ProposalSet.load, paths):
        known = set(proposals.image_ids)
        for database in sides.values():
            common = [image_id for image_id in database.image_ids if image_id in known]
            if common:
                covered += len(common)
                by_class = recall_report(database.subset(common), proposals, (paper.HIT_IOU,)).by_class.values()
                numbers += [(c.objects, round(c.objects * (1 - c.recall[0])) if c.objects else 0) for c in by_class]
    if not covered:
        raise InputError(f"{paths[0]} has proposals for none of the images; give what the propose stage wrote for them")
    return [(objects, missed) for objects, missed in numbers.tolist()]
