"""What the folder of a run holds: its artefacts in one table."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path

from rcnn_svm.reports.inspection.result import Inspection, Section
from rcnn_svm.reports.run_folder import DAMAGED, REPORT, Artefact, find_artefacts, find_lists
from rcnn_svm.reports.table import WIDTH, Table
from rcnn_svm.words import counted, shortened, size_in_words

HEADER = ("artefact", "MB", "holds")
_NAME = 33, 9  # letters of the longest name that is shown whole, and of the end of a longer one
_SHORT = {"feature cache": "cache"}


def inspect_folder(folder: Path) -> Inspection:
    """Return what a folder of artefacts holds, in the order of the pipeline.

    Raises:
        InputError: there are none.
    """
    artefacts = find_artefacts(folder)
    size = sum(artefact.num_bytes for artefact in artefacts)
    facts = {"holds": f"{counted(len(artefacts), 'artefact')}, {size_in_words(size)}"}
    lists = {name: len(image_ids) for name, image_ids in find_lists(folder).items()}
    if lists:
        facts["images"] = ", ".join(f"{count:,} in {name}" for name, count in lists.items())
    times = [artefact.time for artefact in artefacts if artefact.time]
    if times:
        facts["made"] = " to ".join(sorted({min(times)[:16], max(times)[:16]})).replace("T", " ") + " UTC"
    results = [artefact for artefact in artefacts if artefact.kind == REPORT]
    if results:
        facts["result"] = "; ".join(f"{artefact.holds} ({artefact.name})" for artefact in results)
    damaged = [artefact for artefact in artefacts if artefact.kind == DAMAGED]
    if damaged:
        facts[DAMAGED] = f"{len(damaged)}; the first: {damaged[0].holds}"
    rows = [[shortened(a.name, *_NAME), f"{a.num_bytes / 1e6:,.2f}", _in_a_row(a)] for a in artefacts]
    left = WIDTH - sum(max(len(row[column]) for row in [*rows, HEADER]) + 2 for column in (0, 1))
    rows = [[*row[:2], textwrap.shorten(row[2], left, placeholder=" ...")] for row in rows]
    table = Table(HEADER, rows, left=(0, 2))
    records = [{**asdict(artefact), "path": str(artefact.path)} for artefact in artefacts]
    record = {"bytes": size, "images": lists, "artefacts": records}
    return Inspection("folder", folder, facts, record, (Section("artefacts", table),))


def _in_a_row(artefact: Artefact) -> str:
    if artefact.kind == DAMAGED:  # the first sentence of such stands above
        return DAMAGED
    return f"{_SHORT.get(artefact.kind, artefact.kind)}: {artefact.holds}"
