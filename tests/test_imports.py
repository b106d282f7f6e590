"""Imports go one way: no circle between modules, not even for types, and no room imports a later one."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "rcnn_svm"

# A room may import those before it. docs/architecture.md has the same order.
ORDER = (
    *(
        "lazy",
        "errors",
        "terminal",
        "words",
        "notebook",
        "progress",
        "compiled",
        "opencv",
        "threads",
        "guarded",
        "hdf5",
        "matlab",
        "paper",
        "parameters",
        "boxes",
        "artefacts",
        "descent",
    ),
    *("data", "toy_world", "proposals", "cache", "features", "svm", "detection", "evaluation", "mining", "tuning"),
    *("finetune", "fast_rcnn", "reports", "export", "experiments", "cli", "__main__"),
)
# Modules that import others by names in text: doors, the class of a model file's kind, the command that is called, the
# report of a miner, the picture of detections; and packages of weights, which are no modules of this one.
BY_NAME = {
    *("rcnn_svm.lazy", "rcnn_svm.artefacts.model_file", "rcnn_svm.cli.main", "rcnn_svm.features.backbones"),
    *("rcnn_svm.mining.hard_negatives", "rcnn_svm.detection.image_detections"),
}


def sources() -> dict[str, str]:
    """Return the text of every module by its dotted name; a package is called `PACKAGE.ROOM`."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def imported_names(tree: ast.AST) -> set[str]:
    """Return the dotted names of all imports, those in functions and for types included."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def read_imports(texts: dict[str, str]) -> tuple[dict[str, set[str]], dict[str, dict[str, str]]]:
    """Return which modules every module imports, and where every public name of a door is defined.

    A name that is imported from a door counts as an import of the module that defines it. What a package has under
    `if TYPE_CHECKING:` is its door: text that `lazy_names` reads, no import.
    """
    trees = {module: ast.parse(text) for module, text in texts.items()}
    packages = {module for module in trees if any(other.startswith(f"{module}.") for other in trees)}
    doors: dict[str, dict[str, str]] = {}
    for module in packages:
        under = [node for node in trees[module].body if is_for_types(node)]
        trees[module].body = [node for node in trees[module].body if not is_for_types(node)]
        names = set().union(*map(imported_names, under))
        doors[module] = {name.rpartition(".")[2]: name for name in names}

    def module_of(name: str) -> str | None:
        if name in trees:
            return name
        parent, _, last = name.rpartition(".")
        if last in doors.get(parent, {}):
            return module_of(doors[parent][last])
        return module_of(parent) if parent else None

    imports = {
        module: {found for name in imported_names(tree) if (found := module_of(name)) not in (None, module)}
        for module, tree in trees.items()
    }
    return imports, {door: {name: module_of(full) for name, full in names.items()} for door, names in doors.items()}


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return modules that import one another, each the next; none where there is no circle."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.fixture(scope="module")
def package():
    return read_imports(sources())


def test_a_circle_by_hand():
    # `a` imports `b` when a function is called, `b` imports `a` through the door of `p`, for types alone.
    texts = {
        "p": "if TYPE_CHECKING:\n    from p.a import A",
        "p.a": "def f():\n    from p import b",
        "p.b": "import numpy\nif TYPE_CHECKING:\n    from p import A",
        "p.c": "from p.b import x\nfrom p import version",
    }
    imports, doors = read_imports(texts)
    assert imports == {"p": set(), "p.a": {"p.b"}, "p.b": {"p.a"}, "p.c": {"p.b", "p"}}
    assert doors == {"p": {"A": "p.a"}}
    assert circle(imports) in (["p.a", "p.b", "p.a"], ["p.b", "p.a", "p.b"])
    assert circle({**imports, "p.b": set()}) == []


def test_no_module_imports_itself_through_others(package):
    imports, _ = package
    assert len(imports) > 100 and sum(map(len, imports.values())) > 500
    assert circle(imports) == []


def test_a_room_imports_only_rooms_before_it(package):
    imports, _ = package
    assert {room(module) for module in imports} == {"", *ORDER}
    place = {"": -1, **{name: place for place, name in enumerate(ORDER)}}
    upward = [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if module != PACKAGE and place[room(other)] > place[room(module)]
    ]
    assert upward == []


def test_the_doors_need_nothing_and_lead_to_their_own_room(package):
    imports, doors = package
    for door, names in doors.items():
        assert imports[door] <= {"rcnn_svm.lazy"}
        assert door == PACKAGE or [name for name, module in names.items() if room(module) != room(door)] == []


def test_imports_by_name_are_where_they_are_known():
    assert {module for module, text in sources().items() if "import_module" in text} == BY_NAME


def test_the_documentation_has_the_same_order():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paragraph = text.split("**Imports go one way**")[1].split("\n\n")[1]
    assert tuple(re.findall(r"`(\w+)`", paragraph)) == ORDER
