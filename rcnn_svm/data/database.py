"""An image set with its classes and ground truth, wherever it came from."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rcnn_svm.artefacts.files import array_digest, file_digest, file_name, fingerprint
from rcnn_svm.data.images import image_size, load_image
from rcnn_svm.data.mended import Notes
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain


@dataclass(frozen=True)
class Annotation:
    """The objects of one image.

    Attributes:
        image_size: (height, width), pixels, as the annotation states it.
        boxes: (M, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        classes: (M,) int64, indices into `ImageDatabase.classes`.
        difficult: (M,) bool; such an object counts neither way in the VOC evaluation.
        truncated: (M,) bool; the object reaches beyond its box.
    """

    image_size: tuple[int, int]
    boxes: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray
    truncated: np.ndarray


@dataclass(frozen=True)
class CocoIds:
    """The ids that a COCO file has for its images and classes, mostly numbers; results must have the same.

    Attributes:
        images: COCO's image id by image id, all images of the file.
        categories: COCO's category id by class name, all categories of the file.
    """

    images: Mapping[str, int | str]
    categories: Mapping[str, int | str]


class ImageDatabase:
    """Images with annotations: the `imdb` and `roidb` of the original in one object.

    Args:
        name: short name used in file names, such as `voc_2007_trainval`; what cannot stand there is written otherwise.
        classes: class names; their order defines the class indices.
        image_ids: one identifier per image, unique, in evaluation order.
        image_path: maps an image id to the path of its image file.
        read_annotation: maps an image id to its `Annotation`; called once per image, when first needed.
        count_names: maps image ids to what is read for them, in words such as `9 annotation files`, and to how
            often every class name occurs there, left-out classes included; it explains a class without ground
            truth. By default it counts the annotations.
        coco_ids: the numbers of images and classes, where a COCO file gave them.
        notes: counts what `read_annotation` mends or leaves out, besides what was when the set was opened.
        ignore_exif: the boxes are of the pixels as they are stored, and images are read so (see `load_image`).

    Raises:
        InputError: no classes, no images or an id listed twice.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        image_ids: Sequence[str],
        image_path: Callable[[str], Path],
        read_annotation: Callable[[str], Annotation],
        count_names: Callable[[Sequence[str]], tuple[str, Counter[str]]] | None = None,
        coco_ids: CocoIds | None = None,
        notes: Notes | None = None,
        ignore_exif: bool = False,
    ):
        self.name = file_name(name)
        self.classes = tuple(map(plain, classes))
        self.image_ids = tuple(map(plain, image_ids))
        self.coco_ids = coco_ids
        self.notes = Notes() if notes is None else notes
        self.ignore_exif = ignore_exif
        self._image_path = image_path
        self._read_annotation = functools.cache(read_annotation)
        self._count_names = count_names or self._count_annotations
        self._image_digests = functools.cache(self._digest_image)
        if not self.classes:
            raise InputError(f"image set {name} has no classes")
        if not self.image_ids:
            raise InputError(f"image set {name} has no images")
        seen: set[str] = set()
        for image_id in self.image_ids:
            if image_id in seen:
                raise InputError(f"image set {name} lists image {image_id} more than once; list each image once")
            seen.add(image_id)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __repr__(self) -> str:
        return f"ImageDatabase({plain(self.name)!r}, {len(self)} images, {len(self.classes)} classes)"

    def image_path(self, index: int) -> Path:
        """Return the path of image `index`."""
        return Path(self._image_path(self.image_ids[index]))

    def annotation(self, index: int) -> Annotation:
        """Return the ground truth of image `index`."""
        return self._read_annotation(self.image_ids[index])

    def load_image(self, index: int) -> np.ndarray:
        """Return image `index`, (H, W, 3) uint8 RGB.

        Raises:
            InputError: the file is missing or damaged, or its size is not the one its annotation states.
        """
        image = load_image(self.image_path(index), ignore_exif=self.ignore_exif)
        self.check_size(index, image.shape[:2])
        return image

    def check_size(self, index: int, found: tuple[int, int]) -> None:
        """Check that image `index` has the size that its annotation states.

        Args:
            index: the image.
            found: (height, width) of the image as it is read, pixels.

        Raises:
            InputError: it has another size, or the annotation cannot be read.
        """
        stated = self.annotation(index).image_size
        if found == stated:
            return
        path = self.image_path(index)
        sizes = [f"{width} x {height}" for height, width in (found, stated)]
        if stated != image_size(path, ignore_exif=not self.ignore_exif):
            raise InputError(
                f"{path} is {sizes[0]} pixels but its annotation says {sizes[1]}; its boxes cannot be trusted, so "
                "correct the annotation or the image"
            )
        if self.ignore_exif:
            raise InputError(
                f"{path} is stored with {sizes[0]} pixels, but its annotation says {sizes[1]}, as it is upright: its "
                "EXIF orientation turns it, and the labelling tool did so too; read it without --ignore-exif"
            )
        raise InputError(
            f"{path} is {sizes[0]} pixels upright, but its annotation says {sizes[1]}, as its pixels are stored: its "
            "EXIF orientation turns it, and the labelling tool did not; read the images with --ignore-exif, remove "
            "the orientation from the file (as `exiftool -Orientation= FILE` does), or label the upright image"
        )

    def image_digest(self, index: int) -> str:
        """Return a digest of the bytes of an image file and of how they are read: what proposals depend on.

        Raises:
            InputError: the file cannot be read.
        """
        return self._image_digests(index)

    def source_digest(self, index: int) -> str:
        """Return a digest of an image file and its ground truth: what rows of a feature cache depend on.

        Raises:
            InputError: the file or its annotation cannot be read.
        """
        truth = self.annotation(index)
        labels = array_digest(truth.boxes, truth.classes, truth.difficult)
        return fingerprint([self.image_digest(index), list(truth.image_size), labels])

    def digest(self) -> str:
        """Return 16 hex digits that change with any image file or its ground truth; this reads every file.

        Raises:
            InputError: a file or its annotation cannot be read.
        """
        return fingerprint([self.source_digest(index) for index in range(len(self))])

    def count_names(self) -> tuple[str, Counter[str]]:
        """Return what the ground truth is read from, in words, and how often every class name occurs there."""
        return self._count_names(self.image_ids)

    def subset(self, image_ids: Sequence[str], name: str | None = None) -> ImageDatabase:
        """Return the database restricted to `image_ids`, in their order.

        Args:
            image_ids: ids of the images to keep.
            name: name of the new database; by default the old one's with a digest of the ids.

        Raises:
            InputError: an id is not in this database.
        """
        known = set(self.image_ids)
        for image_id in image_ids:
            if image_id not in known:
                raise InputError(f"image {image_id} is not in {self.name} ({len(self)} images)")
        return ImageDatabase(
            name or f"{self.name}_{fingerprint(list(image_ids))[:8]}",
            self.classes,
            image_ids,
            self._image_path,
            self._read_annotation,
            self._count_names,
            self.coco_ids,
            self.notes,
            self.ignore_exif,
        )

    def _count_annotations(self, image_ids: Sequence[str]) -> tuple[str, Counter[str]]:
        found = (self._read_annotation(image_id).classes for image_id in image_ids)
        names = Counter(self.classes[index] for classes in found for index in classes)
        return f"the annotations of {len(image_ids)} images", names

    def _digest_image(self, index: int) -> str:
        path = self.image_path(index)
        try:
            digest = file_digest(path)[:16]
        except FileNotFoundError:
            raise InputError(f"image file {path} does not exist; correct the path or restore the file") from None
        except OSError as error:
            raise InputError(f"image file {path} cannot be read: {error.strerror}") from error
        return fingerprint([digest, "as stored"]) if self.ignore_exif else digest
