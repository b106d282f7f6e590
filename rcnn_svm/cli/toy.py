"""Writes the toy of the bootstrap: a page in which hard negative mining runs step by step among points of a plane.

One HTML file, which works without a network and takes points of your own; its keys are those of `ReferenceMiner`.

  rcnn-svm toy --out toy.html
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rcnn_svm.cli.arguments import add_overwrite_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=Path("cache/reports/toy.html"),
        help="where to write (default: %(default)s)",
    )
    add_overwrite_argument(parser, "a page")


def run(args: argparse.Namespace) -> None:
    """Write the page, or find it done."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable, fingerprint, reading, write_text
    from rcnn_svm.artefacts.identity import already_done, say_written
    from rcnn_svm.reports.toy import bootstrap_toy

    page = bootstrap_toy()

    def page_there() -> dict[str, str]:
        with reading(args.out):
            return {"page": fingerprint(args.out.read_text(encoding="utf-8", errors="replace"))}

    check_writable(args.out)
    with claimed(args.out):
        if not already_done(args.out, page_there, {"page": fingerprint(page)}, overwrite=args.overwrite):
            write_text(args.out, page)
            say_written(args.out)
