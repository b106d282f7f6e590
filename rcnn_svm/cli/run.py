"""Runs every stage on an image set: propose and extract for both splits, then train, test and evaluate.

The splits are those of a VOC devkit. Other sources are split by a seed, with every class on both sides, unless the
test images have a file or folder of their own. OUT/train_ids.txt and OUT/test_ids.txt list which images were used.

  rcnn-svm run --voc VOCdevkit --train-split trainval --test-split test
  rcnn-svm run --csv boxes.csv --images photos --test-fraction 0.2
  rcnn-svm run --coco train.json --images photos --test-coco test.json

A preset is a list of settings that go together; every option that is given besides goes before it. A devkit takes the
paper's, other images take standard. What they cost and find: docs/results.md, "The ladder".

Prints each command before running it, so that any stage can be repeated by hand. What was made with the same
settings is done already, and an interrupted run goes on where it stopped. After a round of labelling, the same command
makes again what follows from it: images keep their side, new ones are drawn, and proposals and features of images that
did not change stay. Other settings of what follows the features (SVMs, box regression, voting, calibration) are made
again in the same folder without computing features; proposals and features of other settings are refused, or replaced
with --overwrite.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcnn_svm import paper
from rcnn_svm.cli.arguments import (
    add_backbone_argument,
    add_context_argument,
    add_crop_size_argument,
    add_data_arguments,
    add_jobs_argument,
    add_layer_argument,
    add_limit_arguments,
    add_overwrite_argument,
    add_scene_argument,
    add_soft_nms_argument,
    add_solver_argument,
    add_vote_argument,
    add_weights_argument,
    positive_float_or_auto,
    positive_int,
)
from rcnn_svm.cli.presets import PAPER, PRESETS, PURPOSES, RUN_METHODS, STANDARD, take_preset
from rcnn_svm.cli.sides import (
    Side,
    add_side_arguments,
    has_test_source,
    load_sides,
    negatives_side,
    record_sides,
    tested_before,
    whole_side,
)
from rcnn_svm.errors import InputError
from rcnn_svm.proposals.methods import METHODS, RANKED
from rcnn_svm.svm.class_weights import AUTO

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase

DETECTOR = "detector.h5"  # all that detect needs, in one file
EVERYTHING = "everything"  # folder of what was trained on all images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    add_data_arguments(parser, split=False)
    add_side_arguments(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("cache/run"),
        help="folder for everything that is made (default: %(default)s)",
    )
    add_overwrite_argument(parser, "what DIR holds,")
    add_jobs_argument(parser, "images or classes")
    stages = parser.add_argument_group("stages")
    stages.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="settings that go together: "
        + "; ".join(f"{name}: {purpose}" for name, purpose in PURPOSES.items())
        + f" (default: {PAPER} with --voc, else {STANDARD})",
    )
    stages.add_argument(
        "--method",
        metavar="NAME",
        choices=RUN_METHODS,
        help=f"how to find proposals: {RANKED}, windows in an order that is learnt from the training boxes, or "
        f"{', '.join(METHODS)} (default: the preset's)",
    )
    add_limit_arguments(stages)
    add_backbone_argument(stages, otherwise="the preset's")
    add_layer_argument(stages)
    add_context_argument(stages)
    add_scene_argument(stages)
    add_weights_argument(stages)
    add_crop_size_argument(stages)
    stages.add_argument(
        "--epochs",
        metavar="N",
        type=positive_int,
        default=paper.MAX_EPOCHS,
        help="passes of mining over the images, at most (default: %(default)s)",
    )
    add_solver_argument(stages)
    stages.add_argument(
        "--svm-C",
        metavar="C",
        type=positive_float_or_auto,
        help="weight of the loss, or auto (default: the paper's)",
    )
    stages.add_argument(
        "--pos-loss-weight",
        metavar="WEIGHT",
        type=positive_float_or_auto,
        help="weight of a positive, or auto, by the number of objects (default: the paper's with --voc, else auto)",
    )
    stages.add_argument("--calibrate", action="store_true", help="also find each class's probabilities, for detect")
    flag = argparse.BooleanOptionalAction
    stages.add_argument("--bbox", action=flag, help="train and use bounding-box regression (default: the preset's)")
    add_vote_argument(stages, otherwise="the preset's")
    stages.add_argument(
        "--again", metavar="N", type=int, help="score the best N boxes of an image again (default: the preset's)"
    )
    add_soft_nms_argument(stages, otherwise="the preset's")
    stages.add_argument(
        "--pictures", metavar="N", type=int, default=12, help="test images to draw (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the stages one after the other."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.identity import check_still_there
    from rcnn_svm.data.checks import count_classes, require_ground_truth, require_two_images
    from rcnn_svm.features.backbones import load_backbone
    from rcnn_svm.features.loaded_once import loaded_once
    from rcnn_svm.reports.run_folder import read_results

    if args.preset is None:
        args.preset = PAPER if args.voc else STANDARD
    if args.test_fraction == 0:
        return _train_on_everything(args)
    train, test = load_sides(args)
    before = [] if args.overwrite else tested_before(args.out)
    report = args.out / "report" / "results.json"
    results = read_results(report) if before and report.exists() else None  # a run may have stopped before its report
    chosen = take_preset(args, int(count_classes(train.database)[0].sum()))
    # A class without examples would only be found out after hours of extraction, a network that is not available after
    # hours of proposals.
    require_ground_truth(train.database)
    if args.calibrate:
        require_two_images(train.database)
    # The boxes of test images that are scored again need the network once more.
    with loaded_once() if args.again else contextlib.nullcontext(), claimed(args.out / "train_ids.txt"):
        load_backbone(args.backbone, args.layer, args.weights, crop_size=args.crop_size)
        if not args.overwrite:
            _check_images(args, (train, test))
        record_sides(train, test, args.out, overwrite=args.overwrite)
        negatives = negatives_side(args, (train, test)) if args.negatives else None
        if not args.voc:
            _look_at_labels(args.out, {"train": train.database, "test": test.database})
        print(chosen)
        stages = _Stages(args)
        stages.find_regions(train, test, *([negatives] if negatives else []))
        stages.train(train, args.out, negatives)
        stages.test(test, args.out)
        stages.assemble(args.out)
    made = ("train_ids.txt", "model.h5", "detections.h5", "report/results.json", DETECTOR)
    check_still_there(*(args.out / name for name in made))
    _compare_on(before, results, test, args.out)
    print("\n" + "\n".join(_next_steps(args, train, test)))
    return 0


def _look_at_labels(out: Path, sides: Mapping[str, ImageDatabase]) -> None:
    """Say what is odd about the labels, and draw them where that was not done for the same labels before."""
    from rcnn_svm.artefacts.files import fingerprint, write_text
    from rcnn_svm.data.findings import label_findings, labels_digest
    from rcnn_svm.reports.labels import findings_line, labels_sheet
    from rcnn_svm.reports.pictures import save_picture
    from rcnn_svm.reports.table import json_text

    found = label_findings(sides)
    picture, record = out / "labels.jpg", out / "labels.json"
    text = json_text(
        {
            "kind": "label findings",
            "schema": 1,
            "labels": fingerprint(list(map(labels_digest, sides.values()))),
            **found.record(),
        }
    )
    if not picture.exists() or not record.exists() or record.read_text(encoding="utf-8") != text:
        save_picture(labels_sheet(list(sides.values())), picture)
        write_text(record, text)
    where = ", rcnn-svm check says where" if found.findings else ""
    print(f"labels: {findings_line(found)}{where}; drawn in {picture}")


def _next_steps(args: argparse.Namespace, train: Side, test: Side) -> list[str]:
    """Return lines on where the detector is, what to expect of it, and what holds it back most."""
    from rcnn_svm.data.checks import count_classes
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.proposals.recall import recall_report
    from rcnn_svm.proposals.store import ProposalSet
    from rcnn_svm.reports.next_steps import obstacle_lines, obstacles
    from rcnn_svm.reports.operating_points import expected_line
    from rcnn_svm.reports.run_folder import read_results
    from rcnn_svm.reports.table import wrapped
    from rcnn_svm.reports.thresholds import thresholds_in_words

    report, path = args.out / "report", args.out / DETECTOR
    detector, results = Detector.load(path), read_results(report / "results.json")
    told = []
    if detector.thresholds is not None:
        thresholds = thresholds_in_words(detector.classes, detector.thresholds, detector.thresholds_from, 3)
        told.append(wrapped(f"reported: scores above {thresholds}"))
    lines = [
        _how_to_use(path),
        *told,
    ]
    if results is not None:
        learnt = dict(zip(train.database.classes, count_classes(train.database)[0].tolist(), strict=True))
        recall = recall_report(test.database, ProposalSet.load(_proposals(args, test)))
        used = [option for option in ("bbox", "vote") if getattr(args, option)]
        found = obstacles(results, learnt, recall, used)
        lines += [wrapped(expected_line(results["operating_points"]))]
        if found:
            lines += ["what holds it back most, in points of mAP:", *obstacle_lines(found)]
    pictures = ", pictures/" if args.pictures > 0 else ""
    lines.append(f"report: {report} (ap.md, errors.md, operating_points.md{pictures})")
    if not (args.voc or has_test_source(args) or args.test_ids or args.train_ids):
        lines.append("last of all: the same command with --test-fraction 0 trains on all images")
    return lines


def _how_to_use(detector: Path) -> str:
    """Return the command that uses a detector, to be copied."""
    return f"use it: {shlex.join(['rcnn-svm', 'detect', '--model', str(detector)])} IMAGE"


def _compare_on(before: Sequence[str], results: dict[str, Any] | None, test: Side, out: Path) -> None:
    """Print the mAP on the images that the run before tested on too, where others came or left: it compares.

    Args:
        before: ids of the images that the run before tested on.
        results: the figures of its report, or None.
        test: the images that this one tested on.
        out: folder of the run.
    """
    now = set(test.database.image_ids)
    common = [image_id for image_id in before if image_id in now]
    if not common or len(common) == len(now):
        return
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.evaluation.voc import evaluate_detections

    found = Detections.load(out / "detections.h5").subset(common)
    result = evaluate_detections(found, test.database.subset(common, test.database.name))
    print(
        f"\nother test images, another mAP: on the {len(common)} that the run before tested on too it is "
        f"{result.map11:.1%} (11 levels), {result.map_area:.1%} (area)"
        + (f"; then {results['map_voc07']:.1%}, {results['map_area']:.1%}" if results else "")
    )


def _train_on_everything(args: argparse.Namespace) -> int:
    """Train on all images, those too that an earlier run tested on, into a folder of their own."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import write_text
    from rcnn_svm.cli.arguments import check_sets
    from rcnn_svm.data.checks import count_classes, require_ground_truth

    side = whole_side(args)
    chosen = take_preset(args, int(count_classes(side.database)[0].sum()))
    require_ground_truth(side.database)
    out = args.out / EVERYTHING
    with claimed(args.out / "train_ids.txt"), claimed(out / "train_ids.txt"):
        check_sets([side.database], "headers", args)
        write_text(out / "train_ids.txt", "\n".join([*side.database.image_ids, ""]))
        print(f"train: {side.database.name}, all {len(side.database)} images\n{chosen}")
        negatives = negatives_side(args, (side,)) if args.negatives else None
        stages = _Stages(args)
        stages.find_regions(side, *([negatives] if negatives else []))
        stages.train(side, out, negatives)
        stages.assemble(out)
    print(f"\n{_how_to_use(out / DETECTOR)}")
    report = args.out / "report"
    if report.exists():
        print(f"no image is left to test it on: {report} is of the detector that was trained without the test images")
    else:
        print("no image is left to test it on; without --test-fraction 0 a quarter of the images is")
    return 0


