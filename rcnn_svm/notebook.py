"""Tables of HTML, which notebooks show for an object that has `_repr_html_`, and lines that fit in their cells."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

ROWS = 40  # of a table that are shown
WIDTH, HEIGHT = 90, 20  # of a line in a cell, pixels
_LEFT = ' style="text-align: left"'


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], noun: str = "rows") -> str:
    """Return a table of HTML; all text in it is escaped, what is `Markup` is taken as it is.

    Args:
        title: stands above the table.
        header: titles of the columns: of a first one of words, and of numbers. None where rows are a name and words.
        rows: cells, as many per row as titles.
        noun: what the rows are; the table says how many more there are than it shows.
    """
    left = 1 if header else 2
    lines = [f"<caption{_LEFT}>{_text(title)}</caption>"]
    if header:
        lines.append(f"<thead>{_row('th', header, left)}</thead>")
    lines.append(f"<tbody>{''.join(_row('td', row, left) for row in rows[:ROWS])}</tbody>")
    more = f"<p>and {len(rows) - ROWS:,} more {_text(noun)}</p>" if len(rows) > ROWS else ""
    return f"<table>{''.join(lines)}</table>{more}"


def sparkline(values: Sequence[float], title: str) -> Markup:
    """Return the course of numbers as a small line in the colour of the text; zero is at the bottom.

    Args:
        values: finite and not negative, in their order.
        title: says what they are, to a screen reader and where the pointer rests.
    """
    step, top = WIDTH / max(len(values) - 1, 1), max(values, default=0) or 1
    points = " ".join(f"{step * place:.1f},{HEIGHT - HEIGHT * value / top:.1f}" for place, value in enumerate(values))
    return Markup(
        '<svg width="{}" height="{}" viewBox="-2 -2 {} {}" role="img" aria-label="{title}"><title>{title}</title>'
        '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    ).format(WIDTH, HEIGHT, WIDTH + 4, HEIGHT + 4, points, title=title)


def _row(kind: str, cells: Sequence[object], left: int) -> str:
    """Return a row whose first `left` cells are flush left; notebooks have cells flush right."""
    styles = [_LEFT if column < left else "" for column in range(len(cells))]
    inside = (f"<{kind}{style}>{_text(cell)}</{kind}>" for style, cell in zip(styles, cells, strict=True))
    return f"<tr>{''.join(inside)}</tr>"


def _text(value: object) -> Markup:
    return escape(value)
