"""Which rows there are: those of the paper's tables, the same for other networks, and the ablations of its text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import PENULTIMATE, has_paper_layers
from rcnn_svm.features.settings import PAPER_LAYERS, POOL5

TITLES = {"alexnet": "AlexNet", "vgg16": "VGG16"}
# No two boxes of pixels that share one have an IoU this small: only regions apart from every object are below.
APART = "1e-7"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        id: name of the row on the command line and in file names.
        title: as in the paper's tables where it is a row of these.
        backbone: name of the network.
        layer: whose features the SVMs score.
        finetuned: the network was fine-tuned on the training images.
        softmax: scored by the fine-tuned network's own classifier instead of SVMs.
        bbox: boxes corrected by regression.
        model: id of the row whose SVMs are used; the row's own where it only differs in what follows training.
        train: further arguments of the train stage.
        random_as: id of the row with as many negatives, mined; these are drawn at random.
        note: what the paper says of it.
    """

    id: str
    title: str
    backbone: str
    layer: str
    model: str
    finetuned: bool = False
    softmax: bool = False
    bbox: bool = False
    train: tuple[str, ...] = ()
    random_as: str | None = None
    note: str = ""

    @property
    def stored_layer(self) -> str:
        """The layer of the feature cache, from which the row's own is computed."""
        return POOL5 if has_paper_layers(self.backbone) else self.layer


def rows_of(backbone: str) -> list[Row]:
    """Return the rows of a network, in the order of the table.

    AlexNet and VGG16 have those of the paper's tables 2 and 3; any other network has its last layer, as it is and
    fine-tuned, with and without bounding box regression. All but VGG16 have the ablations.
    """
    if backbone == "vgg16":
        tuned = _row(backbone, "fc7", finetuned=True)
        return [tuned, _with_bbox(tuned)]
    if backbone == "alexnet":
        of_layers = [_row(backbone, layer) for layer in PAPER_LAYERS]
        finetuned = [_row(backbone, layer, finetuned=True) for layer in PAPER_LAYERS]
        frozen, tuned = of_layers[-1], finetuned[-1]
        return [*of_layers, *finetuned, _with_bbox(tuned), _softmax(tuned), *_ablations(frozen)]
    last = "fc7" if has_paper_layers(backbone) else PENULTIMATE
    frozen, tuned = _row(backbone, last), _row(backbone, last, finetuned=True)
    return [frozen, _with_bbox(frozen), tuned, _with_bbox(tuned), _softmax(tuned), *_ablations(frozen)]


def choose_rows(backbones: list[str], ids: list[str] | None) -> tuple[list[Row], list[Row]]:
    """Return all rows of some networks, and those among them with the given ids; all where None.

    Raises:
        InputError: an id is unknown.
    """
    known = [row for backbone in backbones for row in rows_of(backbone)]
    names = [row.id for row in known]
    for wanted in ids or ():
        if wanted not in names:
            raise InputError(f"row {wanted!r} is unknown for {', '.join(backbones)}; expected {', '.join(names)}")
    return known, [row for row in known if ids is None or row.id in ids]


def _row(backbone: str, layer: str, *, finetuned: bool = False) -> Row:
    identifier = "-".join([backbone, *(["ft"] if finetuned else []), layer])
    title = " ".join([TITLES.get(backbone, backbone), *(["fine-tuned"] if finetuned else []), layer])
    return Row(identifier, title, backbone, layer, identifier, finetuned)


def _with_bbox(row: Row) -> Row:
    return replace(row, id=f"{row.id}-bb", title=f"{row.title} BB", bbox=True)


def _softmax(row: Row) -> Row:
    title = row.title.removesuffix(row.layer) + "softmax"
    identifier = f"{row.id.removesuffix(row.layer)}softmax"
    note = "appendix B: 3.3 points below SVMs, AlexNet" if row.backbone == "alexnet" else ""
    return replace(row, id=identifier, title=title, model=identifier, softmax=True, note=note)


def _ablations(base: Row) -> list[Row]:
    """Return the variations of the paper's text, each of one thing."""

    def vary(name: str, title: str, note: str, **changes) -> Row:
        identifier = f"{base.id}-{name}"
        return replace(base, id=identifier, title=f"{base.title}, {title}", model=identifier, note=note, **changes)

    compare = f"to compare with {base.title}"
    return [
        vary(
            *("neg-overlap-0", "negatives apart from every object"),
            f"{compare}, overlap below 0.3; section 2.3: an overlap threshold of 0 costs 4 points",
            train=("--neg-overlap", APART),
        ),
        vary(
            *("neg-overlap-0.5", "negatives of overlap below 0.5"),
            f"{compare}, overlap below 0.3; section 2.3: an overlap threshold of 0.5 costs 5 points",
            train=("--neg-overlap", "0.5"),
        ),
        vary(
            *("random-negatives", "random negatives"),
            f"{compare}, hard negatives: as many per class as its last training there had",
            random_as=base.id,
        ),
        vary(
            *("epochs-2", "two epochs"),
            f"{compare}, one epoch; section 2.3: mAP stops rising after a single pass",
            train=("--epochs", "2"),
        ),
    ]