def _proposals(args: argparse.Namespace, side: Side) -> Path:
    """Return the file for the proposals of a side."""
    return args.out / "proposals" / f"{side.label}.{args.method}.h5"


def _features(args: argparse.Namespace, side: Side) -> Path:
    """Return the folder for the features of a side."""
    return args.out / "features" / f"{side.label}.{args.backbone}"


def _check_images(args: argparse.Namespace, sides: tuple[Side, Side]) -> None:
    """Check that what the folder holds was made of some of these image files; many sets have the same file names.

    Raises:
        InputError: all files are others.
    """
    from rcnn_svm.artefacts.identity import REMEDY
    from rcnn_svm.proposals.store import ProposalSet

    known: set[str] = set()
    for side in sides:
        with contextlib.suppress(InputError):  # missing, or damaged, which the stage says
            known.update(ProposalSet.load(_proposals(args, side)).image_digests)
    databases = [side.database for side in sides]
    if known and not any(d.image_digest(i) in known for d in databases for i in range(len(d))):
        raise InputError(
            f"{args.out} holds a run on other images: all files differ from the {len(known)} that its proposals were "
            f"made of; {REMEDY}"
        )


class _Stages:
    """The stages of a run.

    Args:
        args: the arguments of the run.
    """

    def __init__(self, args: argparse.Namespace):
        self._args = args
        self._ranker = args.out / "ranker.h5"

    def find_regions(self, *sides: Side) -> None:
        """Make the proposals of sides and their features, the order of proposals first where there is none."""
        from rcnn_svm.features.loaded_once import loaded_once

        args, ranked = self._args, self._args.method == RANKED
        # Labels that came since teach the order little, and another order would make all features anew.
        if ranked and (args.overwrite or not self._ranker.exists()):
            self._stage("rank", *sides[0].words(), "--jobs", args.jobs, "--out", self._ranker, cheap=False)
        with loaded_once():
            for side in sides:
                proposals, features = _proposals(args, side), _features(args, side)
                self._stage(
                    "propose",
                    *side.words(),
                    *(("--ranker", self._ranker) if ranked else ("--method", args.method)),
                    *("--jobs", args.jobs, "--out", proposals, *_optional(args, "max_boxes", "merge_iou")),
                    *self._others(proposals, f"*.{args.method}.h5"),
                    cheap=False,
                )
                self._extract(side.words(), proposals, features, cheap=False)

    def train(self, side: Side, out: Path, negatives: Side | None) -> None:
        """Train the SVMs, with negatives beside those of the side, and box regression where asked for."""
        args = self._args
        svm_C, pos_loss_weight = _constants(args, side.database)
        self._stage(
            "train",
            *("--features", _features(args, side), "--out", out / "model.h5", "--jobs", args.jobs),
            *("--epochs", args.epochs, "--solver", args.solver),
            *("--svm-C", svm_C, "--pos-loss-weight", pos_loss_weight),
            *(["--negatives", _features(args, negatives)] if negatives else []),
            *(["--calibrate"] if args.calibrate else []),
        )
        if args.bbox:
            self._stage("train-bbox", "--features", _features(args, side), "--out", out / "bbox.h5")

    def test(self, side: Side, out: Path) -> None:
        """Test what a folder holds, and write its report."""
        args, features, model = self._args, _features(self._args, side), out / "model.h5"
        found, first = out / "detections.h5", out / "detections.first.h5"
        if not args.again:
            self._stage("test", "--features", features, "--model", model, *self._last_steps(out), "--out", found)
        else:
            correct, vote = self._correction(out), ["--vote"] if args.vote else []
            self._stage("test", "--features", features, "--model", model, *correct, "--out", first)
            boxes = out / "proposals" / f"{side.label}.again.h5"
            again = features.with_name(f"{features.name}.again")
            self._stage(
                "propose", *side.words(), "--detections", first, *vote, "--per-image", args.again, "--out", boxes
            )
            self._extract(side.words(), boxes, again, cheap=True)  # of boxes that are new
            self._stage(
                "test", "--features", again, "--model", model, *self._last_steps(out), "--also", first, "--out", found
            )
        self._stage(
            "evaluate",
            *("--detections", found, *side.words()),
            *("--pictures", args.pictures, "--out", out / "report"),
        )

    def assemble(self, out: Path) -> None:
        """Put all that detect needs into one file, with thresholds from the report on the test images."""
        words: list[object] = [
            *("--model", out / "model.h5", *self._last_steps(out)),
            *(["--ranker", self._ranker] if self._args.method == RANKED else []),
            *(["--again", self._args.again] if self._args.again else []),
            *("--out", out / DETECTOR),
        ]
        report = self._args.out / "report" / "results.json"
        if out == self._args.out:
            self._stage("assemble", *words, "--operating-points", report)
            return
        if report.exists():
            try:
                self._stage("assemble", *words, "--operating-points", report)
                return
            except InputError as error:
                # The detector that was tested had other settings.
                print(f"without thresholds: {error}")
        self._stage("assemble", *words)

    def _extract(self, data: Sequence[object], proposals: Path, out: Path, *, cheap: bool) -> None:
        args = self._args
        self._stage(
            "extract",
            *data,
            *("--proposals", proposals, "--backbone", args.backbone, "--out", out),
            *_optional(args, "layer", "weights", "crop_size"),
            *(f"--{name}" for name in ("context", "scene") if getattr(args, name)),
            *self._others(out, f"*.{args.backbone}"),
            cheap=cheap,
        )

    def _others(self, path: Path, pattern: str) -> list[object]:
        """Return the option that takes over from the same artefacts of other image sets, in training on everything."""
        others = [other for other in sorted(path.parent.glob(pattern)) if other != path]
        return ["--reuse", *others] if others and self._args.test_fraction == 0 else []

    def _correction(self, out: Path) -> list[object]:
        return ["--bbox", out / "bbox.h5"] if self._args.bbox else []

    def _last_steps(self, out: Path) -> list[object]:
        args = self._args
        return [*self._correction(out), *(["--vote"] if args.vote else []), *(["--soft-nms"] if args.soft_nms else [])]

    def _stage(self, name: str, *words: object, cheap: bool = True) -> None:
        """Print, run and time one stage; what stops it stops the run.

        Args:
            name: the stage.
            words: its arguments.
            cheap: what it makes is replaced where settings changed, also without --overwrite.
        """
        from rcnn_svm.cli.main import run_arguments

        argv = [*map(str, words), *(["--overwrite"] if self._args.overwrite or cheap else [])]
        argv += [] if self._args.overwrite else ["--update"]
        print(f"\n$ rcnn-svm {name} {shlex.join(argv)}", flush=True)
        start = time.perf_counter()
        run_arguments(name, argv)
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)


