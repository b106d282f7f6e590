"""What was found in an artefact: on a screen of 80 columns, and all of it as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rcnn_svm.artefacts.header import Header
from rcnn_svm.reports.table import WIDTH, Table, json_text
from rcnn_svm.words import size_in_words

TOP = 20  # rows of a table
_COMMAND = 110  # letters of a command, which fit two lines


@dataclass(frozen=True)
class Section:
    """A table of what was found.

    Attributes:
        noun: what its rows are, such as "classes".
        table: the table.
        title: what stands above it; nothing where empty.
    """

    noun: str
    table: Table
    title: str = ""


@dataclass(frozen=True)
class Inspection:
    """What an artefact holds.

    Attributes:
        kind: what it is, such as `detector`.
        path: where it is.
        facts: what is said of it, a line or a few each, by what they are of.
        record: all that was found, JSON-able.
        sections: what is said row by row.
    """

    kind: str
    path: Path
    facts: Mapping[str, str]
    record: Mapping[str, Any]
    sections: tuple[Section, ...] = ()

    def text(self, top: int = TOP) -> str:
        """Return it for a terminal; a table ends after `top` rows with how many more there are."""
        parts = [facts_text({self.kind: str(self.path), **self.facts})]
        for section in self.sections:
            title = [section.title] if section.title else []
            parts.append("\n".join([*title, section.table.top(top, section.noun).text()]))
        return "\n\n".join(parts)

    def adding(self, section: Section, **record: Any) -> Inspection:
        """Return it with another section, and what that says in `record`."""
        return replace(self, sections=(*self.sections, section), record={**self.record, **record})

    def to_json(self) -> dict[str, Any]:
        """Return all that was found as a JSON object."""
        return {"kind": self.kind, "path": str(self.path), **self.record}

    def json(self) -> str:
        """Return all that was found as JSON; null where there is no value."""
        return json_text(self.to_json())


def facts_text(facts: Mapping[str, str | Sequence[str]]) -> str:
    """Return facts for a terminal, a name before each; one that is too long, or of several, goes on below itself."""
    indent = min(max(map(len, facts)), WIDTH // 2) + 2
    lines = []
    # Paths and digests stay whole, so that they can be copied.
    wrapper = textwrap.TextWrapper(WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    for name, fact in facts.items():
        several = [fact] if isinstance(fact, str) else fact
        filled = [line for one in several for line in wrapper.wrap(one)] or ["-"]
        lines += [f"{name if not number else '':<{indent}}{line}" for number, line in enumerate(filled)]
    return "\n".join(lines)


def made_by(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts of what wrote an artefact."""
    time = str(provenance["time"]).replace("T", " ").replace("+00:00", " UTC")
    return {
        "made by": f"rcnn-svm {provenance['rcnn_svm']} at {time}",
        "command": textwrap.shorten(_command(str(provenance["command"])), _COMMAND, placeholder=" ..."),
    }


def _command(line: str) -> str:
    """Return a command line with the name of its program instead of the place of its file."""
    program, _, words = line.partition(" ")
    name = Path(program).name
    return f"{'rcnn-svm' if name == '__main__.py' else name} {words}"


def header_record(header: Header) -> dict[str, Any]:
    """Return what every HDF5 artefact says of itself, JSON-able."""
    return {
        "schema": header.schema,
        "bytes": header.num_bytes,
        "fingerprint": header.fingerprint,
        "made_by": header.provenance,
        "arrays": {name: {"shape": list(shape), "type": dtype} for name, (shape, dtype) in header.arrays.items()},
        "parts": header.parts,
        "settings": header.settings,
    }


def header_facts(header: Header) -> dict[str, str]:
    """Return what is said of every HDF5 artefact."""
    return {
        **made_by(header.provenance),
        "size": f"{size_in_words(header.num_bytes)}, fingerprint {header.fingerprint}",
    }


def arrays_in_words(header: Header, left_out: Sequence[str] = ("history/", "parts/")) -> str:
    """Return shapes and types of the arrays, but of those in some groups."""
    shown = {name: found for name, found in header.arrays.items() if not name.startswith(tuple(left_out))}
    return ", ".join(f"{name} {' x '.join(map(str, shape)) or 'a'} {dtype}" for name, (shape, dtype) in shown.items())
