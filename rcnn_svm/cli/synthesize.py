"""Writes a seeded synthetic image set in VOC layout: textured scenes, five object classes, distractors."""

from __future__ import annotations

import argparse
from pathlib import Path

from rcnn_svm.cli.arguments import add_overwrite_argument, add_seed_argument, positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument(
        "--out", metavar="ROOT", type=Path, default=Path("cache/synthetic"), help="devkit folder (default: %(default)s)"
    )
    add_overwrite_argument(parser, "an image set of this stage")
    parser.add_argument(
        "--train", metavar="N", type=positive_int, default=60, help="training images (default: %(default)s)"
    )
    parser.add_argument("--test", metavar="N", type=positive_int, default=30, help="test images (default: %(default)s)")
    add_seed_argument(parser, "everything", default=0)
    parser.add_argument("--names", action="store_true", help="only print the class names, ready for --classes")


def run(args: argparse.Namespace) -> None:
    """Write the image set."""
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc

    if args.names:
        print(",".join(SYNTHETIC_CLASSES))
        return
    write_synthetic_voc(args.out, num_train=args.train, num_test=args.test, seed=args.seed, overwrite=args.overwrite)
    print(f"classes: {','.join(SYNTHETIC_CLASSES)}")
    say_written(args.out)
