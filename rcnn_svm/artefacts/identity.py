"""Whether two artefacts are the same, and where they differ."""

from __future__ import annotations

from typing import Any


def first_difference(found: Any, wanted: Any, where: str = "") -> str:
    """Return where two JSON-able values differ first, with both values, shortened."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                return first_difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
    if isinstance(found, list) and isinstance(wanted, list):
        if len(found) != len(wanted):
            return f"{where}: {len(found)} there, {len(wanted)} wanted"
        for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
            if a != b:
                return first_difference(a, b, f"{where}[{index}]")
    return f"{where}: {str(found)[:60]} there, {str(wanted)[:60]} wanted"
