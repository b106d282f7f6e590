"""One small artefact of every kind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.artefact_kinds import write_artefacts, write_results


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> SimpleNamespace:
    """A folder laid out as that of a run, and its artefacts by kind; not to be changed."""
    folder: Path = tmp_path_factory.mktemp("artefacts") / "run"
    by_kind = write_artefacts(folder)
    write_results(folder / "report/results.json")
    (folder / "train_ids.txt").write_text("# image set toy\n1\n2\n")
    return SimpleNamespace(path=folder, by_kind=by_kind)
