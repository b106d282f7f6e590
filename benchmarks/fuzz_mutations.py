"""What happens to files: damage to their bytes, tokens of text as no tool should write them, edited HDF5 files."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rcnn_svm.artefacts.exported_folder import DESCRIPTION, digest_of
from rcnn_svm.artefacts.files import CHECKSUM

# What stands where a number was.
NUMBERS = (
    *("NaN", "nan", "-inf", "Infinity", "1e999", "-1e999", "1e308", "-1", "0", "-0.0", "0.5", "1e-320", "007", "+3"),
    *("2147483648", "-2147483649", "4294967296", "9223372036854775808", "-9223372036854775809", "1" + "0" * 30),
    *("1" * 4400, "-" + "9" * 5000, "0x1F", "1_000", "1,5", "\u0663", "\u00bd", "true", "null", '"7"', "[]", "{}", ""),
)
# What stands where a name was.
WORDS = (
    *(
        "..",
        "../../x",
        "/etc/hostname",
        "a/b",
        "a\\b",
        "CON",
        "",
        " ",
        "\ufeff",
        "caf\u00e9",
        "cafe\u0301",
        "\U0001f408",
    ),
    *("\x00", "\x1b[31m", "<script>", "&lt;", "&#0;", "=1+1", "%s", "%n", "x" * 300, "x" * 70_000, "\ud800"),
)


# Characters that repetitions of a line take at most: several mutations of one file multiply.
LONGEST = 1_000_000


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return a file's bytes with one to three damages of disks, networks and editors."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_DAMAGES)(data, rng)
    return data


def mutate_text(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes of a text file with one to three tokens that are other than they were, or with damages."""
    if rng.random() < 0.35:
        return mutate_bytes(data, rng)
    text = data.decode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 3))):
        text = rng.choice(_EDITS)(text, rng)
    if rng.random() < 0.05:
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "cp037")), "replace")
    return text.encode("utf-8", "surrogatepass")


def edit_hdf5(path: Path, rng: random.Random) -> None:
    """Change one or two arrays or attributes of an HDF5 file, and take its checksum away, as another program may."""
    with h5py.File(path, "r+", locking=False) as handle:
        handle.attrs.pop(CHECKSUM, None)
        places: list[tuple[str, str | None]] = []
        handle.visit(lambda name: places.append((name, None)))
        places += [("/", name) for name in handle.attrs]
        for name, attribute in rng.sample(places, min(len(places), rng.choice((1, 1, 2)))):
            if attribute is not None:
                _edit_attribute(handle, attribute, rng)
            elif isinstance(handle.get(name), h5py.Dataset):
                _edit_dataset(handle, name, rng)
            elif name in handle:  # a group, whose member may have been edited before
                del handle[name]


