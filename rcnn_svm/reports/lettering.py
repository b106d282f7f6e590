"""Which font has the letters of a text, and what stands in pictures and plots for letters that no font has."""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib import font_manager

REGULAR = 400  # the weight of a font for running text


class Lettering(NamedTuple):
    r"""A text as it can be drawn.

    Attributes:
        shown: the text, with the letters that the font lacks as Python writes them, such as `\u5706`.
        font: the file of the font.
        lacking: these letters, each once.
    """

    shown: str
    font: Path
    lacking: tuple[str, ...]


@functools.lru_cache(maxsize=10_000)
def lettering(text: str) -> Lettering:
    """Return how a text can be drawn: with DejaVu Sans, or with the installed font that has most of its letters.

    DejaVu Sans comes with matplotlib and has Latin, Greek, Cyrillic and more. Accents that are signs of their own, as
    in file names of macOS, are joined with their letters.
    """
    text = unicodedata.normalize("NFC", text)
    font, lacking = _own_font(), _lacking(_own_font(), text)
    for other in _installed_fonts() if lacking else ():
        if len(_lacking(other, text)) < len(lacking):
            font, lacking = other, _lacking(other, text)
    shown = "".join(spelled_out(sign) if sign in lacking else sign for sign in text)
    return Lettering(shown, font, lacking)


def spelled_out(sign: str) -> str:
    r"""Return a letter as Python writes it in ASCII, such as `\u5706`."""
    return sign.encode("ascii", "backslashreplace").decode()


def _lacking(font: Path, text: str) -> tuple[str, ...]:
    return tuple(sign for sign in dict.fromkeys(text) if not _has(font, sign))


@functools.lru_cache(maxsize=100_000)
def _has(font: Path, sign: str) -> bool:
    try:
        return font_manager.get_font(font).get_char_index(ord(sign)) > 0
    except (OSError, RuntimeError):  # removed, or no font
        return False


def _own_font() -> Path:
    return Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@functools.cache
def _installed_fonts() -> list[Path]:
    """Return the upright fonts of the machine, those of usual weight first; no font of placeholders."""
    upright = [entry for entry in font_manager.fontManager.ttflist if entry.style == "normal"]

    def weight(entry: font_manager.FontEntry) -> int:
        return font_manager.weight_dict[entry.weight] if isinstance(entry.weight, str) else entry.weight

    upright.sort(key=lambda entry: (abs(weight(entry) - REGULAR), entry.name))
    return list(dict.fromkeys(Path(entry.fname) for entry in upright if not entry.name.startswith("Last Resort")))
