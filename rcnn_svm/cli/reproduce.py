r"""Makes the rows of the R-CNN paper's VOC 2007 tables and sets our figures beside the published ones.

Rows: AlexNet with pool5, fc6 and fc7, as it is and fine-tuned, with bounding box regression (-bb) and scored by
softmax; VGG16 fine-tuned, without and with -bb; the ablations of the paper's text (negative overlap, random
negatives, a second epoch). Another --backbone has its last layer in their place.

Prints each command before running it and writes table.md, table.csv, times.csv and results.json after every row. A
row that cannot be made (for lack of weights, say) is listed as not run, and the others go on. What was made with the
same settings is done already, and an interrupted reproduction goes on where it stopped. What was made with other
settings is refused.

  rcnn-svm reproduce --voc VOCdevkit --rows alexnet-pool5,alexnet-fc7
  rcnn-svm reproduce --voc VOCdevkit --backbone lite0 --limit-images 300 \
    --max-boxes 400
"""

from __future__ import annotations

import argparse
import json
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcnn_svm import paper
from rcnn_svm.cli.arguments import (
    add_crop_size_argument,
    add_device_argument,
    add_jobs_argument,
    add_max_boxes_argument,
    add_method_argument,
    class_names,
    positive_int,
    read_ids,
)
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase
    from rcnn_svm.experiments.reproduce.pipeline import Setup
    from rcnn_svm.experiments.reproduce.rows import Row

# There is no --overwrite: a table half made with other settings would be no table.
KIND, SCHEMA = "reproduced figures", 1
REMEDY = "give another --out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    data = parser.add_argument_group("image set")
    data.add_argument("--voc", metavar="ROOT", type=Path, required=True, help="VOCdevkit folder that holds VOC2007")
    data.add_argument("--classes", metavar="A,B,...", help="class names (default: the 20 VOC classes)")
    data.add_argument("--train-ids", metavar="FILE", type=Path, help="only these images of trainval, one id a line")
    data.add_argument("--test-ids", metavar="FILE", type=Path, help="only these images of test, one id a line")
    data.add_argument("--limit-images", metavar="N", type=positive_int, help="only the first N images of each of them")
    rows = parser.add_argument_group("rows")
    rows.add_argument(
        "--backbone", metavar="A,B,...", default="alexnet,vgg16", help="networks (default: %(default)s); lite0 is small"
    )
    rows.add_argument("--rows", metavar="A,B,...", help="only these; a wrong name lists them (default: all)")
    rows.add_argument(
        "--weights",
        metavar="BACKBONE=FILE",
        action="append",
        default=[],
        help="state dict of a network, or the word random (default: the published one); may be repeated",
    )
    stages = parser.add_argument_group("stages")
    add_method_argument(stages)
    add_max_boxes_argument(stages)
    add_crop_size_argument(stages)
    stages.add_argument(
        "--iterations",
        metavar="N",
        type=positive_int,
        default=paper.FINETUNE_ITERATIONS,
        help="steps of fine-tuning (default: %(default)s)",
    )
    add_device_argument(stages)
    add_jobs_argument(parser, "images or classes")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("cache/reproduce"),
        help="folder for everything that is made (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Make the rows; return 1 if one that was asked for could not be made."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.cli.main import run_arguments
    from rcnn_svm.experiments.reproduce.pipeline import Pipeline
    from rcnn_svm.experiments.reproduce.rows import choose_rows
    from rcnn_svm.experiments.reproduce.stages import StageRunner
    from rcnn_svm.features.backbones import check_backbone

    backbones = _names(args.backbone)
    for name in backbones:
        check_backbone(name)
    known, chosen = choose_rows(backbones, _names(args.rows) if args.rows else None)
    check_writable(args.out / "results.json")
    with claimed(args.out / "results.json"):
        setup = _setup(args, _weights(args.weights, backbones))
        pipeline = Pipeline(setup, StageRunner(run_arguments, args.out / "stages"), {row.id: row for row in known})
        failed: dict[str, dict[str, Any]] = {}
        for row in chosen:
            _make(pipeline, row, _result_path(args.out, row), setup.weights_of(row), failed)
            _write_tables(setup, known, failed)
    print()
    tables = [args.out / name for name in ("table.md", "table.csv", "times.csv", "results.json")]
    say_written(args.out, *tables, *(_result_path(args.out, row) for row in chosen if row.id not in failed))
    return 1 if failed else 0


def _make(pipeline: Any, row: Row, path: Path, weights: str, failed: dict[str, dict[str, Any]]) -> None:
    """Make a row and write its result, or find it done, or note why not."""
    from rcnn_svm.artefacts.files import write_text
    from rcnn_svm.artefacts.identity import check_same, say_done

    print(f"\n== {row.title} ({row.id})", flush=True)
    try:
        if path.exists():
            check_same(path, {"weights": _read_result(path)["weights"]}, {"weights": weights}, REMEDY)
            say_done(path)
            return
        result = pipeline.make(row)
    except InputError as error:
        failed[row.id] = {"row": row.id, "title": row.title, "error": str(error)}
        print(f"{row.id}: not run: {error}", flush=True)
    else:
        write_text(path, json.dumps({"kind": KIND, "schema": SCHEMA, **result}, indent=1) + "\n")


