"""The feature cache: every region of an image set with its features, in shards, opened as one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import fingerprint
from rcnn_svm.cache.blocks import Block
from rcnn_svm.cache.checks import check_layout, check_regions
from rcnn_svm.cache.plan import CachePlan, read_plan
from rcnn_svm.cache.regions import RegionSet, keys_of
from rcnn_svm.cache.rows import StoredRows
from rcnn_svm.cache.shards import Shard, ShardArrays
from rcnn_svm.errors import InputError
from rcnn_svm.notebook import html_table
from rcnn_svm.parameters import plain
from rcnn_svm.progress import progress_bar
from rcnn_svm.words import names_in_words, spread_in_words


class FeatureCache:
    """Regions and features of an image set, read at the speed of memory.

    Made by `FeatureCache.open` from a folder or by `FeatureCache.from_arrays` from arrays in memory.

    Attributes:
        name: name of the image set.
        classes: K class names.
        image_ids: I identifiers.
        image_start: (I + 1,) int64; rows `image_start[i]:image_start[i + 1]` of the whole are image i's.
        dim: D.
        settings: what made the features.

    Examples:
        Two images with one dog each; the first has two proposals, the second one.

        >>> import numpy as np
        >>> from rcnn_svm import FeatureCache
        >>> cache = FeatureCache.from_arrays(
        ...     features=np.arange(10).reshape(5, 2),
        ...     image_start=[0, 3, 5],
        ...     boxes=np.tile([0, 0, 9, 9], (5, 1)),
        ...     gt=[True, False, False, True, False],
        ...     label=[1, 0, 0, 1, 0],
        ...     overlap=[[1], [0.4], [0], [1], [0.2]],
        ...     classes=["dog"],
        ... )
        >>> cache.num_images, cache.num_rows, cache.dim
        (2, 5, 2)
        >>> cache.keys([2, 4])  # image and row of the third and of the last region
        array([[0, 2],
               [1, 1]])
        >>> cache.gather([2, 4])
        array([[4., 5.],
               [8., 9.]], dtype=float32)
    """

    def __init__(
        self,
        plan: CachePlan,
        load: Callable[[int], Shard],
        shards_mapped: int = 1,
        base: FeatureCache | None = None,
    ):
        self._plan = plan
        self._base = base
        # Only the shards in use are open: memory and open files stay the same however many there are.
        self._shard = functools.lru_cache(maxsize=shards_mapped)(load)
        self.name = plan.name
        self.classes = plan.classes
        self.image_ids = plan.image_ids
        self.dim = plan.dim
        self.settings = plan.settings
        self.image_start = np.concatenate([[0], np.cumsum(plan.rows)]).astype(np.int64)

    @classmethod
    def open(cls, folder: str | Path, *, shards_mapped: int = 1) -> FeatureCache:
        """Open a complete cache folder.

        Args:
            folder: folder of the cache.
            shards_mapped: shards to keep open, the ones used last; one is enough to go through it in order.

        Raises:
            InputError: the folder is no cache, not complete, damaged, or a mixture of several caches.
        """
        plan = read_plan(folder)
        missing = [shard for shard in range(plan.num_shards) if not plan.shard_path(shard).exists()]
        if missing:
            raise InputError(
                f"{folder} is not complete: {len(missing)} of {plan.num_shards} shards are missing "
                f"(the first is {plan.shard_path(missing[0]).name}); run the extract stage again to finish it"
            )
        cache = cls(plan, plan.read_shard, shards_mapped)
        for shard in range(plan.num_shards):
            cache._shard(shard)
        return cache

    @classmethod
    def from_arrays(
        cls,
        *,
        features: np.ndarray,
        image_start: np.ndarray,
        boxes: np.ndarray,
        gt: np.ndarray,
        label: np.ndarray,
        overlap: np.ndarray,
        classes: Sequence[str],
        image_ids: Sequence[str] | None = None,
        image_size: np.ndarray | None = None,
        difficult: np.ndarray | None = None,
        settings: dict[str, Any] | None = None,
        name: str = "arrays",
    ) -> FeatureCache:
        """Return a cache over arrays in memory; nothing is copied that has the right type already.

        Args:
            features: (N, D) float32.
            image_start: (I + 1,) int; rows `image_start[i]:image_start[i + 1]` belong to image i.
            boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
            gt: (N,) bool; in every image these rows come first.
            label: (N,) int, class index + 1 for ground-truth rows, else 0.
            overlap: (N, K) float32, largest IoU with any ground-truth box of each class, 1 for an object's own.
            classes: K names.
            image_ids: I names; the image numbers where not given.
            image_size: (I, 2) int, height and width; the extent of the boxes where not given.
            difficult: (N,) bool; none where not given.
            settings: what made the features, for provenance.
            name: name of the image set.

        Raises:
            InputError: the arrays do not fit together, or a region is not what it has to be (see `check_regions`).
        """
        features, boxes, image_start = np.asarray(features), np.asarray(boxes), np.asarray(image_start, np.int64)
        num_images, num_rows = len(image_start) - 1, len(features)
        arrays = ShardArrays(
            features=np.ascontiguousarray(features, np.float32),
            boxes=np.asarray(boxes, np.float32),
            gt=np.asarray(gt, bool),
            label=np.asarray(label, np.int32),
            difficult=np.zeros(num_rows, bool) if difficult is None else np.asarray(difficult, bool),
            overlap=np.asarray(overlap, np.float32),
            image_start=image_start,
            image_size=(_extent(boxes, image_start) if image_size is None else np.asarray(image_size, np.int32)),
        )
        if image_start[0] != 0 or image_start[-1] != num_rows or (np.diff(image_start) < 0).any():
            raise InputError(f"image_start must rise from 0 to the {num_rows} rows of features")
        for key, array in arrays.items():
            wanted = {"image_start": num_images + 1, "image_size": num_images}.get(key, num_rows)
            if len(array) != wanted:
                raise InputError(f"{key} has {len(array)} rows, expected {wanted} like the other arrays")
        if arrays.overlap.ndim == 2 and arrays.overlap.shape[1] != len(classes):
            raise InputError(f"overlap has {arrays.overlap.shape[1]} columns for {len(classes)} classes")
        classes = tuple(map(plain, classes))  # a digest of text of numpy is another
        image_ids = tuple(map(str, range(num_images)) if image_ids is None else map(plain, image_ids))
        if len(image_ids) != num_images:
            raise InputError(f"there are {len(image_ids)} image_ids for {num_images} images")
        check_layout(
            arrays,
            num_images=num_images,
            num_rows=num_rows,
            dim=features.shape[1] if features.ndim == 2 else 0,
            num_classes=len(classes),
            dtype="float32",
            where=name,
        )
        check_regions(arrays, image_ids, len(classes), name)
        plan = CachePlan(
            folder=Path(),
            name=name,
            classes=classes,
            image_ids=image_ids,
            rows=tuple(np.diff(image_start).tolist()),
            dim=features.shape[1],
            dtype="float32",
            shard_images=max(num_images, 1),
            settings=settings or {"source": "arrays"},
        )
        return cls(plan, lambda shard: Shard(arrays))

    def subset(self, images: Sequence[int]) -> FeatureCache:
        """Return a cache of some of the images, in the order given; features stay where they are.

        Args:
            images: indices, each at most once.

        Raises:
            InputError: an index that does not exist, or twice the same.
        """
        images = [int(image) for image in images]
        wrong = next((image for image in images if not 0 <= image < self.num_images), None)
        if wrong is not None or len(set(images)) < len(images):
            what = "the same image twice" if wrong is None else f"image {wrong}"
            raise InputError(
                f"a subset of {self.name} names {what}; it must name different ones of 0 to {self.num_images - 1}"
            )
        plan = self._plan.of_images(images)

        def load(number: int) -> Shard:
            number, local = self._plan.place_of(images[number])
            return self._shard(number).of_image(local)

        return FeatureCache(plan, load)

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any setting, stored feature, box or label."""
        if self._base is not None:
            return fingerprint([self._base.fingerprint, self.settings])
        digests = [self._shard(number).digest() for number in range(self._plan.num_shards)]
        return fingerprint([self._plan.fingerprint, digests])

    @property
    def num_images(self) -> int:
        """I, the number of images."""
        return len(self.image_ids)

    @property
    def num_rows(self) -> int:
        """N, the number of regions of all images."""
        return int(self.image_start[-1])

    @property
    def dtype(self) -> str:
        """How features are stored, `float32` or `float16`."""
        return self._plan.dtype

    def __repr__(self) -> str:
        return (
            f"FeatureCache({plain(self.name)!r}, {self.num_images} images, {self.num_rows} rows, "
            f"{self.dim}-d, {len(self.classes)} classes)"
        )

    def _repr_html_(self) -> str:
        """Return what is known without reading a region, for a notebook."""
        counts = np.diff(self.image_start)
        facts = [
            ("images", f"{self.num_images:,}"),
            ("regions", f"{self.num_rows:,}"),
            ("regions of an image", spread_in_words(counts)),
            ("classes", names_in_words(self.classes, 20)),
            ("features", f"{self.dim}-d {self.dtype}"),
        ]
        return html_table(f"FeatureCache {self.name}", (), facts)

    def blocks(self, max_bytes: int | None = None) -> Iterator[Block]:
        """Go through all images in their order, some consecutive ones at a time.

        Args:
            max_bytes: bytes of float32 features a block may hold; a single larger image makes a block of its own.
                Blocks end where the storage does, a shard at the latest; they are whole shards where None.
        """
        for shard in range(self._plan.num_shards):
            images = self._plan.images_of(shard)
            if max_bytes is None:
                yield self._block(images)
                continue
            start, first = self.image_start[images.start : images.stop + 1], 0
            while first < len(images):
                fitting = np.searchsorted(start, start[first] + max_bytes // (4 * self.dim), side="right") - 1
                last = max(first + 1, int(fitting))
                yield self._block(images[first:last])
                first = last

    def block(self, image: int) -> Block:
        """Return the regions of one image; unlike `regions`, it reads features when they are asked for."""
        return self._block(range(image, image + 1))

    def _block(self, images: range) -> Block:
        """Return consecutive images of one shard."""
        number, first = self._plan.place_of(images.start)
        shard = self._shard(number)
        shard.check()
        arrays = shard.arrays.of_images(range(first, first + len(images)))
        return Block(
            images=images,
            first_region=int(self.image_start[images.start]),
            image_start=arrays.image_start,
            boxes=arrays.boxes,
            gt=arrays.gt,
            label=arrays.label,
            difficult=arrays.difficult,
            overlap=arrays.overlap,
            image_size=arrays.image_size,
            stored=arrays.features,
            transform=shard.transform,
        )

    def regions(self, index: int) -> RegionSet:
        """Return the regions of image `index`; arrays are read-only views wherever storage allows."""
        block = self.block(index)
        height, width = block.image_size[0].tolist()
        return RegionSet(
            image_id=self.image_ids[index],
            image_size=(height, width),
            boxes=block.boxes,
            gt=block.gt,
            label=block.label,
            difficult=block.difficult,
            overlap=block.overlap,
            features=block.features(),
        )

    def keys(self, regions: np.ndarray) -> np.ndarray:
        """Return (n, 2) int64, image and row within the image of regions (n,) int, counted over all images."""
        return keys_of(regions, self.image_start)

    def gather(self, regions: np.ndarray, scale: float | np.float32 = 1.0) -> np.ndarray:
        """Return the features of some regions; every shard that holds one of them is read once.

        Args:
            regions: (n,) int, numbers of regions over all images, in any order; the same may come several times.
            scale: factor for the features.

        Returns:
            (n, D) float32, in the order of `regions`.

        Raises:
            InputError: a region does not exist.
        """
        regions, factor = np.asarray(regions, np.int64), np.float32(scale)
        rising = (regions[:-1] <= regions[1:]).all()
        order = None if rising else np.argsort(regions, kind="stable")
        ordered = regions if order is None else regions[order]
        if len(ordered) and not 0 <= ordered[0] <= ordered[-1] < self.num_rows:
            raise InputError(
                f"regions {ordered[0]} to {ordered[-1]} are asked for, {self.name} has 0 to {self.num_rows - 1}"
            )
        gathered = np.empty((len(regions), self.dim), np.float32)
        shards = [self._plan.images_of(number) for number in range(self._plan.num_shards)]
        cuts = np.searchsorted(ordered, [self.image_start[images.start] for images in shards] + [self.num_rows])
        with progress_bar(self.num_images, f"gather {self.name}", "image") as bar:
            for images, first, last in zip(shards, cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
                if first < last:
                    block = self._block(images)
                    features = block.features(ordered[first:last] - block.first_region)
                    if order is None:
                        np.multiply(features, factor, out=gathered[first:last])
                    else:
                        gathered[order[first:last]] = features * factor
                bar.update(len(images))
        return gathered

    def derived(
        self, transform: Callable[[np.ndarray], np.ndarray], dim: int, settings: dict[str, Any]
    ) -> FeatureCache:
        """Return a cache of the same regions, whose features are computed from these whenever they are read.

        Rows that nobody asks for are not computed.

        Args:
            transform: (n, S) float32 or float16 as stored -> (n, D) float32, each row for itself.
            dim: D.
            settings: JSON-able, everything that decides the values of the new features.

        Source: `rcnn_train.m` and `rcnn_test.m`, which apply `rcnn_pool5_to_fcX.m` to cached pool5 features.
        """
        plan = replace(self._plan, dim=dim, dtype="float32", settings=settings)
        return FeatureCache(plan, lambda number: self._shard(number).derived(transform), base=self)

    def check_finite(self, regions: Sequence[int] | np.ndarray, values: np.ndarray) -> None:
        """Check features by a number that every row has anyway, such as its norm or score.

        Args:
            regions: (n,) int, regions counted over all images.
            values: (n,) float, made of all features of a region each, so that one that is not finite shows.

        Raises:
            InputError: features are not finite; the first such region is named by image and row.
        """
        finite = np.isfinite(values)
        if not finite.all():
            image, row = self.keys(np.array([regions[int(finite.argmin())]]))[0].tolist()
            raise InputError(
                f"row {row} of image {self.image_ids[image]} of {self.name} has features that are not finite, or too "
                "large for single precision; look for damaged weights and extract them again"
            )

    def verify(self) -> list[str]:
        """Return one sentence for everything that is wrong with the stored data; none when all is well.

        Reads every byte.
        """
        if self._base is not None:
            return self._base.verify()
        problems = []
        for number in range(self._plan.num_shards):
            shard = self._shard(number)
            where = self._plan.shard_path(number).name
            try:
                shard.check()
                bad = sum(int((~np.isfinite(part).all(axis=1)).sum()) for part in _parts(shard.arrays.features))
                if shard.checksum is not None and shard.arrays.checksum() != shard.checksum:
                    problems.append(f"{where}: the content does not match its checksum; delete and extract it again")
            except InputError as error:
                problems.append(str(error))
                continue
            if bad:
                problems.append(f"{where}: {bad} of {len(shard.arrays.features)} feature rows are not finite")
        return problems


def _parts(rows: np.ndarray | StoredRows) -> Iterable[np.ndarray]:
    """Return all rows, some at a time where they are in a file."""
    return rows.parts() if isinstance(rows, StoredRows) else [rows]


def _extent(boxes: np.ndarray, image_start: np.ndarray) -> np.ndarray:
    """Return (height, width) that just holds the boxes of every image."""
    size = np.zeros((len(image_start) - 1, 2), np.int32)
    for i in range(len(size)):
        corner = boxes[image_start[i] : image_start[i + 1], 2:]
        if len(corner):
            size[i] = np.ceil(corner.max(axis=0))[::-1] + 1
    return size
