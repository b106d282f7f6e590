"""The table of docs/paper.md: every function it names exists, and every `Source:` note of the code is in it."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "rcnn_svm"
PAGE = ROOT / "docs" / "paper.md"

ROW = re.compile(r"^\| (?P<text>.+) \| \[(?P<shown>\S+)\]\(\.\./rcnn_svm/(?P<file>\S+)\) \| (?P<names>.+) \|$")


def rows() -> list[tuple[int, str, str]]:
    """Return (line number, file, name) of everything that the table names."""
    found = []
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), 1):
        if row := ROW.match(line):
            assert row["shown"] == row["file"], f"{PAGE.name}:{number} shows {row['shown']} and links to {row['file']}"
            found += [(number, row["file"], name) for name in re.findall(r"`([^`]+)`", row["names"])]
    return found


def definitions(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and docstring of every class and function of a file, methods as Class.method."""

    def below(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                yield prefix + child.name, ast.get_docstring(child) or ""
            if isinstance(child, ast.ClassDef):
                yield from below(child, f"{prefix}{child.name}.")

    yield from below(ast.parse(path.read_text(encoding="utf-8")), "")


def everywhere(name: str) -> list[str]:
    """Return the files that define a name, or one with the same last part."""
    last = name.rpartition(".")[2]
    return [
        f"{path.relative_to(PACKAGE)}: {defined}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for defined, _ in definitions(path)
        if defined.rpartition(".")[2] == last
    ]


def exists(file: str, name: str) -> bool:
    if not (PACKAGE / file).is_file():
        return False
    found = importlib.import_module("rcnn_svm." + file.removesuffix(".py").replace("/", "."))
    for part in name.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def test_the_table_has_many_rows():
    assert len({number for number, _, _ in rows()}) >= 60


def test_what_the_table_names_exists():
    missing = [
        f"line {number} names `{name}` in rcnn_svm/{file}, found now: {', '.join(everywhere(name)) or 'nowhere'}"
        for number, file, name in rows()
        if not exists(file, name)
    ]
    assert not missing, "docs/paper.md: write the new file or name into the row\n" + "\n".join(missing)


def test_every_source_note_has_its_row():
    named = {(file, name) for _, file, name in rows()}
    without = [
        f"`{name}` in rcnn_svm/{path.relative_to(PACKAGE)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, docstring in definitions(path)
        if "Source:" in docstring and (str(path.relative_to(PACKAGE)), name) not in named
    ]
    assert not without, "docs/paper.md: add a row for each of these, which have a Source note\n" + "\n".join(without)
