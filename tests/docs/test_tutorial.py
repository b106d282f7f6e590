"""The tutorial: its notebook is the page, and its code runs, on fewer images than there."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests.small_networks import one_thread

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, NOTEBOOK = DOCS / "tutorial.md", DOCS / "tutorial.ipynb"


def _cells(path: Path) -> list[tuple[str, str]]:
    jupytext = pytest.importorskip("jupytext", reason="jupytext, of the extra dev, reads the page as a notebook")
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def test_the_notebook_is_the_page():
    assert _cells(NOTEBOOK) == _cells(PAGE), "run: jupytext --to ipynb docs/tutorial.md"


FEWER = {
    "num_train=24": "num_train=8",
    "num_test=12": "num_test=3",
    '"fast", "max_boxes": 200': '"sliding", "max_boxes": 100',
}


def test_the_notebook_runs_and_shows_what_it_says(tmp_path, capsys):
    names: dict = {"__name__": "__main__"}
    with contextlib.chdir(tmp_path), one_thread():
        for number, (kind, source) in enumerate(_cells(NOTEBOOK)):
            if kind == "code":
                for there, here in FEWER.items():
                    source = source.replace(there, here)
                exec(compile(source, f"cell {number}", "exec"), names)
    assert re.findall(r"^(random|hard) negatives: [0-9.]+%$", capsys.readouterr().out, re.M) == ["random", "hard"]
    added, evicted, passes = (names[name] for name in ("added", "evicted", "passes"))
    assert len(added) - len(evicted) == len(names["miner"].negatives_) > 0
    assert (names["ball"][:, 5] < names["ball"][:, 4]).all()
    assert (passes == 1).sum() < 0.1 * (passes == 0).sum()
