"""The one table of all reports, as fixed-width text and in Markdown; and figures in full, as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Cells of text under a header, the first column flush left, the others flush right.

    Attributes:
        header: column titles.
        rows: cells, as many per row as titles.
        footer: a last row, set apart by a line in text; none where empty.
        notes: sentences on what the figures mean, which follow the table.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    footer: Sequence[str] = ()
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Return the table for a terminal."""
        everything = self._everything()
        widths = [max(len(row[column]) for row in everything) for column in range(len(self.header))]
        first, *lines = [_line(cells, widths) for cells in everything]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        if self.footer:
            lines.insert(-1, rule)
        return "\n".join([first, rule, *lines, *([""] if self.notes else []), *self.notes])

    def markdown(self) -> str:
        """Return the table in Markdown, the notes as a list."""
        header, *rows = self._everything()
        table = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
        lines = [f"| {' | '.join(map(_markdown_cell, cells))} |" for cells in table]
        return "\n".join([*lines, *([""] if self.notes else []), *(f"- {_no_tags(note)}" for note in self.notes)])

    def _everything(self) -> list[Sequence[str]]:
        return [self.header, *self.rows, *([self.footer] if self.footer else [])]


def _no_tags(text: str) -> str:
    """Return text in which nothing begins a tag of HTML, which Markdown would pass on to a browser."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _markdown_cell(text: str) -> str:
    return _no_tags(text).replace("|", r"\|")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()


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
    content = {"image_set": image_set, "images": num_images, **figures, "classes": records, "made_from": made_from}
    return json_text(content)


def _strict(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _strict(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_strict(value) for value in content]
    return None if _missing(content) else content


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
