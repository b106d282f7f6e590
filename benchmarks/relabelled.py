"""Feature caches in which fewer objects were ever labelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rcnn_svm.boxes import class_overlaps
from rcnn_svm.cache import FeatureCache


def relabelled(
    cache: FeatureCache, images: Iterable[int], labels: Iterable[np.ndarray], classes: Sequence[str], name: str
) -> FeatureCache:
    """Return some images of a cache in memory, with other labels.

    Args:
        cache: the regions.
        images: image indices.
        labels: for each of these, the label of every region, (n,) int: 0 for none, class c has c + 1; an object with 0
            was never labelled.
        classes: names of the classes.
        name: name of the image set.
    """
    parts, ids = [], []
    for image, label in zip(images, labels, strict=True):
        found = cache.regions(image)
        kept = ~found.gt | (label > 0)
        boxes, label = found.boxes[kept], label[kept]
        gt = label > 0
        overlap = class_overlaps(boxes, boxes[gt], label[gt] - 1, len(classes))
        parts.append((found.features[kept], boxes, gt, label, found.difficult[kept], overlap, found.image_size))
        ids.append(cache.image_ids[image])
    features, boxes, gt, label, difficult, overlap, sizes = zip(*parts, strict=True)
    joined = {"features": features, "boxes": boxes, "gt": gt, "label": label, "difficult": difficult}
    return FeatureCache.from_arrays(
        **{key: np.concatenate(arrays) for key, arrays in joined.items()},
        overlap=np.concatenate(overlap),
        image_start=np.cumsum([0, *map(len, boxes)]),
        image_size=np.array(sizes),
        image_ids=ids,
        classes=classes,
        settings=cache.settings,
        name=name,
    )
