"""The proposals stage: a proposer run over an image set, in threads, picking up where it was stopped."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.claims import WHOLE, claimed, share_of
from rcnn_svm.artefacts.files import fingerprint, parts_folder, remove_parts
from rcnn_svm.artefacts.identity import already_done, check_still_there
from rcnn_svm.data import ImageDatabase
from rcnn_svm.errors import InputError
from rcnn_svm.progress import progress_bar
from rcnn_svm.proposals.methods import RecordedProposer
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.threads import in_threads


def propose_database(
    database: ImageDatabase,
    proposer: RecordedProposer,
    out_path: str | os.PathLike,
    *,
    jobs: int = 1,
    part_images: int = 20,
    part: tuple[int, int] = WHOLE,
    overwrite: bool = False,
    update: bool = False,
    reuse: Sequence[str | os.PathLike] = (),
) -> ProposalSet | None:
    """Compute the proposals of every image and write them to one file.

    Finished images are kept in `<out_path>.parts`, in a folder named after settings and images, so that a run
    stopped at any moment goes on after its last part. The parts are removed once `out_path` is complete.

    Args:
        database: the images.
        proposer: image -> boxes, with `settings`; safe to call from several threads.
        out_path: file to write. If it holds these very proposals, it is read instead.
        jobs: images worked on at once, each in a thread; the boxes do not depend on it.
        part_images: images per part, which bounds what a stop can lose.
        part: (i, n): only every n-th part, beginning with the i-th, so that n processes or machines share the work; a
            call for the whole then joins what all of them made.
        overwrite: replace a file at `out_path` that was made with other settings.
        update: replace one that was made with the same settings for other images; boxes of those that are still there
            stay.
        reuse: further proposals files; boxes of the same image files are taken over from them, where they were made in
            the same way.

    Returns:
        The proposals; None where a part was asked for, and the whole is not there.

    Raises:
        InputError: `out_path` was made with other settings, or is being made by another process, or an image cannot
            be read; finished parts stay.
    """
    out_path = Path(out_path)
    settings = {**proposer.settings, "database": database.name}
    part_folder = parts_folder(out_path, [settings, database.image_ids, part_images])
    parts = {
        part_folder / f"{start:07d}.h5": range(start, min(start + part_images, len(database)))
        for start in range(0, len(database), part_images)
    }
    with claimed(share_of(out_path, part)):
        proposals = None
        if part == WHOLE or out_path.exists():
            digests = [database.image_digest(i) for i in range(len(database))]
            whole = {**settings, "images": fingerprint(digests)}
            proposals = existing_proposals(out_path, database, whole, overwrite=overwrite, update=update)
        if proposals is None:
            earlier = _of_settings([out_path, *part_folder.parent.glob("*/*.h5")], settings)
            others = _of_settings(map(Path, reuse), settings, whatever=("images", "database"))
            known = {
                digest: boxes
                for found in (*others.values(), *earlier.values())
                for digest, boxes in zip(found.image_digests, found.boxes, strict=True)
            }
            own = dict(itertools.islice(parts.items(), part[0], None, part[1]))
            _compute_parts(database, proposer, settings, own, jobs, known)
            if part != WHOLE:
                return None
            check_still_there(*parts)
            boxes = [boxes for path in parts for boxes in ProposalSet.load(path).boxes]
            proposals = ProposalSet(database.image_ids, boxes, whole, tuple(digests))
            proposals.save(out_path)
            for path in earlier.keys() - {out_path}:
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    path.parent.rmdir()
        remove_parts(part_folder)
    return proposals


def existing_proposals(
    path: Path, database: ImageDatabase, settings: dict[str, Any], *, overwrite: bool, update: bool = False
) -> ProposalSet | None:
    """Return the proposals that `path` holds if they are wanted, None if `path` may be written.

    Args:
        path: the file.
        database: the images.
        settings: those of the proposals that are wanted.
        overwrite: other proposals may be replaced.
        update: those of other images may be replaced, where the settings are the same.

    Raises:
        InputError: `path` is damaged or holds other proposals that may not be replaced.
    """
    found = functools.cache(lambda: ProposalSet.load(path))
    done = already_done(
        path,
        lambda: _identity(found().image_ids, found().settings),
        _identity(database.image_ids, settings),
        overwrite=overwrite,
        update=update,
        same_settings=lambda _: _without_images(found().settings) == _without_images(settings),
    )
    return found() if done else None


def _of_settings(
    paths: Iterable[Path], settings: dict[str, Any], whatever: Sequence[str] = ("images",)
) -> dict[Path, ProposalSet]:
    """Return those files that hold proposals of these settings, of `whatever` images, and know of which."""
    earlier = {}
    for path in paths:
        with contextlib.suppress(InputError):  # missing or damaged
            found = ProposalSet.load(path)
            if _without(whatever, found.settings) == _without(whatever, settings) and len(found.image_digests) == len(
                found
            ):
                earlier[path] = found
    return earlier


def _without(keys: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def _without_images(settings: dict[str, Any]) -> dict[str, Any]:
    return _without(("images",), settings)


def _identity(image_ids: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the proposals of some images, with names that a user understands."""
    return {**_without_images(settings), "images": list(image_ids), "images' files": settings.get("images")}


def _compute_parts(
    database: ImageDatabase,
    proposer: Callable[[np.ndarray], np.ndarray],
    settings: dict[str, Any],
    parts: dict[Path, range],
    jobs: int,
    known: Mapping[str, np.ndarray],
) -> None:
    """Write the parts that are not there yet, or were made from other images; `known` has boxes by image digest."""

    def recorded(images: Sequence[int]) -> dict[str, Any]:
        return {**settings, "images": fingerprint([database.image_digest(i) for i in images])}

    pending = {path: images for path, images in parts.items() if not _is_complete(path, recorded(images))}
    todo = [i for images in pending.values() for i in images]
    if not todo:
        return

    def propose(i):
        boxes = known.get(database.image_digest(i))
        return proposer(database.load_image(i)) if boxes is None else boxes

    total = sum(map(len, parts.values()))
    progress = progress_bar(total, "propose", "image", initial=total - len(todo))
    with progress, contextlib.closing(in_threads(propose, todo, jobs)) as results:
        for path, images in pending.items():
            boxes = []
            try:
                for _ in images:
                    boxes.append(next(results))
                    progress.update()
            finally:
                # An interrupted part is kept as far as it goes, for a later run to take its boxes over.
                if boxes:
                    done = images[: len(boxes)]
                    ids = tuple(database.image_ids[i] for i in done)
                    made_from = tuple(database.image_digest(i) for i in done)
                    ProposalSet(ids, boxes, recorded(done), made_from).save(path)


def _is_complete(path: Path, settings: dict[str, Any]) -> bool:
    try:
        return ProposalSet.load(path).settings == settings
    except InputError:
        return False
