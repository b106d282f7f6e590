"""Which classes an image set of one's own has."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain

# Control characters (line feed, tab, NUL), and halves of characters, which JSON can spell and no file can hold.
_UNWRITABLE = ("Cc", "Cs")

# What pandas and databases write where there is no value.
NO_VALUE = ("", "nan", "na", "n/a", "none", "null", "nil", "<na>")
# What tools call the class of an image without objects, to which they give a box of four zeros.
NO_CLASS = ("background", *NO_VALUE)


def choose_classes(
    names: Counter[str],
    order: Iterable[str],
    classes: Sequence[str] | None,
    source: str | os.PathLike,
    left_out: Counter[str] | None = None,
) -> tuple[str, ...]:
    """Return the class names of an image set, whose order defines the class indices.

    Args:
        names: how many objects the annotations have of every name.
        order: every name, in the order of the result where `classes` is None; those without objects are left out.
        classes: the choice; None for all names that occur.
        source: what was read, for the messages.
        left_out: how many objects of every name are not among `names`, because their boxes cannot be used.

    Raises:
        InputError: no name occurs and none is chosen, a class is chosen twice, no object has one of those chosen
            although there are objects, or a name holds a character that cannot be written.
    """
    left_out = left_out or Counter()
    if classes is None:
        classes = [name for name in order if names[name]]
        if not classes:
            usable = f" with boxes that can be used ({left_out.total()} were left out)" if left_out else ""
            raise InputError(f"{source} has no objects{usable}, so its classes are unknown; name them with --classes")
    elif names and not any(names[name] for name in classes):
        wanted = " or ".join(repr(name) for name in classes)
        found = ", ".join(f"{name} ({count})" for name, count in names.most_common() if count)
        lost = sum(left_out[name] for name in classes)
        if lost:
            raise InputError(
                f"all {lost} objects in {source} that are called {wanted} were left out, because their boxes cannot be "
                f"used; the other names there are {found}"
            )
        raise InputError(f"no object in {source} is called {wanted}; the names there are {found}")
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise InputError(f"class {plain(twice[0])!r} is given more than once; name each class once")
    for name in classes:
        unwritable = unwritable_character(name)
        if unwritable:
            raise InputError(f"{source}: class name {plain(name)!r} holds {unwritable!r}; rename the class")
    return tuple(classes)


def read_class_list(text: str) -> list[str]:
    """Return the names of a list that is separated by commas; a name that holds one is in double quotes."""
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), []) if name.strip()]


def write_class_list(names: Iterable[str]) -> str:
    """Return the names as `read_class_list` reads them."""
    return ",".join('"' + name.replace('"', '""') + '"' if set(name) & set(',"') else name for name in names)


def unwritable_character(name: str) -> str | None:
    """Return the first character of a name that cannot be written, or None."""
    return next((character for character in name if unicodedata.category(character) in _UNWRITABLE), None)