def edit_exported(path: Path, rng: random.Random) -> None:
    """Damage a file of an exported detector and write its new digest beside it, as a stranger may."""
    path.write_bytes(mutate_bytes(path.read_bytes(), rng))
    described = json.loads((path.parent / DESCRIPTION).read_text(encoding="utf-8"))
    described["files"][path.name] = digest_of(path.read_bytes())
    (path.parent / DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")


# What changes a file in its place, and others with it.
EDITS = (edit_hdf5, edit_exported)


def _edit_attribute(handle: h5py.File, name: str, rng: random.Random) -> None:
    old = handle.attrs[name]
    changed: list[Any] = [None, h5py.Empty("f"), np.float64(np.nan), -1, 10**18, [1, 2], b"\xff\xfe", "", "x" * 70_000]
    if isinstance(old, str):
        changed += [_edit_json(old, rng) for _ in range(12)]
    elif np.ndim(old) == 0:
        changed += [old + 1, -old, str(old)]
    value = rng.choice(changed)
    if value is None:
        del handle.attrs[name]
    else:
        handle.attrs[name] = value


def _edit_json(text: str, rng: random.Random) -> str:
    """Return JSON in which a value, found by chance, is another one; text that is none with damages."""
    try:
        content = json.loads(text)
    except ValueError:
        return mutate_text(text.encode(), rng).replace(b"\0", b" ").decode("utf-8", "replace")
    holder = {"": content}
    place: dict | list = holder
    key: str | int = ""
    while isinstance(place[key], (dict, list)) and place[key] and (place is holder or rng.random() < 0.85):
        place = place[key]
        key = rng.choice(sorted(place)) if isinstance(place, dict) else rng.randrange(len(place))
    old = place[key]
    values = [
        None,
        [],
        {},
        "",
        "x",
        0,
        -1,
        0.5,
        1e300,
        float("nan"),
        10**30,
        True,
        [old],
        [old, old],
        {"x": old},
        str(old),
    ]
    if isinstance(place, list):
        values.append(place[0])
    if rng.random() < 0.15 and place is not holder:
        del place[key]
    else:
        place[key] = rng.choice(values)
    return json.dumps(holder[""])


def _edit_dataset(handle: h5py.File, name: str, rng: random.Random) -> None:
    old = handle[name][()]
    rng.choice(_ARRAY_EDITS)(handle, name, old, rng)


def _replaced(handle: h5py.File, name: str, value: Any, **options: Any) -> None:
    del handle[name]
    handle.create_dataset(name, data=value, **options)


def _as_type(handle: h5py.File, name: str, old: np.ndarray, rng: random.Random) -> None:
    kind = rng.choice(("f8", "f4", "f2", "i1", "i8", "u8", ">f4", ">i4", "c8", "?", "S3"))
    numbers = np.zeros(old.shape) if old.dtype.kind in "OSV" else old
    with np.errstate(all="ignore"):
        _replaced(handle, name, numbers.astype(kind))


def _as_shape(handle: h5py.File, name: str, old: np.ndarray, rng: random.Random) -> None:
    array = np.asarray(old)
    shapes = [array.reshape(-1), array[None], array[..., None], array.T, array[:0], array[:-1], array[1:]]
    shapes += [np.concatenate([array, array])] if array.ndim else []
    value = rng.choice(shapes if array.ndim else [array.reshape(1), array.reshape(1, 1)])
    _replaced(handle, name, value, **({"dtype": h5py.string_dtype()} if array.dtype == object else {}))


def _with_values(handle: h5py.File, name: str, old: np.ndarray, rng: random.Random) -> None:
    array = np.array(old)
    if not array.size:
        return
    place = rng.randrange(array.size)
    if array.dtype == object:
        texts = ["", "..", "a/b", "x" * 300, "caf\u00e9", "\x1b[1m", array.flat[0].decode()]
        array.flat[place] = rng.choice(texts).encode()
        _replaced(handle, name, array, dtype=h5py.string_dtype())
        return
    values = [0, 1, -1, 2, 127, 1e30, -1e30, np.nan, np.inf, 2**31 - 1, -(2**31), array.flat[0]]
    with np.errstate(all="ignore"):
        value = np.asarray(rng.choice(values)).astype(array.dtype)
    array.flat[slice(None) if rng.random() < 0.2 else place] = value
    _replaced(handle, name, array)


def _compressed(handle: h5py.File, name: str, old: np.ndarray, rng: random.Random) -> None:
    if np.ndim(old) and np.size(old) and np.asarray(old).dtype != object:
        _replaced(handle, name, old, compression="gzip", shuffle=True)


def _removed(handle: h5py.File, name: str, old: np.ndarray, rng: random.Random) -> None:
    del handle[name]


def _as_group(handle: h5py.File, name: str, old: np.ndarray, rng: random.Random) -> None:
    del handle[name]
    handle.create_group(name)


def _as_link(handle: h5py.File, name: str, old: np.ndarray, rng: random.Random) -> None:
    del handle[name]
    targets = [h5py.SoftLink("/"), h5py.SoftLink(f"/{name}"), h5py.ExternalLink("secret.h5", "/boxes")]
    handle[name] = rng.choice([*targets, *map(h5py.SoftLink, handle)])


def _as_scalar(handle: h5py.File, name: str, old: np.ndarray, rng: random.Random) -> None:
    _replaced(handle, name, rng.choice([0, 1.5, "text", b"\xff", [], [[[1.0]]], h5py.Empty("f")]))


_ARRAY_EDITS = (
    *(_as_type, _as_shape, _with_values, _with_values, _with_values),
    *(_compressed, _removed, _as_group, _as_link, _as_scalar),
)


def _range(data: bytes, rng: random.Random) -> tuple[int, int]:
    """Return a range of the data, short ones as likely as long ones, heads and tails as likely as the middle."""
    length = min(len(data), int(2 ** rng.uniform(0, 13)))
    places = (
        rng.randrange(len(data) - length + 1),
        rng.randrange(min(len(data) - length, 1024) + 1),
        len(data) - length,
    )
    first = rng.choices(places, (6, 3, 1))[0] if length else 0
    return first, first + length


def _flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8) if data else 0):
        changed[_range(data, rng)[0]] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    first, last = _range(data, rng)
    return data[:first] + rng.randbytes(last - first) + data[last:]


