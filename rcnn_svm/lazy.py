"""Packages that load a name when it is first used, so that `import rcnn_svm` waits for neither torch nor scikit-learn.

A package imports its public names under `if TYPE_CHECKING:`, where editors and type checkers see them, and lists them
in `__all__`. In the `else` of it, `lazy_names` makes the same imports at run time, one by one, as lazy_loader's
`attach_stub` does.
"""

from __future__ import annotations

import sys

# What type checkers take for true, without loading `typing`: see `__main__.py`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose public names are imported under `if TYPE_CHECKING:`."""
    module: Any = sys.modules[package]

    def load_name(name: str) -> Any:
        if name not in module.__all__:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import ast
        import importlib

        for statement in ast.walk(ast.parse(module.__spec__.loader.get_source(package))):
            if isinstance(statement, ast.ImportFrom) and name in [alias.name for alias in statement.names]:
                value = getattr(importlib.import_module(str(statement.module)), name)
        # The next use finds the name in the package and does not come here.
        setattr(module, name, value)
        return value

    def all_names() -> list[str]:
        return sorted({*vars(module), *module.__all__})

    return load_name, all_names
