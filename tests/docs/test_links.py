"""What README, docs and the other pages point at is there: files, headings, modules and names."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), ROOT / "cache/README.md")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, or in one."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for depth, part in enumerate(parts[1:], 2):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(".".join(parts[:depth]))
            except ModuleNotFoundError:
                return False
    return True


def test_links_lead_somewhere():
    broken = []
    for page in PAGES:
        for file, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
            target = page.parent / file if file else page
            if "://" not in file and not (target.exists() and (not anchor or anchor in anchors(target))):
                broken.append(f"{page.relative_to(ROOT)}: {file}#{anchor}")
    assert not broken


def test_names_of_the_package_exist():
    # The changelog names what is gone, too; a test of its own reads it.
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]
    names = {(page, name) for page in pages for name in re.findall(r"rcnn_svm(?:\.\w+)+", page.read_text("utf-8"))}
    assert len(names) > 5
    assert [f"{page.relative_to(ROOT)}: {name}" for page, name in sorted(names) if not exists(name)] == []
