"""What `label_findings` found, for a terminal; and a sheet of labelled images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.findings import LabelFindings
from rcnn_svm.reports.pictures import contact_sheet, draw_objects, evenly_spaced
from rcnn_svm.reports.table import WIDTH, Table, percent
from rcnn_svm.words import counted, shortened

SHOWN = 5  # places of a finding
SHEET_IMAGES = 48
_COLUMNS = 6
_CAPTION_LETTERS = 48


def findings_text(found: LabelFindings, recall: Sequence[tuple[int, int]] | None = None) -> str:
    """Return counts and findings on a screen of 80 columns.

    Args:
        found: what was found.
        recall: objects that count and those of them that no proposal finds, of every class; None without proposals.
    """
    lines = [f"{name}: {_images(counts.images, counts.without_objects)}" for name, counts in found.sides.items()]
    lines += ["", _counts_table(found, recall).text()]
    for finding in found.findings:
        lines += ["", str(finding)]
        lines += [f"    {shortened(place, WIDTH - 4)}" for place in finding.places[:SHOWN]]
        if len(finding.places) > SHOWN:
            lines.append(f"    and {len(finding.places) - SHOWN:,} more")
    if not found.findings:
        lines += ["", "nothing odd: no names alike, no object labelled twice, no identical images"]
    return "\n".join(lines)


def findings_line(found: LabelFindings) -> str:
    """Return how many findings of every kind there are, in a sentence."""
    return ", ".join(map(str, found.findings)) or "nothing odd"


def _images(images: int, without_objects: int) -> str:
    return counted(images, "image") + (f", {without_objects:,} of them without objects" if without_objects else "")


def _counts_table(found: LabelFindings, recall: Sequence[tuple[int, int]] | None) -> Table:
    several = len(found.sides) > 1
    header = ["class"]
    for name in found.sides:
        header += [f"{name} objects", f"{name} images"] if several else ["objects", "images"]
    rows = []
    for k, cls in enumerate(found.classes):
        cells = [f"{number[k]:,}" for counts in found.sides.values() for number in (counts.objects, counts.images_with)]
        rows.append([shortened(cls, 24), *cells, *(_missed(*recall[k]) if recall else ())])
    totals = [(sum(counts.objects), counts.images - counts.without_objects) for counts in found.sides.values()]
    footer = ["all", *(f"{number:,}" for pair in totals for number in pair)]
    notes: list[str] = []
    if recall:
        header += ["missed by proposals", "percent"]
        footer += _missed(*map(sum, zip(*recall, strict=True)))
        notes = ["Missed: no proposal overlaps it by 0.5 or more. Difficult objects do not count here."]
    return Table(header, rows, footer, notes=notes)


def _missed(objects: int, missed: int) -> tuple[str, str]:
    return f"{missed:,}", percent(missed / objects if objects else None)


def labels_sheet(databases: Sequence[ImageDatabase], *, count: int = SHEET_IMAGES) -> Image.Image:
    """Return images with their labelled objects: one of every class, the rarest first, others evenly spaced.

    Not a figure as other sheets are: with so many images matplotlib takes ten times as long.

    Args:
        databases: image sets of the same classes.
        count: images to show, at most.

    Raises:
        InputError: an image cannot be read.
    """
    places = [(database, index) for database in databases for index in range(len(database))]
    shown = _with_every_class([database.annotation(index).classes for database, index in places], count)
    pictures, captions = [], []
    for database, index in (places[k] for k in shown):
        pictures.append(draw_objects(database.load_image(index), database.annotation(index), database.classes))
        captions.append(shortened(database.image_ids[index], _CAPTION_LETTERS))
    return contact_sheet(pictures, captions, f"labels of {len(shown)} of {len(places)} images", columns=_COLUMNS)


def _with_every_class(classes: Sequence[np.ndarray], count: int) -> list[int]:
    """Return images that show every class between them, the rarest first, and others evenly spaced, sorted.

    Args:
        classes: of the objects of every image.
        count: how many images.
    """
    showing: dict[int, list[int]] = {}
    for image, found in enumerate(classes):
        for cls in np.unique(found).tolist():
            showing.setdefault(cls, []).append(image)
    chosen: dict[int, None] = {}
    for images in sorted(showing.values(), key=len):
        if len(chosen) < count and not chosen.keys() & set(images):
            chosen[images[len(images) // 2]] = None
    left = [image for image in range(len(classes)) if image not in chosen]
    return sorted([*chosen, *(left[k] for k in evenly_spaced(count - len(chosen), len(left)))])