def _overwrite_number(data: bytes, rng: random.Random) -> bytes:
    """Put a small or the largest number in the place of 1 to 8 bytes: sizes and offsets are such numbers."""
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(
        (0, 1, 2, 127, 255, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, len(data))
    )
    first = _range(data, rng)[0] if data else 0
    return (
        data[:first] + (number % 2 ** (8 * size)).to_bytes(size, rng.choice(("little", "big"))) + data[first + size :]
    )


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _range(data, rng)[rng.randrange(2)]]


def _insert(data: bytes, rng: random.Random) -> bytes:
    first, last = _range(data, rng)
    return data[:first] + rng.randbytes(last - first) + data[first:]


def _delete(data: bytes, rng: random.Random) -> bytes:
    first, last = _range(data, rng)
    return data[:first] + data[last:]


def _duplicate(data: bytes, rng: random.Random) -> bytes:
    first, last = _range(data, rng)
    return data[:last] + data[first:last] + data[last:]


def _zero(data: bytes, rng: random.Random) -> bytes:
    first, last = _range(data, rng)
    return data[:first] + bytes(last - first) + data[last:]


def _swap(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted((_range(data, rng), _range(data, rng)))
    if a[1] > b[0]:
        return data
    return data[: a[0]] + data[slice(*b)] + data[a[1] : b[0]] + data[slice(*a)] + data[b[1] :]


_DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip_bits, _flip_bits, _overwrite, _overwrite_number, _overwrite_number),
    *(_truncate, _insert, _delete, _duplicate, _zero, _swap),
)


def _other_token(text: str, rng: random.Random, pattern: str, choices: tuple[str, ...]) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = rng.choice(found)
    return text[: match.start()] + rng.choice(choices) + text[match.end() :]


def _other_number(text: str, rng: random.Random) -> str:
    return _other_token(text, rng, r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?", NUMBERS)


def _other_digit(text: str, rng: random.Random) -> str:
    return _other_token(text, rng, r"\d", tuple("0123456789"))


def _other_word(text: str, rng: random.Random) -> str:
    return _other_token(text, rng, r"[A-Za-z_]\w*", WORDS)


def _renamed(text: str, rng: random.Random) -> str:
    """Put a word of the text in the place of another: keys, tags, columns and classes take each other's places."""
    words = re.findall(r"[A-Za-z_]\w*", text)
    return _other_token(text, rng, r"[A-Za-z_]\w*", tuple(rng.sample(words, min(len(words), 5)))) if words else text


def _without_mark(text: str, rng: random.Random) -> str:
    return _other_token(text, rng, r"[\"'<>\[\]{}(),:;/=\n]", ("", "", '"', "<", "[", "{", ",", ";", "\n", "\t"))


def _nested(text: str, rng: random.Random) -> str:
    opening, closing = rng.choice((("[", "]"), ("{", "}"), ('{"a":', "}"), ("<object>", "</object>"), ("(", ")")))
    depth = rng.choice((1, 3, 100, 3_000, 100_000))
    place = rng.randrange(len(text) + 1)
    return text[:place] + opening * depth + (closing * depth if rng.random() < 0.6 else "") + text[place:]


def _line_again(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    line = rng.choice(lines)
    at = rng.randrange(len(lines) + 1)
    times = min(rng.choice((1, 1, 2, 1_000)), max(LONGEST // max(len(line), 1), 1))
    return "".join([*lines[:at], line * times, *lines[at:]])


def _without_line(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[:at] + lines[at + 1 :]) if lines and (at := rng.randrange(len(lines))) >= 0 else text


def _inserted(text: str, rng: random.Random) -> str:
    signs = (
        "\0",
        "\ufeff",
        "\u2028",
        "\x85",
        "\x1b[2J",
        "\r",
        "\r\n",
        "&#x110000;",
        "&undefined;",
        "<!DOCTYPE a>",
        "#",
    )
    entities = '<!DOCTYPE a [<!ENTITY b "' + "c" * 9_000 + '"><!ENTITY d "' + "&b;" * 900 + '">]>'
    file = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>'
    place = rng.choice((0, len(text), rng.randrange(len(text) + 1)))
    return text[:place] + rng.choice((*signs, entities, file)) + text[place:]


_EDITS: tuple[Callable[[str, random.Random], str], ...] = (
    *(_other_number, _other_number, _other_digit, _other_word, _renamed, _renamed, _without_mark, _without_mark),
    *(_nested, _line_again, _without_line, _inserted),
)
