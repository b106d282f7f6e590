"""Writes a detector as a folder that finds objects where neither torch nor scikit-learn, numba or h5py is installed:
ONNX models of its networks with all linear layers in them, the ranker of its proposals, and a JSON file of classes,
thresholds, preprocessing and what is done with the boxes that are found.

  rcnn-svm export cache/run/detector.h5 --out street
  rcnn-svm detect --model street photo.jpg

On another machine detect needs the folder and 350 MB of packages:

  pip install numpy opencv-python-headless onnxruntime
  pip install --no-deps rcnn-svm
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rcnn_svm.cli.arguments import add_made_with_argument, add_overwrite_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="model of the train or the assemble stage")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder to write (default: NAME.exported beside the model)"
    )
    add_made_with_argument(parser, "state dict of the network, where the features were made with one")
    add_overwrite_argument(parser, "an export")


def run(args: argparse.Namespace) -> None:
    """Export the model, or find it done."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.exported_folder import DESCRIPTION, read_description, read_part
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done, say_written
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.export.writing import export_detector, source_of

    out = args.out or args.model.with_name(f"{args.model.stem}.exported")
    detector = Detector.load(args.model)
    wanted = source_of(detector)

    def exported() -> dict:
        described = read_description(out)
        for name in described["files"]:
            read_part(out, name, described)
        return described["source"]

    check_writable(out / DESCRIPTION)
    with claimed(out):
        if not already_done(out / DESCRIPTION, exported, wanted, overwrite=args.overwrite):
            described = export_detector(detector, out, weights=args.weights)
            for name in described["files"]:
                print(f"{out / name}: {(out / name).stat().st_size / 1e6:.1f} MB")
            say_written(out, out / DESCRIPTION)
