"""A folder of image files that annotations name: identifiers, sizes, and what nothing names."""

from __future__ import annotations

import functools
import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rcnn_svm.data.class_names import unwritable_character
from rcnn_svm.data.mended import Notes
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.data.database import ImageDatabase

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

LONGEST_PATH = 4096  # characters


def check_folder(folder: str | os.PathLike, what: str) -> Path:
    """Return a folder as a path.

    Args:
        folder: the folder.
        what: names the folder's role in the message, such as `image folder`.

    Raises:
        InputError: the folder does not exist or is a file.
    """
    if not Path(folder).is_dir():
        problem = "is a file, expected a folder" if Path(folder).exists() else "does not exist; correct the path"
        raise InputError(f"{what} {folder} {problem}")
    return Path(folder)


def named_files(folder: Path, suffixes: Iterable[str], *, below: bool = False) -> dict[str, list[Path]]:
    """Return the files of a folder by their names without suffix.

    Hidden files are left out: macOS puts a `._NAME` beside every NAME of an archive.

    Args:
        folder: the folder; where there is none, there are no files.
        suffixes: what the names end with, in lower case; upper case counts too.
        below: look in its sub-folders too; names begin with theirs then.
    """
    found: dict[str, list[Path]] = {}
    paths = (folder.rglob("*") if below else folder.glob("*")) if folder.is_dir() else ()
    for path in sorted(paths):
        inside = path.relative_to(folder)
        if path.suffix.lower() in suffixes and not any(part.startswith(".") for part in inside.parts):
            found.setdefault(str(PurePosixPath(inside.with_suffix(""))), []).append(path)
    return found


def images_at(
    paths: Iterable[str | os.PathLike], *, aside: str | os.PathLike | None = None, also: Sequence[str] = ()
) -> list[Path]:
    """Return the image files that paths mean: a folder means those in it and in its sub-folders, sorted by name.

    A pattern, such as `photos/*.jpg`, means what it matches as a shell would; `**` goes into sub-folders. Files are
    taken as they are, whether they exist or not; each file counts once. Hidden files are left out.

    Args:
        paths: files, folders and patterns.
        aside: a folder for results; where it is in one of the folders, what is in it is left out.
        also: files of a folder whose names end so are meant too, such as `VIDEO_SUFFIXES`.

    Raises:
        InputError: a folder holds no such file, or a pattern matches nothing.
    """
    suffixes = (*IMAGE_SUFFIXES, *also)
    images: dict[Path, None] = {}
    for path in (path for given in paths for path in _matched(given)):
        if not path.is_dir():
            images[path] = None
            continue
        found = [file for files in named_files(path, suffixes, below=True).values() for file in files]
        if aside is not None and _real(path) in _real(aside).parents:
            found = [file for file in found if _real(aside) not in _real(file).parents]
        if not found:
            what = "image or video" if also else "image"
            raise InputError(f"folder {path} holds no {what} ({', '.join(suffixes)}); correct the path")
        images.update(dict.fromkeys(sorted(found)))
    return list(images)


def _matched(path: str | os.PathLike) -> list[Path]:
    """Return what a pattern matches, sorted; a path itself where it is none, or is there under this very name."""
    pattern = os.fspath(path)
    if not glob.has_magic(pattern) or os.path.lexists(pattern):
        return [Path(pattern)]
    found = sorted(map(Path, glob.glob(pattern, recursive=True)))
    if not found:
        raise InputError(f"nothing matches {pattern}; correct the pattern")
    return found


def _real(path: str | os.PathLike) -> Path:
    """Return a path without links; unlike `Path.resolve`, links in a circle are no error yet."""
    return Path(os.path.realpath(path))


def only_file(files: list[Path], image_id: str, what: str) -> Path:
    """Return the one file that can be meant.

    Raises:
        InputError: two could be.
    """
    if len(files) > 1:
        raise InputError(f"{files[0]} and {files[1].name} could both be {what} {image_id}; rename one of them")
    return files[0]


def set_name(path: str | os.PathLike) -> str:
    """Return the name of an image set that comes from `path`, fit for file names."""
    return re.sub(r"[^\w.-]+", "-", _real(path).stem)


