"""The tables of CHANGELOG.md that say what an old name is now: every new name is there, no old one is."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "rcnn_svm"
PAGE = ROOT / "CHANGELOG.md"


def rows(title: str) -> list[tuple[list[str], list[str]]]:
    """Return the names in the two columns of the tables below a heading of the unreleased changes."""
    unreleased = PAGE.read_text(encoding="utf-8").split("\n## ")[1]
    (section,) = [part for part in unreleased.split("\n### ") if part.startswith(title + "\n")]
    cells = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    return [tuple(re.findall(r"`([^`(]+)[^`]*`", cell) for cell in row) for row in cells if "`" in row[0]]


def exists(name: str) -> bool:
    """Return whether a dotted name below `rcnn_svm` names a module or what a module defines."""
    parts = name.split(".")
    found = importlib.import_module("rcnn_svm")
    for depth, part in enumerate(parts, 1):
        module = PACKAGE.joinpath(*parts[:depth])
        if module.with_suffix(".py").is_file() or (module / "__init__.py").is_file():
            found = importlib.import_module(".".join(["rcnn_svm", *parts[:depth]]))
        else:
            holder, found = found, getattr(found, part, None)
            imported = inspect.ismodule(holder) and getattr(found, "__module__", holder.__name__) != holder.__name__
            if found is None or imported:
                return False
    return True


def wrong(title: str, below: str = "") -> list[str]:
    """Return the new names that do not exist, and the old ones that do."""
    pairs = rows(title)
    assert len(pairs) > 10
    missing = [name for _, after in pairs for name in after if not exists(below + name)]
    return missing + [name for before, _ in pairs for name in before if exists(name)]


def test_modules_and_names_are_those_of_the_code():
    assert wrong("Modules") == []
    assert wrong("Names") == []
    assert wrong("Constants", "paper.") == []


def test_scripts_are_those_that_there_are():
    names = [(name, not new) for row in rows("Commands and scripts") for new, names in enumerate(row) for name in names]
    scripts = [(name, old) for name, old in names if name.startswith("scripts/")]
    assert len(scripts) >= 8
    assert [name for name, old in scripts if (ROOT / name).is_file() == old] == []


def test_no_old_name_is_there_twice():
    old = [name for title in ("Modules", "Names", "Constants") for before, _ in rows(title) for name in before]
    assert [name for name in sorted(set(old)) if old.count(name) > 1] == []
