"""Which settings of two artefacts differ, and what each of them decides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rcnn_svm.artefacts.identity import differences
from rcnn_svm.reports.difference.result import Setting, Step, differs, same
from rcnn_svm.reports.settings_in_words import pair_in_words
from rcnn_svm.words import counted

# What follows from other settings and from the data: digests of what goes in, and numbers read off a training.
_CONSEQUENCES = re.compile(
    r"(^|\.)(images|cache|validate|detections|num_\w+|digest|examples|held_out|image_set|database)(\.|\[|$)"
)
# The digest of what a stage read, where the setting's name also is that of a group of settings.
_DIGEST = re.compile("[0-9a-f]{16}")


def differing_settings(
    a: Mapping[str, Any], b: Mapping[str, Any], *, decides: Sequence[tuple[str, str]]
) -> tuple[Setting, ...]:
    """Return the settings that differ and what each decides.

    Args:
        a, b: the settings of two artefacts, JSON-able.
        decides: patterns of dotted names, each with the step that such a setting decides; the first that fits counts.
            What none fits is left out.
    """
    found = []
    for path, of_a, of_b in _settings(a, b):
        step = next((step for pattern, step in decides if re.search(pattern, path)), None)
        if step is not None:
            found.append(Setting(path, of_a, of_b, step))
    return tuple(found)


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for path, of_a, of_b in differences(dict(a), dict(b)):
        inputs = any(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (of_a, of_b))
        if not (_CONSEQUENCES.search(path) or (inputs and path in ("features", "proposals"))):
            yield path, of_a, of_b


def settings_step(a: Mapping[str, Any], b: Mapping[str, Any]) -> Step:
    """Return the comparison of all that two artefacts record of how they were made, digests included."""
    found = list(differences(dict(a), dict(b)))
    if not found:
        return same("settings")
    path, of_a, of_b = found[0]
    said = f"{counted(len(found), 'entry', 'entries')}, the first is {path} {pair_in_words(of_a, of_b)}"
    return differs("settings", said, number=len(found))


def versions(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the versions that differ of what wrote two artefacts.

    Args:
        a, b: their provenance.
    """
    names = {"rcnn_svm": "rcnn-svm", "python": "Python", "numpy": "numpy"}
    return {named: (str(a.get(name)), str(b.get(name))) for name, named in names.items() if a.get(name) != b.get(name)}