def image_ids_of(file_names: Iterable[str], source: str | os.PathLike) -> list[str]:
    """Return the identifiers of image files: their names without suffix, or with it where two would be the same.

    Args:
        file_names: names relative to the image folder, subfolders included.
        source: what names them, for the messages.

    Raises:
        InputError: a name is absolute, leads out of the folder or holds a character that cannot be written, or two
            names are the same.
    """
    stem_of: dict[str, str] = {}
    for file_name in file_names:
        path = PurePosixPath(file_name)
        if not path.name or path.is_absolute() or ".." in path.parts:
            raise InputError(
                f"{source} names the image {file_name!r}, expected a name inside the image folder; "
                "write names relative to it"
            )
        unwritable = unwritable_character(file_name)
        if unwritable:
            raise InputError(f"{source} names the image {file_name!r}, which holds {unwritable!r}; rename the image")
        if file_name in stem_of:
            raise InputError(f"{source} lists the image {file_name} more than once; list each image once")
        stem_of[file_name] = str(path.with_suffix(""))
    ids = stem_of
    # A name with suffix may be another one without: `a.jpg`, beside `a.png` and `a.jpg.png`.
    while len(set(ids.values())) < len(ids):
        count = Counter(ids.values())
        ids = {name: name if count[image_id] > 1 else image_id for name, image_id in ids.items()}
    return list(ids.values())


class ImageFinder:
    """Finds the files of an image folder that annotations name, as the machine that labelled wrote their paths.

    Args:
        folder: the image folder.
        source: what names the images, for the messages.
        notes: counts the names that are of another place.
    """

    def __init__(self, folder: Path, source: str | os.PathLike, notes: Notes):
        self._folder = folder
        self._source = source
        self._notes = notes
        self._named: dict[str, PurePosixPath] = {}

    def __call__(self, name: str) -> str:
        """Return a file's name relative to the folder.

        A backslash separates folders. An absolute path may lead into the folder. Of a path from elsewhere, the
        folders at its beginning are left out until what is left is in the folder; a name alone may be in a folder
        below, and may lack its suffix. What is not found is returned as it is, if it is relative.

        Raises:
            InputError: two names mean the same file, or several files have the name.
        """
        if self._is_file(name):
            return self._remember(name, PurePosixPath(name))
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() and path.is_relative_to(self._folder.absolute()):
            path = path.relative_to(self._folder.absolute())
        if self._is_file(str(path)):
            return self._remember(str(path), path)
        # No system takes a longer path, and a damaged table may hold one of thousands of folders.
        searched = len(path.parts) if len(name) <= LONGEST_PATH else 0
        for start in range(1, searched):
            rest = str(PurePosixPath(*path.parts[start:]))
            if self._is_file(rest):
                self._note(name, rest)
                return self._remember(rest, path)
        if len(path.parts) == 1:
            found = self._by_name.get(path.name.casefold(), [])
            if len(found) > 1:
                raise InputError(
                    f"{self._source} names the image {name!r}, and {self._folder} holds {found[0]} and {found[1]}; "
                    "write the name relative to the folder"
                )
            if found:
                self._note(name, found[0])
                return self._remember(found[0], path)
        return name if ".." in path.parts or path.is_absolute() else str(path)

    def _is_file(self, name: str) -> bool:
        path = PurePosixPath(name)
        # A name that no file can have, such as one with NUL, is refused with its own sentence later.
        if not path.name or path.is_absolute() or ".." in path.parts or unwritable_character(name):
            return False
        return os.path.isfile(self._folder / path)  # does not fail on a name that is too long

    def _note(self, name: str, found: str) -> None:
        self._notes.add(
            "paths of another place, found by name in the image folder",
            f"{name!r} in {self._source}, read from {found}",
        )

    def _remember(self, found: str, path: PurePosixPath) -> str:
        """Return the file, after a check that no other path led to it: one image must not stand for two."""
        other = self._named.setdefault(found, path)
        if other != path:
            raise InputError(
                f"{self._source} names the images {str(other)!r} and {str(path)!r}, of which {self._folder} holds "
                f"only {found}; give the folder that holds both"
            )
        return found

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The images in the folder and below it, by name and by name without suffix, in lower case."""
        found: dict[str, list[str]] = {}
        for root, _, names in os.walk(self._folder):
            for name in names:
                stem, suffix = os.path.splitext(name.casefold())
                if suffix in IMAGE_SUFFIXES and not name.startswith("."):
                    relative = str((Path(root) / name).relative_to(self._folder))
                    found.setdefault(name.casefold(), []).append(relative)
                    found.setdefault(stem, []).append(relative)
        return found


def unused_images(database: ImageDatabase, folder: str | os.PathLike, *, below: bool = False) -> list[str]:
    """Return the image files beside those of a database that are not in it, sorted.

    Args:
        database: the images used.
        folder: their folder; a subfolder counts where it holds an image that is used.
        below: every subfolder counts.

    Returns:
        Paths relative to `folder`, where they are in it.
    """
    used = {database.image_path(index) for index in range(len(database))}
    parents = {Path(folder), *(path.parent for path in used)}
    files = {path for parent in parents for path in parent.glob("*.*")}
    if below:
        files.update(Path(folder).rglob("*.*"))
    left = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and path not in used]
    left = [path for path in left if not path.name.startswith(".")]
    return sorted(str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in left)
