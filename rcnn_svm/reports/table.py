"""The one table of all reports, as fixed-width text and in Markdown; and figures in full, as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

WIDTH = 80  # columns of a terminal
EVALUATION, SCHEMA = "evaluation", 1  # what the JSON of an evaluation calls itself, and the version of its layout


@dataclass(frozen=True)
class Table:
    """Cells of text under a header.

    Attributes:
        header: column titles.
        rows: cells, as many per row as titles.
        footer: a last row, set apart by a line in text; none where empty.
        notes: sentences on what the figures mean, which follow the table.
        left: the columns that are flush left, for words; the others are flush right, for numbers.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    footer: Sequence[str] = ()
    notes: Sequence[str] = ()
    left: Sequence[int] = (0,)

    def text(self, width: int = WIDTH) -> str:
        """Return the table for a terminal.

        Where it is wider than `width`, titles take several lines; where that is not enough, the columns stand in
        several blocks below each other, and the first column in each.
        """
        body = [*self.rows, *([self.footer] if self.footer else [])]
        widths = [max(map(len, cells), default=0) for cells in zip(*body, strict=True)] or [0] * len(self.header)
        titles = [[title] for title in self.header]
        if _line_width([max(pair) for pair in zip(widths, map(len, self.header), strict=True)]) > width:
            titles = [_broken(title, cells) for title, cells in zip(self.header, widths, strict=True)]
        widths = [max(cells, *map(len, lines)) for cells, lines in zip(widths, titles, strict=True)]
        height = max(map(len, titles))
        first = [*zip(*([""] * (height - len(lines)) + lines for lines in titles), strict=True)]
        blocks = [self._block(columns, widths, first, body) for columns in _columns_of_blocks(widths, width)]
        notes = [wrapped(note, width) for note in self.notes]
        return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else [])])

    def top(self, rows: int, noun: str) -> Table:
        """Return the table with the first so many rows; a note says how many more there are, counting `noun`."""
        left = len(self.rows) - rows
        if left <= 0:
            return self
        return replace(self, rows=self.rows[:rows], notes=(f"and {left:,} more {noun}", *self.notes))

    def markdown(self) -> str:
        """Return the table in Markdown, the notes as a list."""
        header, *rows = self._everything()
        table = [header, ["---" if column in self.left else "---:" for column in range(len(header))], *rows]
        lines = [f"| {' | '.join(map(_markdown_cell, cells))} |" for cells in table]
        return "\n".join([*lines, *([""] if self.notes else []), *(f"- {_no_tags(note)}" for note in self.notes)])

    def _block(
        self,
        columns: Sequence[int],
        widths: Sequence[int],
        titles: Sequence[Sequence[str]],
        body: Sequence[Sequence[str]],
    ) -> str:
        """Return some of the columns below their titles."""
        header = filter(None, (self._line(cells, columns, widths) for cells in titles))
        rule = "-" * _line_width([widths[column] for column in columns])
        lines = [self._line(cells, columns, widths) for cells in body]
        if self.footer:
            lines.insert(-1, rule)
        return "\n".join([*header, rule, *lines])

    def _line(self, cells: Sequence[str], columns: Sequence[int], widths: Sequence[int]) -> str:
        return "  ".join(
            cells[column].ljust(widths[column]) if column in self.left else cells[column].rjust(widths[column])
            for column in columns
        ).rstrip()

    def _everything(self) -> list[Sequence[str]]:
        return [self.header, *self.rows, *([self.footer] if self.footer else [])]


def wrapped(text: str, width: int = WIDTH) -> str:
    """Return a sentence in lines for a terminal; options and names stay in one piece."""
    return textwrap.fill(text, width, break_on_hyphens=False)


def _no_tags(text: str) -> str:
    """Return text in which nothing begins a tag of HTML, which Markdown would pass on to a browser."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _markdown_cell(text: str) -> str:
    return _no_tags(text).replace("|", r"\|")


def _line_width(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _columns_of_blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """Return the columns of every block of a table: as many as its width has room for, and the first in each."""
    blocks = [[0]]
    for column in range(1, len(widths)):
        block = [*blocks[-1], column]
        if len(block) > 2 and _line_width([widths[each] for each in block]) > width:
            blocks.append([0, column])
        else:
            blocks[-1] = block
    return blocks


def _broken(title: str, width: int) -> list[str]:
    """Return a title in lines as wide as the cells below it, or as its longest word."""
    longest = max(map(len, title.split()), default=0)
    return textwrap.wrap(title, max(width, longest, 1), break_on_hyphens=False) or [""]


def cell(value: float | None, spec: str = "") -> str:
    """Return a number as `format` writes it, or "-" where there is none: None or NaN."""
    return "-" if _missing(value) else format(value, spec)


def percent(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction in percent, or "-" where there is none."""
    return cell(None if fraction is None else 100 * fraction, f".{digits}f")


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV; a cell is empty where there is no value: None or NaN.

    Text that a spreadsheet would run as a formula, such as a class called `=1+1`, gets an apostrophe before it.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([_csv_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def _csv_cell(value: Any) -> Any:
    if _missing(value):
        return ""
    formula = isinstance(value, str) and len(value) > 1 and value[0] in "=+-@\t\r" and not _is_number(value)
    return f"'{value}" if formula else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def records_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records that have the same keys as CSV, a line each after that of the keys."""
    return csv_text([list(records[0]), *(list(record.values()) for record in records)])


def json_text(content: Any) -> str:
    """Return content as strict JSON; null where there is no value: None or NaN."""
    return json.dumps(_strict(content), indent=1, allow_nan=False) + "\n"


def suppression_note(nms_threshold: float | None, soft_nms_sigma: float | None) -> str:
    """Return how detections were suppressed before an evaluation, in words."""
    if soft_nms_sigma is not None:
        return f"soft-NMS with sigma {soft_nms_sigma:g}"
    return "boxes taken as they are" if nms_threshold is None else f"non-maximum suppression at IoU > {nms_threshold:g}"


def evaluation_json(
    image_set: str, num_images: int, figures: Mapping[str, Any], records: Sequence[Any], made_from: dict[str, Any]
) -> str:
    """Return an evaluation as JSON; null where there is no value.

    Args:
        image_set, num_images: what was evaluated on.
        figures: protocol and means.
        records: one per class.
        made_from: what was evaluated, JSON-able.
    """
    content = {
        "kind": EVALUATION,
        "schema": SCHEMA,
        "image_set": image_set,
        "images": num_images,
        **figures,
        "classes": records,
        "made_from": made_from,
    }
    return json_text(content)


def _strict(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _strict(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_strict(value) for value in content]
    return None if _missing(content) else content


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
