r"""Compares detections with the ground truth of an image set: average precision of every class in both PASCAL
VOC protocols, 11 recall levels (VOC2007) and area under the curve (VOC2010 and later). With --protocol coco also
COCO's average precision and recall, over IoU 0.5 to 0.95 and by size (needs the extra rcnn-svm[coco]).

The detections come from the test stage, or from VOC results files of any detector. Writes the table (CSV,
Markdown, JSON), precision-recall curves, what is wrong (errors.csv, errors.md: every false positive by Hoiem's
and TIDE's kinds, the AP that each kind costs, what to expect at the score of the best F1; confusion.csv),
pictures of some images with what was found, VOC results files (comp4) and COCO results, which have the numbers
of the --coco file, if there is one, for images and classes.
A report of the same detections, image set and thresholds is written again, since that takes little time; a report
of others is refused, or replaced with --overwrite.

  rcnn-svm evaluate --detections FILE --voc VOCdevkit --split test
  rcnn-svm evaluate --comp4 results/VOC2007/Main --voc VOCdevkit --split test
  rcnn-svm evaluate --detections FILE --csv boxes.csv --images photos \
    --protocol coco
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcnn_svm import paper
from rcnn_svm.cli.arguments import (
    add_data_arguments,
    add_overwrite_argument,
    add_soft_nms_argument,
    add_update_argument,
    add_vote_argument,
    load_database,
    say,
    say_letters,
    split_name,
)
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.evaluation.voc import VocResult

# Folders of a report.
COMP4, PICTURES = FOLDERS = ("comp4", "pictures")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--detections", metavar="FILE", type=Path, help="detections of the test stage")
    source.add_argument(
        "--comp4",
        metavar="DIR|PATTERN",
        help="VOC results files: a folder, or a path with %%s in the place of the class name",
    )
    add_data_arguments(parser, voc_split="test")
    parser.add_argument(
        "--protocol",
        choices=("voc", "coco"),
        default="voc",
        help="the table to print; coco is computed besides voc (default: %(default)s)",
    )
    parser.add_argument(
        "--iou",
        metavar="IOU",
        type=float,
        default=paper.HIT_IOU,
        help="smallest IoU of a VOC hit (default: %(default)s)",
    )
    parser.add_argument(
        "--nms",
        metavar="IOU",
        type=float,
        help="first drop boxes that overlap a better one of their class by more than this "
        f"(default: {paper.NMS_THRESHOLD} with --detections, nothing is dropped with --comp4 or after soft-NMS)",
    )
    add_vote_argument(parser)
    add_soft_nms_argument(parser)
    parser.add_argument(
        "--pictures", metavar="N", type=int, default=12, help="images to draw; 0 for none (default: %(default)s)"
    )
    parser.add_argument(
        "--thresh",
        metavar="SCORE",
        type=float,
        help="draw detections with a score above this (default: in each class, the score of the best F1 here)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where to write (default: cache/reports/<name of the detections>/)"
    )
    add_overwrite_argument(parser, "a report")
    add_update_argument(parser, "a report")


def run(args: argparse.Namespace) -> None:
    """Evaluate, print the table and write the report."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.evaluation.voc import align, evaluate_detections
    from rcnn_svm.reports.voc_tables import voc_table

    database = load_database(args)
    detections, name, nms_threshold = _load_detections(args, database)
    out = args.out or Path("cache/reports") / name
    check_writable(out / "results.json")
    detections = align(detections, database)
    if args.vote:
        detections = detections.after_voting()
    if args.soft_nms:
        detections = detections.after_soft_nms()
    if nms_threshold is not None:
        detections = detections.after_nms(nms_threshold)
    with claimed(out / "results.json"):
        if not args.overwrite:
            wanted = {"image_set": database.name, "iou": args.iou, "detections": detections.settings}
            _check_report(out, wanted, update=args.update)
        result = evaluate_detections(detections, database, iou=args.iou, nms_threshold=None)
        if args.protocol == "coco":
            _evaluate_coco(out, detections, database)
        else:
            print(voc_table(result).text(), end="\n\n", flush=True)
        summary = _evaluate_errors(out, result, detections, database)

        say_written(out, *_write_report(out, result, summary, detections, database, args))


def _load_detections(args: argparse.Namespace, database: ImageDatabase) -> tuple[Detections, str, float | None]:
    """Return the detections, a name for their report, and the threshold of the suppression to apply."""
    from rcnn_svm.data import Notes
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.evaluation.formats import read_comp4

    if args.detections:
        threshold = paper.NMS_THRESHOLD if args.nms is None else args.nms
        found = Detections.load(args.detections)
        if args.nms is not None and (args.soft_nms or "soft_nms" in found.settings):
            raise InputError(
                "--nms drops boxes and soft-NMS lowers their scores; give --nms with detections of test "
                "without --soft-nms"
            )
        return found, args.detections.stem, threshold
    for option, given in (("--vote", args.vote), ("--soft-nms", args.soft_nms)):
        if given:
            raise InputError(
                f"{option} needs --detections: results files hold what survived suppression, and lack "
                "the boxes around it"
            )
    notes = Notes()
    found = read_comp4(args.comp4, database.classes, database.image_ids, notes)
    notes.check(strict=args.strict)
    say(notes)
    return found, f"{database.name}.comp4", args.nms


