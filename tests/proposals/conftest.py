"""A small image set on disk."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.data import Annotation, ImageDatabase
from tests.toys import make_scene


@pytest.fixture
def make_database(tmp_path):
    """make_database(sizes, objects=None) writes an image per (height, width) and returns the database.

    `objects` lists per image (class index, x1, y1, x2, y2, difficult).
    """

    def make(sizes, objects=None, name="toys"):
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        ids = [f"{i:03d}" for i in range(len(sizes))]
        for i, (image_id, (height, width)) in enumerate(zip(ids, sizes, strict=True)):
            Image.fromarray(make_scene(height, width, i)).save(folder / f"{image_id}.png")

        def annotation(image_id):
            rows = np.array(objects[int(image_id)] if objects else [], float).reshape(-1, 6)
            return Annotation(
                image_size=sizes[int(image_id)],
                boxes=rows[:, 1:5].astype(np.float32),
                classes=rows[:, 0].astype(np.int64),
                difficult=rows[:, 5].astype(bool),
                truncated=np.zeros(len(rows), bool),
            )

        return ImageDatabase(name, ("cat", "dog", "cow"), ids, lambda i: folder / f"{i}.png", annotation)

    return make
