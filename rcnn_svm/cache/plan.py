"""What a feature cache will hold: its manifest, and which of its shards are still to be written."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.claims import WHOLE
from rcnn_svm.artefacts.files import READ_ERRORS, fingerprint, provenance, sync_folder, write_text
from rcnn_svm.artefacts.identity import REMEDY, UPDATE, check_same, say_again
from rcnn_svm.artefacts.schema import check_json_schema
from rcnn_svm.cache.checks import check_layout, check_regions
from rcnn_svm.cache.regions import RegionSet
from rcnn_svm.cache.shards import MixedCacheError, Shard, ShardArrays, read_shard, write_shard
from rcnn_svm.errors import InputError

MANIFEST = "cache.json"
SHARDS = "shard-*.h5"
SCHEMA = 1


@dataclass(frozen=True)
class CachePlan:
    """What a feature cache will hold, known before the first feature is computed.

    Written as `cache.json` when the cache is begun; the shards follow in any order, from any process or
    machine that sees the folder.

    Attributes:
        folder: folder of the cache.
        name: name of the image set.
        classes: class names.
        image_ids: one per image.
        rows: number of regions of every image.
        dim: D, the length of a feature vector.
        dtype: how features are stored, `float32` or `float16`.
        shard_images: images per shard.
        settings: everything that decides the features' values (backbone, weights, crop, proposals).
        sources: per image, a digest of what its rows are made from (pixels, ground truth); a shard made from
            anything else is made again. Empty when a cache is only read; "" for images of shards that another process
            makes.
        image_digests: per image, a digest of its file, where there is one. Empty when a cache is only read.
    """

    folder: Path
    name: str
    classes: tuple[str, ...]
    image_ids: tuple[str, ...]
    rows: tuple[int, ...]
    dim: int
    dtype: str
    shard_images: int
    settings: dict[str, Any]
    sources: tuple[str, ...] = ()
    image_digests: tuple[str, ...] = ()

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that differ between any two caches whose shards must not be mixed."""
        return fingerprint(self._identity())

    @property
    def num_shards(self) -> int:
        """Number of shards, written or not."""
        return -(-len(self.image_ids) // self.shard_images)

    def images_of(self, shard: int) -> range:
        """Return the indices of the images in a shard."""
        first = shard * self.shard_images
        return range(first, min(first + self.shard_images, len(self.image_ids)))

    def place_of(self, image: int) -> tuple[int, int]:
        """Return the shard of an image, and its number there."""
        return divmod(image, self.shard_images)

    def of_images(self, images: Sequence[int]) -> CachePlan:
        """Return the plan of a cache of some images, by their indices, each a shard of its own."""
        return CachePlan(
            folder=self.folder,
            name=self.name,
            classes=self.classes,
            image_ids=tuple(self.image_ids[image] for image in images),
            rows=tuple(self.rows[image] for image in images),
            dim=self.dim,
            dtype=self.dtype,
            shard_images=1,
            settings=self.settings,
        )

    def shard_path(self, shard: int) -> Path:
        """Return the path of a shard, written or not."""
        return self.folder / f"shard-{shard:05d}.h5"

    def pending(self, part: tuple[int, int] = WHOLE) -> list[int]:
        """Return the shards still to be written; those damaged or made from other images are to be written again.

        Args:
            part: (i, n): look only at every n-th shard, beginning with the i-th.

        Raises:
            InputError: a shard belongs to another cache.
        """
        return [shard for shard in range(self.num_shards)[part[0] :: part[1]] if not self._is_complete(shard)]

    def write_shard(self, shard: int, regions: Sequence[RegionSet]) -> None:
        """Write the regions of all images of a shard, in image order, with features.

        Raises:
            InputError: the disk is full, a region is not what it has to be (see `check_regions`), or the manifest was
                removed or replaced meanwhile; the shards written before are intact.
            ValueError: the regions are not those that were planned.
        """
        expected = [(self.image_ids[i], self.rows[i]) for i in self.images_of(shard)]
        found = [(region.image_id, len(region)) for region in regions]
        if found != expected:
            raise ValueError(f"shard {shard} was planned with (image, rows) {expected}, got {found}")
        arrays = ShardArrays.from_regions(regions, self.dtype)
        self._check(shard, arrays, self.name)
        if not self._is_begun():
            raise InputError(
                f"{self.folder / MANIFEST} was removed while the cache was made; run the same command again"
            )
        digests = self.image_digests and [self.image_digests[i] for i in self.images_of(shard)]
        write_shard(self.shard_path(shard), arrays, self._shard_identity(shard), self._sources_of(shard), digests)

    def read_shard(self, shard: int) -> Shard:
        """Open a shard.

        Raises:
            InputError: the shard is missing, damaged or not this one, or holds what no cache may hold.
        """
        found = read_shard(self.shard_path(shard), self._shard_identity(shard))
        # Once is enough for a file that nobody writes to: a training goes over all shards several times.
        if self._checked.get(shard) != found.version:
            self._check(shard, found.arrays, str(self.shard_path(shard)))
            self._checked[shard] = found.version
        return found

    @functools.cached_property
    def _checked(self) -> dict[int, tuple[int, ...]]:
        """The version of the file of every shard that `_check` accepted."""
        return {}

    def _check(self, shard: int, arrays: ShardArrays, where: str) -> None:
        """Check the arrays of a shard; `where` begins the message."""
        images = self.images_of(shard)
        rows = [self.rows[image] for image in images]
        check_layout(
            arrays,
            num_images=len(images),
            num_rows=sum(rows),
            dim=self.dim,
            num_classes=len(self.classes),
            dtype=self.dtype,
            where=where,
        )
        if arrays.image_start[0] != 0 or np.diff(arrays.image_start).tolist() != rows:
            raise InputError(
                f"{where} does not hold the regions that {MANIFEST} lists; "
                "delete it and run the stage that writes it again"
            )
        regions = arrays.of_images(range(len(images)))
        check_regions(regions, self.image_ids[images.start : images.stop], len(self.classes), where)

    def _is_complete(self, shard: int) -> bool:
        if not self.shard_path(shard).exists():
            return False
        try:
            found = self.read_shard(shard)
        except MixedCacheError:
            raise
        except InputError:
            return False
        return not self.sources or found.sources == self._sources_of(shard)

    def _sources_of(self, shard: int) -> tuple[str, ...]:
        return tuple(self.sources[i] for i in self.images_of(shard))

    def _shard_identity(self, shard: int) -> dict[str, Any]:
        return {"cache": self.fingerprint, "shard": shard}

    def _identity(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "classes": list(self.classes),
            "image_ids": list(self.image_ids),
            "rows": list(self.rows),
            "dim": self.dim,
            "dtype": self.dtype,
            "shard_images": self.shard_images,
            "settings": self.settings,
        }

    def begin(self) -> None:
        """Write the manifest, or check that the folder holds this very plan.

        Raises:
            InputError: the folder holds a cache made with other settings, naming the first that differs.
        """
        if not self._is_begun():
            content = {
                "kind": "feature cache",
                "fingerprint": self.fingerprint,
                **self._identity(),
                "provenance": provenance(),
            }
            write_text(self.folder / MANIFEST, json.dumps(content, indent=1))

    def _is_begun(self) -> bool:
        """Return whether the folder holds the manifest of this plan; InputError if it is that of another."""
        if not (self.folder / MANIFEST).exists():
            return False
        found = read_plan(self.folder)._identity()
        remedy = UPDATE if _without_data(found) == _without_data(self._identity()) else REMEDY
        check_same(self.folder, found, self._identity(), remedy)
        return True

    def holds_another(self) -> bool:
        """Return whether the folder holds anything that is not of this plan, or a manifest that cannot be read."""
        try:
            self._is_begun()
            self.pending()
        except InputError:
            return True
        return False

    def updates(self, aside: CachePlan) -> bool:
        """Return whether the folder holds a cache that differs from this plan in images, boxes or classes alone.

        Args:
            aside: the same plan in the folder where the new cache is made; if it is begun, an earlier call was stopped.
        """
        if (self.folder / MANIFEST).exists():
            found, wanted = read_plan(self.folder)._identity(), self._identity()
            if found != wanted and _without_data(found) == _without_data(wanted):
                say_again(self.folder, found, wanted)
                return True
            return False
        return (aside.folder / MANIFEST).exists() and not aside.holds_another()

    def move_to(self, folder: str | Path) -> CachePlan:
        """Put this cache, which is complete, in the place of one that `folder` may hold, and return its plan there.

        The manifest goes first and comes last, on disk too, so that nobody reads a mixture of the two.
        """
        moved = replace(self, folder=Path(folder))
        if moved.folder != self.folder:
            (moved.folder / MANIFEST).unlink(missing_ok=True)
            sync_folder(moved.folder)
            self._move_shards(moved, range(self.num_shards))
        return moved

    def _move_shards(self, moved: CachePlan, shards: Iterable[int]) -> None:
        """Move what `move_to` moves after the manifest is gone; `shards` are those that are still here."""
        for shard in shards:
            os.replace(self.shard_path(shard), moved.shard_path(shard))
        wanted = {moved.shard_path(shard) for shard in range(self.num_shards)}
        for path in {*moved.folder.glob(SHARDS)} - wanted:
            path.unlink()
        sync_folder(moved.folder)
        os.replace(self.folder / MANIFEST, moved.folder / MANIFEST)
        self.folder.rmdir()
        sync_folder(moved.folder)

    def end_move(self, moved: CachePlan) -> None:
        """End a `move_to` of this cache that was stopped, if one was: all its shards are here or there already."""
        if (moved.folder / MANIFEST).exists():
            with contextlib.suppress(OSError):  # it is not there, or holds something
                self.folder.rmdir()
        elif (self.folder / MANIFEST).exists() and not self.holds_another():
            here = [shard for shard in range(self.num_shards) if self.shard_path(shard).exists()]
            if all(moved._holds(shard) for shard in {*range(self.num_shards)}.difference(here)):
                self._move_shards(moved, here)

    def _holds(self, shard: int) -> bool:
        """Return whether a shard of this plan is in its place."""
        with contextlib.suppress(InputError):
            self.read_shard(shard)
            return True
        return False


def _without_data(identity: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a cache besides images, boxes and labels."""
    return {key: value for key, value in identity.items() if key not in ("image_ids", "rows", "classes")}


def read_plan(folder: str | Path) -> CachePlan:
    """Return the plan recorded in a cache folder.

    Raises:
        InputError: the folder is not a feature cache, or one of another schema.
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise InputError(f"{folder} is not a feature cache: it has no {MANIFEST}; run the extract stage first")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        check_json_schema(manifest, {"schema": content["schema"], **content}, "feature cache", SCHEMA)
        plan = CachePlan(
            folder=folder,
            name=content["name"],
            classes=tuple(content["classes"]),
            image_ids=tuple(content["image_ids"]),
            rows=tuple(content["rows"]),
            dim=content["dim"],
            dtype=content["dtype"],
            shard_images=content["shard_images"],
            settings=content["settings"],
        )
        # It covers all that is read here, and shards have it too.
        if content["fingerprint"] != plan.fingerprint:
            raise ValueError("it was changed since it was written")
        return plan
    except InputError:
        raise
    except READ_ERRORS as error:
        raise InputError(
            f"{manifest} is damaged ({error}); delete the folder and run the extract stage again"
        ) from error


def plan_cache(
    folder: str | Path,
    *,
    name: str,
    classes: Sequence[str],
    image_ids: Sequence[str],
    rows: Sequence[int],
    settings: dict[str, Any],
    dim: int,
    sources: Sequence[str],
    dtype: str = "float32",
    shard_images: int = 20,
    overwrite: bool = False,
    update: bool = False,
    image_digests: Sequence[str] = (),
) -> CachePlan:
    """Begin a feature cache, or go on with one begun before.

    Args:
        folder: folder of the new cache; made if needed.
        name: name of the image set.
        classes: K class names.
        image_ids: one per image.
        rows: number of regions of every image, ground truth included.
        settings: JSON-able, everything that decides the features' values.
        dim: D.
        sources: per image, a digest of what its rows are made from.
        dtype: `float32` or `float16`.
        shard_images: images per shard; a shard is what an interruption can lose.
        overwrite: a cache made with other settings is to be replaced. The new one is made in a folder beside it,
            `<folder>.new`; `CachePlan.move_to` replaces the old one when the new one is complete.
        update: the same for a cache of other images, boxes or classes that was made with the same settings.
        image_digests: per image, a digest of its file, where there is one.

    Raises:
        InputError: the folder holds another cache, and neither `overwrite` nor `update` allows to replace it.
    """
    plan = CachePlan(
        folder=Path(folder),
        name=name,
        classes=tuple(classes),
        image_ids=tuple(image_ids),
        rows=tuple(int(n) for n in rows),
        dim=int(dim),
        dtype=dtype,
        shard_images=int(shard_images),
        settings=json.loads(json.dumps(settings)),
        sources=tuple(sources),
        image_digests=tuple(image_digests),
    )
    aside = replace(plan, folder=plan.folder.with_name(f"{plan.folder.name}.new"))
    if update or overwrite:
        aside.end_move(plan)
    if (update and plan.updates(aside)) or (overwrite and plan.holds_another()):
        plan = aside
        if plan.holds_another():  # begun with yet other settings
            for path in [plan.folder / MANIFEST, *plan.folder.glob(SHARDS)]:
                path.unlink(missing_ok=True)
    plan.begin()
    return plan
