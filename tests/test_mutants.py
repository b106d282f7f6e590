"""Mutation testing changes one thing of a source at a time, and leaves alone what no test should have to notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.mutants import mutants_of

ROOT = Path(__file__).resolve().parents[1]


def changes(source: str) -> set[str]:
    return {mutant.applied(source.encode()).decode() for mutant in mutants_of(source.encode())}


def test_a_comparison_gets_its_boundary_moved_and_its_opposite():
    assert changes("a < b") == {"(a <= b)", "(a >= b)"}


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("x = a + b * c", {"x = (a - b * c)", "x = a + (b / c)"}),
        ("x += y", {"x -= y"}),
        ("x = not y", {"x = (y)"}),
        ("x = y and z", {"x = (y or z)"}),
        ("x = 3", {"x = (4)"}),
        ("x = True", {"x = (False)"}),
        ("x = y.argmin(axis)", {"x = (y.argmax(axis))"}),
        ("check(x)", {"pass"}),
        ("if x:\n    y = z", {"if (not x):\n    y = z"}),
    ],
)
def test_arithmetic_logic_numbers_reductions_calls_and_conditions_are_changed(source, changed):
    assert changes(source) == changed


@pytest.mark.parametrize(
    "source",
    [
        '"""Text of 3 words."""',
        'x = f"{a + b}"',
        "x: dict[str, int | None]",
        "def f(x: int | None) -> int | None:\n    return x",
        'raise ValueError(f"{x + 1} is not {3}", 4 < y)',
        "if TYPE_CHECKING:\n    x = 3",
        "zip(a, b, strict=True) if x else y",
        "@decorated(3)\ndef f():\n    return x",
    ],
)
def test_text_annotations_decorators_and_errors_are_left_alone(source):
    assert changes(source) == set()


def test_a_change_after_letters_of_several_bytes_is_at_its_place():
    assert changes("x = 'é'; y = a < b") == {"x = 'é'; y = (a <= b)", "x = 'é'; y = (a >= b)"}


def test_changes_in_compiled_functions_are_told_apart():
    source = b"@compiled(fastmath=True)\ndef f(a):\n    return a + b\n\n\ndef g(a):\n    return a - b\n"
    assert {mutant.before: mutant.compiled for mutant in mutants_of(source)} == {"a + b": True, "a - b": False}


@pytest.mark.parametrize("file", ["rcnn_svm/boxes.py", "rcnn_svm/svm/kernels.py", "rcnn_svm/mining/engine/scan.py"])
def test_every_change_of_a_module_of_ours_is_python_and_another_program(file):
    source = (ROOT / file).read_bytes()
    changed = {mutant.applied(source) for mutant in mutants_of(source)}
    assert len(changed) == len(mutants_of(source)) > 50
    assert source not in changed
    for each in changed:
        compile(each, file, "exec")