def _constants(args: argparse.Namespace, train: ImageDatabase) -> tuple[float | str, float | str]:
    """Return svm_C and pos_loss_weight: as given; else the paper's with a devkit, by the number of objects without.

    C is not cross-validated by itself: that costs several trainings, and on few images it gained less than the
    weights alone (docs/own_data.md, "Few images").
    """
    svm_C = paper.SVM_C if args.svm_C is None else args.svm_C
    if args.pos_loss_weight is not None:
        return svm_C, args.pos_loss_weight
    if args.preset == PAPER and args.voc:
        return svm_C, paper.POS_LOSS_WEIGHT
    import numpy as np

    from rcnn_svm.data.checks import count_classes
    from rcnn_svm.reports.table import wrapped

    typical = int(np.median(count_classes(train)[0]))
    kept = "" if args.svm_C is not None else f"; C is the paper's, as --svm-C {AUTO} takes several trainings"
    print(
        wrapped(
            f"chosen: --svm-C {svm_C} --pos-loss-weight {AUTO}, because a class has {typical} objects (median); the "
            f"paper's weight of {paper.POS_LOSS_WEIGHT:g} for every class is for thousands of them, which {AUTO} "
            f"then comes down to{kept}"
        )
    )
    return svm_C, AUTO


def _optional(args: argparse.Namespace, *names: str) -> list[object]:
    """Return the options among `names` that were given."""
    words: list[object] = []
    for name in names:
        if getattr(args, name) is not None:
            words += [f"--{name.replace('_', '-')}", getattr(args, name)]
    return words
