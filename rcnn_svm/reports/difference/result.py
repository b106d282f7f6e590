"""Where two artefacts differ, step by step in the order of the pipeline: for a terminal, and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rcnn_svm.reports.inspection.result import facts_text
from rcnn_svm.reports.settings_in_words import name_in_words, pair_in_words
from rcnn_svm.reports.table import json_text
from rcnn_svm.words import counted, shortened

# Settings that are named below the first difference.
_NAMED = 6
# Letters of the longest name of a step that is shown whole, and of the end of a longer one.
_LONGEST = 33, 9


@dataclass(frozen=True)
class Step:
    """One thing that two artefacts have in common or not.

    Attributes:
        name: what was compared, such as "features".
        equal: whether it is the same to the last bit; None where it cannot be compared.
        says: what is the same, or how it differs: counts, sizes, the first example.
        figures: the same as numbers, JSON-able.
    """

    name: str
    equal: bool | None
    says: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """A setting that differs.

    Attributes:
        path: its dotted name.
        a, b: its value in both, JSON-able; None where there is none.
        step: the step that it decides, and through it those that follow.
    """

    path: str
    a: Any
    b: Any
    step: str

    def __str__(self) -> str:
        name = name_in_words(self.path)
        named = "" if name == self.path.rpartition(".")[2] else f" ({self.path})"
        return f"{name}{named}: {pair_in_words(self.a, self.b)}"


@dataclass(frozen=True)
class Comparison:
    """Where two artefacts of one kind differ.

    Attributes:
        kind: what they are.
        a, b: where they are.
        steps: what was compared, in the order of the pipeline.
        settings: the settings that differ.
        versions: versions that differ of what wrote them, by name, both values.
        parts: of two folders, the comparisons of their artefacts by the names of the steps that they are.
    """

    kind: str
    a: Path
    b: Path
    steps: tuple[Step, ...]
    settings: tuple[Setting, ...] = ()
    versions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    parts: Mapping[str, Comparison] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether all that was compared is the same."""
        return self.first is None

    @property
    def first(self) -> Step | None:
        """The first step that differs; None where none does."""
        return next((step for step in self.steps if step.equal is False), None)

    @property
    def explains(self) -> tuple[Setting, ...]:
        """The settings that decide the first difference: those of its step, or else of the steps before it."""
        if self.first is None:
            return ()
        if self.parts:
            return self._first_part.explains if self._first_part else ()
        names = [step.name for step in self.steps]
        place = names.index(self.first.name)
        of_step = tuple(setting for setting in self.settings if setting.step == self.first.name)
        return of_step or tuple(setting for setting in self.settings if setting.step in names[:place])

    def text(self) -> str:
        """Return it for a terminal."""
        lines = [facts_text({"A": f"{self.a} ({self.kind})", "B": str(self.b)}), ""]
        of_part = self._first_part.first if self._first_part else None
        if self.first is None:
            lines.append("equal: all that was compared is the same")
        elif of_part is not None:
            lines.append(f"first difference: {of_part.name} of {self.first.name}")
        else:
            lines += [f"first difference: {self.first.name}", *self._explanation()]
        names = [shortened(step.name, *_LONGEST) for step in self.steps]
        verdicts = dict(zip(names, map(_verdict, self.steps), strict=True))
        parts = ["", self._first_part.text()] if self._first_part else []
        return "\n".join([*lines, "", facts_text(verdicts), *self._others(), *parts])

    @property
    def _first_part(self) -> Comparison | None:
        """Of two folders, the comparison of the artefacts that differ first; None where it is not one of theirs."""
        return None if self.first is None else self.parts.get(self.first.name)

    def _explanation(self) -> list[str]:
        if self.explains:
            listed = list(map(str, self.explains[:_NAMED]))
            if len(self.explains) > _NAMED:
                listed.append(f"and {len(self.explains) - _NAMED} more settings")
            return [facts_text({"explained by": listed})]
        if self.versions:
            said = ", ".join(f"{name} {a} in A, {b} in B" for name, (a, b) in self.versions.items())
            return [f"no setting explains it; written by other versions: {said}"]
        return ["no setting explains it: what went in differs, or how it was computed"]

    def _others(self) -> list[str]:
        others = [setting for setting in self.settings if setting not in self.explains]
        if not others:
            return []
        more = [f"and {len(others) - _NAMED} more"] if len(others) > _NAMED else []
        return ["", facts_text({"other settings": [*map(str, others[:_NAMED]), *more]})]

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "kind": self.kind,
            "a": str(self.a),
            "b": str(self.b),
            "equal": self.equal,
            "first_difference": None if self.first is None else self.first.name,
            "explained_by": [setting.path for setting in self.explains],
            "steps": [
                {"name": step.name, "equal": step.equal, "says": step.says, **step.figures} for step in self.steps
            ],
            "settings": [{"path": s.path, "a": s.a, "b": s.b, "decides": s.step} for s in self.settings],
            "versions": {name: list(pair) for name, pair in self.versions.items()},
            **({"parts": {name: part.to_json() for name, part in self.parts.items()}} if self.parts else {}),
        }

    def json(self) -> str:
        """Return it as JSON; null where there is no value, or an infinite one."""
        return json_text(_finite(self.to_json()))


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _verdict(step: Step) -> str:
    verdict = {True: "equal", False: "DIFFERENT", None: "not compared"}[step.equal]
    return f"{verdict}: {step.says}" if step.says else verdict


def same(name: str, says: str = "", **figures: Any) -> Step:
    """Return a step that is equal."""
    return Step(name, True, says, figures)


def differs(name: str, says: str, **figures: Any) -> Step:
    """Return a step that differs."""
    return Step(name, False, says, figures)


def unknown(name: str, says: str) -> Step:
    """Return a step that cannot be compared."""
    return Step(name, None, says)


def sequence_step(name: str, a: Sequence[str], b: Sequence[str], *, noun: str, plural: str | None = None) -> Step:
    """Return the comparison of two lists of names, such as image ids or classes.

    Args:
        name: name of the step.
        a, b: the names; what a person edits may have some twice.
        noun, plural: what a name is of.
    """
    if list(a) == list(b):
        return same(name, counted(len(a), noun, plural), common=len(a))
    in_a, in_b = set(a), set(b)
    only_a, only_b = [x for x in a if x not in in_b], [x for x in b if x not in in_a]
    figures = {"common": len(in_a & in_b), "only_a": only_a, "only_b": only_b}
    if not (only_a or only_b):
        again = (Counter(a) - Counter(b)) + (Counter(b) - Counter(a))
        if again:
            both, lists = counted(len(in_a), noun, plural), f"{len(a):,} names in A, {len(b):,} in B"
            says = f"the same {both}, but some several times: {lists} (the first is {next(iter(again))})"
            return differs(name, says, **figures)
        place = next(number for number, pair in enumerate(zip(a, b, strict=True)) if pair[0] != pair[1])
        return differs(
            name,
            f"the same {counted(len(a), noun, plural)} in another order; the first that differs is number {place}, "
            f"{a[place]} in A and {b[place]} in B",
            **figures,
        )
    return differs(name, f"{_only(only_a, 'A')}, {_only(only_b, 'B')}, {len(in_a & in_b):,} in both", **figures)


def _only(names: Sequence[str], where: str) -> str:
    return f"{len(names):,} only in {where}" + (f" (the first is {names[0]})" if names else "")