def _setup(args: argparse.Namespace, weights: dict[str, str]) -> Setup:
    """Return what all rows have in common, and see to it that OUT holds nothing made otherwise."""
    from rcnn_svm.artefacts.files import fingerprint, write_text
    from rcnn_svm.data.checks import require_ground_truth, require_usable
    from rcnn_svm.data.voc import load_voc
    from rcnn_svm.experiments.reproduce.pipeline import SPLITS, YEAR, Setup

    databases: dict[str, ImageDatabase] = {}
    images, ids = {}, {}
    for name, split in SPLITS.items():
        whole = load_voc(args.voc, YEAR, split, classes=class_names(args))
        listed = getattr(args, f"{name}_ids")
        wanted = list(whole.image_ids if listed is None else read_ids(listed))[: args.limit_images]
        databases[name] = whole.subset(wanted)
        images[name] = len(wanted), len(whole)
        ids[name] = None if listed is None and args.limit_images is None else args.out / "ids" / f"{name}.txt"
    # A class without examples, or an image that cannot be read, would only be found out after hours.
    require_usable(list(databases.values()), "headers" if (args.out / "settings.json").exists() else "pixels")
    require_ground_truth(databases["train"])
    _check_settings(
        args.out / "settings.json",
        {
            **{f"{name} images": fingerprint(list(database.image_ids)) for name, database in databases.items()},
            # Their files and boxes: a row is not done if it was made from others of the same names.
            **{f"{name} images and boxes": database.digest() for name, database in databases.items()},
            "classes": list(databases["train"].classes),
            "method": args.method,
            "max boxes": args.max_boxes,
            "crop size": args.crop_size,
            "iterations": args.iterations,
        },
    )
    for name, path in ids.items():
        if path is not None:
            write_text(path, "\n".join(databases[name].image_ids) + "\n")
    return Setup(
        out=args.out,
        voc=args.voc,
        ids=ids,
        images=images,
        classes=args.classes,
        method=args.method,
        max_boxes=args.max_boxes,
        crop_size=args.crop_size,
        iterations=args.iterations,
        weights=weights,
        jobs=args.jobs,
        device=args.device,
    )


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings of OUT, or check that they are these."""
    from rcnn_svm.artefacts.files import reading, write_text
    from rcnn_svm.artefacts.identity import check_same
    from rcnn_svm.artefacts.schema import check_json_schema

    says: dict[str, Any] = {"kind": f"settings of {KIND}", "schema": SCHEMA}
    if not path.exists():
        write_text(path, json.dumps({**says, **settings}, indent=1) + "\n")
        return
    with reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        check_json_schema(path, found, says["kind"], says["schema"], REMEDY)
        found = {name: value for name, value in found.items() if name not in says}
    check_same(path.parent, found, settings, REMEDY)


def _write_tables(setup: Setup, known: list[Row], failed: dict[str, dict[str, Any]]) -> None:
    """Write every row there is a result of, now or before, and those that failed; print the means."""
    from rcnn_svm.artefacts.files import provenance, write_text
    from rcnn_svm.experiments.reproduce.published import published_figures
    from rcnn_svm.experiments.reproduce.table import summary_text, table_csv, table_markdown, times_csv

    paths = [_result_path(setup.out, row) for row in known]
    # Those of other networks, made with the same --out, follow.
    others = sorted(set((setup.out / "rows").glob("*.json")) - set(paths))
    results = []
    for path, row in [*zip(paths, known, strict=True), *((path, None) for path in others)]:
        if row is not None and row.id in failed:
            results.append(failed[row.id])
        elif path.exists():
            results.append(_read_result(path))
    published = published_figures()
    (train, _), (test, _) = setup.images["train"], setup.images["test"]
    about = f"Trained on {train:,} images of trainval, tested on {test:,} of test."
    write_text(setup.out / "table.md", table_markdown(results, published, about))
    write_text(setup.out / "table.csv", table_csv(results, published))
    write_text(setup.out / "times.csv", times_csv(results))
    content = {"kind": KIND, "schema": SCHEMA, "about": about, "rows": results, "provenance": provenance()}
    write_text(setup.out / "results.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    print(f"\n{summary_text(results, published)}", flush=True)


def _result_path(out: Path, row: Row) -> Path:
    return out / "rows" / f"{row.id.replace(':', '-')}.json"


def _read_result(path: Path) -> dict[str, Any]:
    from rcnn_svm.artefacts.files import reading
    from rcnn_svm.artefacts.schema import check_json_schema

    with reading(path):
        result = json.loads(path.read_text(encoding="utf-8"))
        check_json_schema(path, result, KIND, SCHEMA, "delete it to make the row again")
        figures = [result["map_voc07"], result["map_area"], *result["classes"].values(), *result["seconds"].values()]
        texts = [result["row"], result["title"], result["weights"], *result["deviations"], result["note"]]
        if not all(isinstance(figure, Real | None) for figure in figures) or not all(
            isinstance(text, str) for text in texts
        ):
            raise ValueError("a figure is no number, or a name no text")
        return result


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{text!r} must list names, separated by commas")
    return names


def _weights(pairs: list[str], backbones: list[str]) -> dict[str, str]:
    """Return the weights by network of `BACKBONE=FILE` arguments."""
    weights = {}
    for pair in pairs:
        backbone, _, file = pair.partition("=")
        if backbone not in backbones or not file:
            raise InputError(f"--weights {pair!r} must be BACKBONE=FILE with a backbone out of {', '.join(backbones)}")
        if file != "random" and not Path(file).is_file():
            raise InputError(f"weights file {file} does not exist")
        weights[backbone] = file
    return weights
