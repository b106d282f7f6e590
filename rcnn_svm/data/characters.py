"""Characters that names cannot hold, as they end up in file names and in lists of one name a line."""

from __future__ import annotations

import unicodedata

# Control characters (line feed, tab, NUL), and halves of characters, which JSON can spell and no file can hold.
_UNWRITABLE = ("Cc", "Cs")


def unwritable_character(name: str) -> str | None:
    """Return the first character of a name that cannot be written, or None."""
    return next((character for character in name if unicodedata.category(character) in _UNWRITABLE), None)
