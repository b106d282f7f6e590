"""Trains one linear SVM per class on a feature cache by hard negative mining, as rcnn_train.m does.

The defaults are the paper's, made for hundreds or thousands of objects a class. With some tens of them, try
--pos-loss-weight auto --svm-C auto; add --calibrate for probabilities that compare across classes.
With --negatives and --mined, images without objects and what the mine stage took are at the end of the training set.
An interrupted training goes on from its last checkpoint. Several processes or machines share the classes with --part or
--scheduler. With --random-negatives there is no mining: every class is
trained once, for comparison, on negatives drawn among all with IoU below --neg-overlap.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcnn_svm import paper
from rcnn_svm.artefacts.claims import WHOLE
from rcnn_svm.cli.arguments import (
    add_jobs_argument,
    add_neg_overlap_argument,
    add_negatives_arguments,
    add_overwrite_argument,
    add_seed_argument,
    add_solver_argument,
    add_stored_layer_arguments,
    add_update_argument,
    class_names,
    open_features,
    positive_float,
    positive_float_or_auto,
    positive_int,
)
from rcnn_svm.cli.sharing import add_sharing_arguments, say_part
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.mining.engine.parts import TrainingParts
    from rcnn_svm.mining.hard_negatives import HardNegativeMiner

# Passes without a better precision that a class is given.
PATIENCE = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache to train on")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="model file (default: cache/models/<name of the feature cache>.h5)"
    )
    add_overwrite_argument(parser, "a model")
    add_update_argument(parser, "a model")
    parser.add_argument("--classes", metavar="A,B,...", help="train only these classes (default: all of the cache)")
    add_stored_layer_arguments(parser, "the one that is stored")
    add_jobs_argument(parser, "classes")
    add_sharing_arguments(parser, "the classes")
    more = parser.add_argument_group("more negatives")
    add_negatives_arguments(more)
    more.add_argument(
        "--background-test",
        metavar="DIR",
        type=Path,
        help="feature cache of other background, to count false positives on before and after",
    )
    more.add_argument(
        "--test-features",
        metavar="DIR",
        type=Path,
        help="feature cache of test images: for the average precision, and for a comparison at equal recall (default: "
        "that of --validate)",
    )
    more.add_argument(
        "--before",
        metavar="MODEL",
        type=Path,
        help="model to compare with (default: the one that mined)",
    )
    mining = parser.add_argument_group("mining")
    mining.add_argument(
        *("--epochs", "--max-epochs"),
        dest="epochs",
        metavar="N",
        type=positive_int,
        default=paper.MAX_EPOCHS,
        help="passes over the images, at most (default: %(default)s)",
    )
    mining.add_argument(
        "--stop-ratio",
        metavar="R",
        type=float,
        help="stop after a pass when every class's objective over all data is below R times that on its cache, such as "
        f"{paper.STOP_RATIO} (default: no such test)",
    )
    mining.add_argument(
        "--validate",
        metavar="DIR",
        type=Path,
        help="feature cache of other images: a class stops when its average precision there no longer rises, and its "
        "best pass is kept (default: no such test)",
    )
    mining.add_argument(
        "--patience",
        metavar="N",
        type=positive_int,
        default=PATIENCE,
        help="passes in a row without a better average precision after which a class stops (default: %(default)s)",
    )
    mining.add_argument(
        "--memory-budget",
        metavar="MB",
        type=positive_int,
        help="megabytes for the examples of all classes; easy ones leave earlier where it binds (default: no limit)",
    )
    mining.add_argument(
        "--hard-thresh",
        metavar="SCORE",
        type=float,
        default=paper.HARD_THRESH,
        help="a negative that scores above this is hard (default: %(default)s)",
    )
    mining.add_argument(
        "--evict-thresh",
        metavar="SCORE",
        type=float,
        default=paper.EVICT_THRESH,
        help="a cached negative that scores below this leaves (default: %(default)s)",
    )
    add_neg_overlap_argument(mining)
    mining.add_argument(
        "--retrain-limit",
        metavar="N",
        type=positive_int,
        default=paper.RETRAIN_LIMIT,
        help="a class is trained again after more new negatives than this (default: %(default)s)",
    )
    mining.add_argument(
        "--k-folds",
        metavar="N",
        type=int,
        help="also train detectors without a fold each (default: none; with --calibrate 5, of few images fewer)",
    )
    mining.add_argument(
        "--calibrate", action="store_true", help="also find each class's probabilities, on the folds left out"
    )
    mining.add_argument(
        "--random-negatives",
        metavar="N|MODEL",
        help="do not mine, but draw N negatives of every class at random, or as many as it was trained on last in the "
        "mined MODEL",
    )
    svm = parser.add_argument_group("SVM")
    add_solver_argument(svm)
    svm.add_argument(
        "--tolerance",
        metavar="X",
        type=positive_float,
        help="where to stop: relative duality gap of dcd (default: 1e-6), or eps of liblinear (default: 0.1)",
    )
    svm.add_argument(
        "--svm-C",
        metavar="C",
        type=positive_float_or_auto,
        default=paper.SVM_C,
        help="weight of the loss; auto: cross-validated, which mines twice (default: %(default)s)",
    )
    svm.add_argument(
        "--pos-loss-weight",
        metavar="WEIGHT",
        type=positive_float_or_auto,
        default=paper.POS_LOSS_WEIGHT,
        help="weight of a positive; auto: by class, more where there are few (default: %(default)s)",
    )
    svm.add_argument(
        "--bias-mult",
        metavar="X",
        type=positive_float,
        default=paper.BIAS_MULT,
        help="value of the bias feature (default: %(default)s)",
    )
    add_seed_argument(svm, "samples, folds and solver")


def run(args: argparse.Namespace) -> None:
    """Train and write the model, or find it done."""
    from rcnn_svm.artefacts.checkpoint import Checkpoint, checkpoint_beside
    from rcnn_svm.artefacts.claims import claimed, share_of
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done, only_data_differs, say_written
    from rcnn_svm.cache.folds import split_folds
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.detection.image_set import is_of_same_set
    from rcnn_svm.mining.background import with_negatives
    from rcnn_svm.mining.engine.parts import TrainingParts
    from rcnn_svm.mining.examples import class_columns
    from rcnn_svm.mining.hard_negatives import HardNegativeMiner
    from rcnn_svm.mining.random_negatives import RandomNegativeTrainer
    from rcnn_svm.reports.mining import mining_table
    from rcnn_svm.svm.class_weights import AUTO
    from rcnn_svm.tuning.calibration import FOLDS, calibrate_model, check_folds
    from rcnn_svm.tuning.svm_C import SvmCSearch

    if args.before and not (args.background_test or args.test_features):
        raise InputError("--before is compared on --background-test and --test-features; give one of them, or leave it")
    background = [open_features(folder, args.layer, args.weights) for folder in args.negatives]
    cache = with_negatives(open_features(args.features, args.layer, args.weights), background, args.mined)
    _say_negatives(cache, background, args.mined)
    suffix = f".{args.layer}" if args.layer else ""
    out = args.out or Path("cache/models") / f"{args.features.resolve().name}{suffix}.h5"
    k_folds = args.k_folds
    if k_folds is None:
        k_folds = max(2, min(FOLDS, cache.num_images - 1)) if args.calibrate else 0
    if args.calibrate and not k_folds:
        raise InputError("--calibrate needs folds to hold out; give --k-folds 2 or more, or leave it away for 5")
    if args.validate is None and args.patience != PATIENCE:
        raise InputError("--patience is for the stop by --validate; give --validate DIR too, or leave it out")
    shared = {
        "pos_loss_weight": args.pos_loss_weight,
        "bias_mult": args.bias_mult,
        "neg_overlap": args.neg_overlap,
        "solver": args.solver,
        "tolerance": args.tolerance,
        "classes": class_names(args),
        "n_jobs": args.jobs,
        "seed": args.seed,
    }
    if args.random_negatives is None:
        trainer = HardNegativeMiner(
            svm_C=paper.SVM_C if args.svm_C == AUTO else args.svm_C,
            hard_thresh=args.hard_thresh,
            evict_thresh=args.evict_thresh,
            retrain_limit=args.retrain_limit,
            max_epochs=args.epochs,
            stop_ratio=args.stop_ratio,
            patience=args.patience,
            memory_budget=None if args.memory_budget is None else args.memory_budget * 10**6,
            k_folds=k_folds,
            **shared,
        )
        if args.svm_C == AUTO:
            trainer = SvmCSearch(trainer)
    else:
        trainer = RandomNegativeTrainer(
            num_negatives=_num_negatives(args, shared["classes"] or cache.classes), svm_C=args.svm_C, **shared
        )
    check_writable(out)
    if args.part != WHOLE:
        _check_shareable(args)
    given: dict[str, Any] = {}
    if args.validate is not None:
        given["validate"] = open_features(args.validate, args.layer, args.weights)
    identity = trainer.identity(cache, **given)
    derived = [name for name in ("classes", "k_folds") if getattr(args, name) is None]
    names = [cache.classes[column] for column in class_columns(cache, shared["classes"])]
    parts = TrainingParts(out, identity, len(names), args.epochs * cache.num_images)
    with claimed(share_of(out, args.part)):
        checkpoint = checkpoint_beside(out, identity, overwrite=args.overwrite, update=args.update, derived=derived)
        if not already_done(
            out,
            lambda: Detector.load(out).training.get("identity"),
            identity,
            overwrite=args.overwrite,
            update=args.update,
            same_settings=lambda found: (
                only_data_differs(found, identity, derived)
                # Their number follows from the images, whether there are any does not.
                and bool(found["parameters"].get("k_folds")) == bool(k_folds)
                and is_of_same_set(Detector.load(out), cache)
            ),
        ):
            if args.part != WHOLE:
                _mine_part(trainer, cache, parts, range(len(names))[args.part[0] :: args.part[1]])
                say_part(args.part, out)
                return
            if args.calibrate:
                check_folds(cache, names, split_folds(cache.num_images, k_folds, args.seed))
            if parts.folder.exists():
                _mine_part(trainer, cache, parts, range(len(names)))
                parts.join(Checkpoint(checkpoint, identity))
            if args.random_negatives is None:
                trainer.fit(cache, checkpoint=checkpoint, **given)
            else:
                trainer.fit(cache)
            trainer.save(out)
        checkpoint.unlink(missing_ok=True)
        parts.remove()
        if args.calibrate:
            calibrate_model(out, cache)
    print(mining_table(out))
    if args.background_test or args.test_features:
        print()
        _compare(args, out)
    say_written(out)


def _check_shareable(args: argparse.Namespace) -> None:
    """Check that classes can be mined apart: none of the options looks at all of them."""
    from rcnn_svm.svm.class_weights import AUTO

    for option, why in (
        ("random_negatives", "a training of seconds"),
        ("stop_ratio", "a test of all classes together"),
        ("validate", "a test of all classes together"),
    ):
        if getattr(args, option) is not None:
            raise InputError(f"--part shares out classes, and --{option.replace('_', '-')} is {why}; leave one out")
    if args.svm_C == AUTO:
        raise InputError("--part shares out classes, and --svm-C auto looks at all of them; give a number")


def _mine_part(miner: HardNegativeMiner, cache: FeatureCache, parts: TrainingParts, classes: Sequence[int]) -> None:
    """Mine those of some classes, by their numbers, that no complete part has yet."""
    missing = set(parts.missing())
    numbers = [number for number in classes if number in missing]
    if numbers:
        miner.mine_classes(cache, numbers, parts.checkpoint(numbers))


def _say_negatives(cache: FeatureCache, background: Sequence[FeatureCache], mined: Sequence[Path]) -> None:
    """Print how many images and regions are there beside those with labels."""
    from rcnn_svm.mining.mined_regions import read_manifest
    from rcnn_svm.words import counted

    for part in background:
        print(f"background: {part.name}, {counted(part.num_images, 'image')}, {counted(part.num_rows, 'region')}")
    for manifest in mined:
        regions = read_manifest(manifest)
        print(f"mined: {manifest}, {counted(len(regions), 'region')}")
        gone = sorted({region.cls for region in regions} - {*cache.classes})
        if gone:
            print(f"not used of them: regions on which {', '.join(gone)} fired, no class of {cache.name}")


def _compare(args: argparse.Namespace, out: Path) -> None:
    """Print false positives on background and average precision, of the model and of the one before it."""
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.evaluation.on_background import compare_on_background
    from rcnn_svm.reports.on_background import background_table

    after, before = Detector.load(out), args.before or _model_that_mined(args.mined)
    models = {"after": after} if before is None else {"before": Detector.load(before), "after": after}
    test = args.test_features or args.validate
    caches = [folder and open_features(folder, args.layer, args.weights) for folder in (args.background_test, test)]
    results = compare_on_background([*models.values()], *caches)
    print(background_table(dict(zip(models, results, strict=True))).text())


def _model_that_mined(manifests: Sequence[Path]) -> Path | None:
    """Return the model that the first manifest was mined with, where it is still there and the same."""
    import json

    from rcnn_svm.artefacts.files import READ_ERRORS
    from rcnn_svm.detection.detector import Detector

    if not manifests:
        return None
    try:
        record = json.loads(manifests[0].with_name("mined.json").read_text(encoding="utf-8"))
        model = Path(record["model"])
        return model if Detector.load(model).digest == record["identity"]["detector"] else None
    except (InputError, *READ_ERRORS):
        return None


def _num_negatives(args: argparse.Namespace, classes: Sequence[str]) -> int | list[int]:
    """Return the number of negatives to draw, of every class or one per class."""
    from rcnn_svm.mining.random_negatives import negatives_of_model

    for option in ("stop_ratio", "validate", "memory_budget", "k_folds", "calibrate"):
        if getattr(args, option):
            raise InputError(f"--{option.replace('_', '-')} is for mining; leave it out with --random-negatives")
    mining = {
        "epochs": paper.MAX_EPOCHS,
        "hard_thresh": paper.HARD_THRESH,
        "evict_thresh": paper.EVICT_THRESH,
        "retrain_limit": paper.RETRAIN_LIMIT,
        "patience": PATIENCE,
    }
    for option, default in mining.items():
        if getattr(args, option) != default:
            raise InputError(f"--{option.replace('_', '-')} is for mining; leave it out with --random-negatives")
    if args.random_negatives.isdecimal():
        return int(args.random_negatives)
    return negatives_of_model(args.random_negatives, classes)
