"""The page as text: template, style and script of this folder in one file, and what it says it was made from."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from rcnn_svm import __version__
from rcnn_svm.artefacts.files import reading

# The name of the page in its folder.
PAGE = "report.html"
# Where a page has the settings and the provenance of what it shows.
MADE_FROM = re.compile(r'<script type="application/json" id="made-from">(.*?)</script>', re.S)


def render_page(**content: Any) -> str:
    """Return the page. Every text is escaped, and no script runs but that of this folder.

    Args:
        content: what the template names. `data` and `made_from` are JSON-able.
    """
    script = _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _template().render(
        version=__version__,
        style=Markup(_text("page.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        **content,
    )


def read_made_from(path: Path) -> dict[str, Any]:
    """Return `settings`, `fingerprint` and `provenance` of a page.

    Raises:
        InputError: the file cannot be read or is no page of ours.
    """
    with reading(path):
        found = MADE_FROM.search(path.read_text(encoding="utf-8"))
        if found is None:
            raise ValueError("it is no page of ours")
        return json.loads(found[1])


def score_text(score: float) -> str:
    """Return a score as the page's script writes it too."""
    return f"{round(score, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")  # a rounded -0.001 is 0


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_text("page.html"))


def _text(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