def _check_report(out: Path, wanted: dict[str, Any], *, update: bool) -> None:
    """Check that a report in `out`, if there is one, is of the same detections, image set and thresholds.

    With `update`, the detections may come from other images and labels.
    """
    from rcnn_svm.artefacts.files import reading
    from rcnn_svm.artefacts.identity import REMEDY, UPDATE, check_same, say_again
    from rcnn_svm.detection.image_set import differs_in_data

    path = out / "results.json"
    if path.exists():
        with reading(path):
            content = json.loads(path.read_text(encoding="utf-8"))
            found = {key: content[key] for key in ("image_set", "iou")}
            found["detections"] = content["made_from"]["detections"]
        only_data = {**found, "detections": None} == {**wanted, "detections": None} and differs_in_data(
            found["detections"], wanted["detections"]
        )
        if update and only_data:
            say_again(out, found, wanted)
        else:
            check_same(out, found, wanted, UPDATE if only_data else REMEDY)


def _evaluate_coco(out: Path, detections: Detections, database: ImageDatabase) -> None:
    """Print the table of COCO's protocol and write it."""
    from rcnn_svm.artefacts.files import provenance, write_text
    from rcnn_svm.evaluation.coco import evaluate_coco
    from rcnn_svm.reports.coco_tables import coco_csv, coco_json, coco_table

    result = evaluate_coco(detections, database, nms_threshold=None)
    table = coco_table(result)
    print(table.text(), end="\n\n", flush=True)
    write_text(out / "coco_ap.csv", coco_csv(result))
    write_text(out / "coco_ap.md", table.markdown() + "\n")
    write_text(out / "coco_ap.json", coco_json(result, {"detections": detections.settings, **provenance()}))


def _evaluate_errors(out: Path, result: VocResult, detections: Detections, database: ImageDatabase) -> dict[str, Any]:
    """Print what is wrong in some lines, write its tables and those of thresholds; return a summary, JSON-able."""
    from rcnn_svm.artefacts.files import write_text
    from rcnn_svm.evaluation.errors import detection_errors
    from rcnn_svm.evaluation.operating_points import find_operating_points
    from rcnn_svm.evaluation.tide import error_costs
    from rcnn_svm.reports.error_tables import confusion_csv, cost_table, error_lines, errors_csv, work_table
    from rcnn_svm.reports.next_steps import error_summary
    from rcnn_svm.reports.operating_points import interval_line, points_csv, points_records, points_table

    errors = detection_errors(detections, database, iou=result.iou, nms_threshold=None)
    costs, points = error_costs(errors), find_operating_points(result, errors, database)
    at = points.best_f1
    if at.objects.any():
        print(interval_line(points))
        print(error_lines(costs, at), end="\n\n", flush=True)
    write_text(out / "errors.csv", errors_csv(costs, at))
    write_text(out / "errors.md", f"{cost_table(costs).markdown()}\n\n{work_table(at).markdown()}\n")
    write_text(out / "confusion.csv", confusion_csv(at))
    write_text(out / "operating_points.csv", points_csv(points))
    write_text(out / "operating_points.md", points_table(points).markdown() + "\n")
    return {"operating_points": points_records(points), "errors": error_summary(costs, at)}


def _write_report(
    out: Path,
    result: VocResult,
    summary: dict[str, Any],
    detections: Detections,
    database: ImageDatabase,
    args: argparse.Namespace,
) -> list[Path]:
    """Write the report and return its files."""
    from rcnn_svm.artefacts.files import provenance, write_text
    from rcnn_svm.evaluation.formats import write_coco_results, write_comp4
    from rcnn_svm.reports.curves import save_precision_recall
    from rcnn_svm.reports.pictures import evenly_spaced, save_detection_pictures
    from rcnn_svm.reports.voc_tables import voc_csv, voc_json, voc_table

    names = ("ap.csv", "ap.md", "results.json", "precision_recall.png", "coco_results.json")
    write_text(out / "ap.csv", voc_csv(result))
    write_text(out / "ap.md", voc_table(result).markdown() + "\n")
    shown = evenly_spaced(args.pictures, len(database)) if args.pictures > 0 else []
    say_letters([*database.classes, *(database.image_ids[index] for index in shown)])
    save_precision_recall(result, out / "precision_recall.png")
    paths = [*(out / name for name in names), *write_comp4(detections, out / COMP4, split_name(args))]
    write_coco_results(detections, out / "coco_results.json", database.coco_ids)
    if args.pictures > 0:
        if args.thresh is None:
            thresh = result.best_f1_thresh
            chosen = "at the best F1 of each class"
        else:
            thresh, chosen = args.thresh, f"with scores above {args.thresh:g}"
        paths += save_detection_pictures(
            database,
            detections,
            out / PICTURES,
            score_thresh=thresh,
            count=args.pictures,
            note=f"solid: found, {chosen}; dashed: ground truth, (difficult)",
        )
    # Of an earlier report, on classes and images that are gone; what else is in its folders is the user's.
    for path in _recorded_files(out).difference(paths):
        path.unlink(missing_ok=True)
    files = {folder: sorted(path.name for path in paths if path.parent == out / folder) for folder in FOLDERS}
    made_from = {"detections": detections.settings, "files": files, **provenance()}
    write_text(out / "results.json", voc_json(result, made_from, **summary))
    return paths


def _recorded_files(out: Path) -> set[Path]:
    """Return what the report in `out`, if there is one, says that it has below its own folder."""
    from rcnn_svm.artefacts.files import reading

    path = out / "results.json"
    if not path.exists():
        return set()
    with reading(path):
        files = json.loads(path.read_text(encoding="utf-8"))["made_from"].get("files", {})
        return {out / folder / Path(name).name for folder in FOLDERS for name in files.get(folder, [])}
