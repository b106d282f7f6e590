"""Where two runs differ first: their artefacts compared pair by pair, in the order of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rcnn_svm.errors import InputError
from rcnn_svm.reports.difference.result import Comparison, Step, differs, same, sequence_step
from rcnn_svm.reports.run_folder import DAMAGED, Artefact, find_artefacts, find_lists, pipeline_order


def compare_folders(a: Path, b: Path, compare: Callable[[Path, Path], Comparison]) -> Comparison:
    """Return where two folders of artefacts differ.

    Artefacts of the same name belong together; of those that are left, the only one of a stage and image set in both,
    as names tell methods and networks, which may differ.

    Args:
        a, b: the folders.
        compare: compares two artefacts of one kind.

    Raises:
        InputError: a folder has none.
    """
    steps, parts = _lists(a, b), {}
    for of_a, of_b in _pairs(find_artefacts(a), find_artefacts(b)):
        if of_a is None or of_b is None:
            for where, there in (("A", of_a), ("B", of_b)):
                if there is not None:
                    steps.append(differs(there.name, f"only in {where}: {there.kind}, {there.holds}"))
            continue
        step, part = _compare(of_a, of_b, compare)
        steps.append(step)
        if part is not None:
            parts[step.name] = part
    return Comparison("folder", a, b, tuple(steps), parts=parts)


def _lists(a: Path, b: Path) -> list[Step]:
    """Return the comparison of the lists of images that both folders have."""
    lists = find_lists(a), find_lists(b)
    return [
        sequence_step(name, ids, lists[1][name], noun="image") for name, ids in lists[0].items() if name in lists[1]
    ]


def _pairs(a: list[Artefact], b: list[Artefact]) -> Iterator[tuple[Artefact | None, Artefact | None]]:
    """Yield what belongs together, in the order of the pipeline; None for what only one of them has."""
    of_b = {artefact.name: artefact for artefact in b}
    partner = {artefact.name: of_b[artefact.name] for artefact in a if artefact.name in of_b}
    left_a = [artefact for artefact in a if artefact.name not in partner]
    left_b = [artefact for artefact in b if artefact not in partner.values()]
    for artefact in left_a:
        alike = [other for other in left_b if _stage(other) == _stage(artefact)]
        if len(alike) == 1 and sum(_stage(other) == _stage(artefact) for other in left_a) == 1:
            partner[artefact.name] = alike[0]
    alone = [artefact for artefact in b if artefact not in partner.values()]
    for artefact in sorted([*a, *alone], key=pipeline_order):
        yield (None, artefact) if artefact in alone else (artefact, partner.get(artefact.name))


def _stage(artefact: Artefact) -> tuple[str, str]:
    return artefact.stage, artefact.image_set


def _compare(a: Artefact, b: Artefact, compare: Callable[[Path, Path], Comparison]) -> tuple[Step, Comparison | None]:
    """Return what is said of two artefacts of the same place, and their comparison where there is one."""
    damaged = next((artefact for artefact in (a, b) if artefact.kind == DAMAGED), None)
    if damaged is not None:
        return differs(a.name, damaged.holds), None
    if a.kind != b.kind:
        return differs(a.name, f"{a.kind} in A, {b.kind} in B"), None
    try:
        part = compare(a.path, b.path)
    except InputError as error:  # a shard is missing, say
        return differs(a.name, str(error)), None
    named = "" if a.name == b.name else f" ({b.name} in B)"
    first = part.first
    if first is None:
        return same(a.name, f"{a.kind}{named}"), part
    return differs(a.name, f"{a.kind}{named}, in its {first.name}"), part
