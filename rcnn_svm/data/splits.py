"""Splitting an image set of one's own into images to train on and images to test on."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.errors import InputError


def split_database(
    database: ImageDatabase,
    test_fraction: float = 0.25,
    seed: int = 0,
    *,
    known: tuple[Collection[str], Collection[str]] = ((), ()),
) -> tuple[ImageDatabase, ImageDatabase]:
    """Split a database by image, each class as evenly as its images allow. Reads every annotation.

    Args:
        database: the images.
        test_fraction: share of the images to test on, in (0, 1).
        seed: another seed, another split; the same one and the same images give the same.
        known: ids of images that were trained on, and of those that were tested on, before others came: they stay.
            Ids of images that are gone may be among them.

    Returns:
        The databases `<name>_train` and `<name>_test`, each in the order of `database`; together they have all its
        images, and both have all its classes.

    Raises:
        InputError: a fraction or seed out of range, a database of one image, or no image left for a side.
    """
    if not 0 < test_fraction < 1:
        raise InputError(f"the share of test images must be between 0 and 1, not {test_fraction}")
    if seed < 0:
        raise InputError(f"the seed of the split is {seed}; it must be 0 or more")
    if len(database) < 2:
        raise InputError(f"image set {database.name} has one image, which cannot be split; add images")
    present = np.zeros((len(database), len(database.classes)), bool)
    for index in range(len(database)):
        present[index, database.annotation(index).classes] = True
    trained, tested = map(set, known)
    side = np.array([0 if i in trained else 1 if i in tested else -1 for i in database.image_ids])
    test = split_images(present, test_fraction, np.random.default_rng(seed), side)
    for name, chosen in (("train", ~test), ("test", test)):
        if not chosen.any():
            raise InputError(
                f"no image of {database.name} is left to {name} on, as those that were are gone and the others keep "
                "their side; add images, or draw all anew with --overwrite"
            )
    ids = np.array(database.image_ids, object)
    train_set, test_set = (
        database.subset(ids[chosen].tolist(), f"{database.name}_{side}")
        for side, chosen in (("train", ~test), ("test", test))
    )
    return train_set, test_set


def split_images(
    present: np.ndarray, test_fraction: float, rng: np.random.Generator, known: np.ndarray | None = None
) -> np.ndarray:
    """Choose test images so that each class is split in proportion, the rarest classes first.

    Args:
        present: (I, K) bool, which classes an image has objects of; I is at least 2.
        test_fraction: share of the images to choose, in (0, 1).
        rng: decides which images of a class.
        known: (I,) int, 0 for an image that is not to be chosen, 1 for one that is, -1 for one to be decided on; all
            of these where None.

    Returns:
        (I,) bool, at least one and not all, unless `known` says so. A class with two images or more has one on either
        side, unless the images of other classes do not allow it; one with a single image has it among those not
        chosen.

    Source: iterative stratification (Sechidis et al., ECML PKDD 2011), where a class wants a fraction of its images
    on each side. Here it is a whole number, at least 1; an image that is the only one of a class is trained on, and a
    class left out moves an image in the end.
    """
    num_images = len(present)
    in_class = present.sum(axis=0)
    wanted = np.clip(np.rint(num_images * test_fraction), 1, num_images - 1)
    wanted = np.array([num_images - wanted, wanted])
    quota = np.where(in_class > 1, np.clip(np.rint(in_class * test_fraction), 1, np.maximum(in_class - 1, 1)), 0)
    needed = np.array([in_class - quota, quota])
    order = rng.permutation(num_images)
    queues = [iter(order[present[order, k]].tolist()) for k in range(present.shape[1])]
    side = np.full(num_images, -1)
    decided = np.full(num_images, -1) if known is None else known

    def assign(image: int, to: int) -> None:
        side[image] = to
        needed[to] -= present[image]
        wanted[to] -= 1

    for image in np.flatnonzero(decided >= 0).tolist():
        assign(image, int(decided[image]))
    for image in order[present[order][:, in_class == 1].any(axis=1)].tolist():
        if side[image] < 0:
            assign(image, 0)
    left = present[side < 0].sum(axis=0)
    while left.any():
        rarest = np.where(left > 0, left, num_images + 1).argmin()
        image = next(i for i in queues[rarest] if side[i] < 0)
        # Among equal needs of the class, the side that lacks more images.
        assign(image, max((0, 1), key=lambda to: (needed[to, rarest], wanted[to])))
        left -= present[image]
    for image in order[side[order] < 0].tolist():
        assign(image, int(wanted[1] > 0))
    free = order[decided[order] < 0]
    while _move_to_missing(side, present, free):
        pass
    if not side.any() and len(free):
        # Every image is the only one of some class; the one that costs least.
        side[min(free, key=lambda image: (in_class[present[image]] == 1).sum())] = 1
    return side == 1


def _move_to_missing(side: np.ndarray, present: np.ndarray, order: np.ndarray) -> bool:
    """Move one of the images in `order`, in place, to a side without a class of several; return whether one could."""
    shared = present.sum(axis=0) > 1
    for to in (0, 1):
        here, there = present[side == to].sum(axis=0), present[side != to].sum(axis=0)
        for k in np.flatnonzero(shared & (here == 0)):
            # None of whose classes would then be missing where it came from; training needs those of one image too.
            free = [i for i in order if present[i, k] and (there[present[i] & (shared | (to == 1))] > 1).all()]
            if free:
                side[free[0]] = to
                return True
    return False
