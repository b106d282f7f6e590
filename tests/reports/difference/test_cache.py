"""Two caches that differ in one thing: it is the first difference, and the setting that decides it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcnn_svm.boxes import class_overlaps
from rcnn_svm.cache import FeatureCache, RegionSet
from rcnn_svm.cache.plan import plan_cache
from rcnn_svm.errors import InputError
from rcnn_svm.reports.difference import Comparison, compare_artefacts
from tests.artefact_kinds import SETTINGS
from tests.toys import flip, stored

CLASSES = ("cat", "dog")


def write(folder: Path, *, dtype: str = "float32", **changed: Any) -> Path:
    """Write a cache of two images; `changed` are values in place of those here."""
    given = {
        "classes": CLASSES,
        "image_ids": ["a", "b"],
        "objects": [[[10, 10, 29, 29], [40, 40, 59, 69]], [[5, 5, 24, 24]]],
        "names": [["cat", "dog"], ["dog"]],
        "difficult": [[False, False], [True]],
        "proposals": [[[12, 10, 31, 29], [0, 0, 9, 9], [41, 40, 60, 69]], [[6, 5, 25, 24], [50, 50, 69, 69]]],
        "features": [np.arange(20.0).reshape(5, 4), np.arange(20.0, 32).reshape(3, 4)],
        "digests": ["file of a", "file of b"],
        "settings": SETTINGS,
        **changed,
    }
    regions = []
    for number, image_id in enumerate(given["image_ids"]):
        objects, proposals = (np.float32(given[name][number]).reshape(-1, 4) for name in ("objects", "proposals"))
        label = np.array([given["classes"].index(name) for name in given["names"][number]], np.int64)
        boxes = np.concatenate([objects, proposals])
        gt = np.arange(len(boxes)) < len(objects)
        regions.append(
            RegionSet(
                image_id=image_id,
                image_size=(80, 90),
                boxes=boxes,
                gt=gt,
                label=np.concatenate([label + 1, np.zeros(len(proposals))]).astype(np.int32),
                difficult=np.concatenate([given["difficult"][number], np.zeros(len(proposals), bool)]),
                overlap=class_overlaps(boxes, objects, label, len(given["classes"])),
                features=np.float32(given["features"][number]),
            )
        )
    plan = plan_cache(
        folder,
        name="toy",
        classes=given["classes"],
        image_ids=given["image_ids"],
        rows=[len(region) for region in regions],
        settings=given["settings"],
        dim=regions[0].features.shape[1],
        sources=given["digests"],
        dtype=dtype,
        shard_images=1,
        image_digests=given["digests"],
    )
    for shard, region in enumerate(regions):
        plan.write_shard(shard, [region])
    return folder


@pytest.fixture
def compare(tmp_path):
    """The comparison of the cache as it stands here with one in which some values are others."""

    def run(**changed: Any) -> Comparison:
        if not (tmp_path / "a").exists():
            write(tmp_path / "a")
        return compare_artefacts(tmp_path / "a", write(tmp_path / f"b{len(list(tmp_path.iterdir()))}", **changed))

    return run


def nudged(row: int, column: int, by: float) -> list[np.ndarray]:
    features = [np.arange(20.0).reshape(5, 4), np.arange(20.0, 32).reshape(3, 4)]
    features[0][row, column] += by
    return features


def settings(**changed: Any) -> dict[str, Any]:
    return {**SETTINGS, **changed}


def test_the_same(compare):
    found = compare()
    assert found.equal and found.first is None and found.explains == ()
    assert {step.equal for step in found.steps} == {True}
    assert "equal: all that was compared is the same" in found.text()


@pytest.mark.parametrize(
    ("changed", "step", "says"),
    [
        ({"image_ids": ["a", "c"]}, "images", "1 only in A (the first is b), 1 only in B (the first is c), 1 in both"),
        ({"digests": ["file of a", "another"]}, "images", "1 image with another file, the first is b"),
        ({"classes": ("dog", "cat")}, "classes", "in another order; the first that differs is number 0, cat in A"),
        (
            {"names": [["dog", "dog"], ["dog"]]},
            "labels",
            "a: object 0 is cat [10 10 29 29] in A, dog [10 10 29 29] in B",
        ),
        (
            {"difficult": [[False, True], [True]]},
            "labels",
            "1 image of 2 with other objects; a: object 1 is dog [40 40 59 69] in A, dog (difficult) [40 40 59 69]",
        ),
        (
            {"proposals": [[[0, 0, 9, 9], [12, 10, 31, 29], [41, 40, 60, 69]], [[6, 5, 25, 24], [50, 50, 69, 69]]]},
            "proposals",
            "1 of them in order only; a: box 0 is [12 10 31 29] in A, [0 0 9 9] in B",
        ),
        ({"features": nudged(3, 2, 0.5)}, "features", "feature 2 of row 3 of image a: 14 in A, 14.5 in B"),
        ({"settings": settings(remark="x")}, "settings", "1 entry, the first is remark none in A, x in B"),
    ],
)
def test_one_thing_is_the_first_difference(compare, changed, step, says):
    found = compare(**changed)
    assert found.first.name == step and says in found.first.says
    assert f"first difference: {step}" in found.text() and max(map(len, found.text().splitlines()[2:])) <= 80
    places = [other.name for other in found.steps].index(step)
    assert all(other.equal for other in found.steps[:places])


def test_boxes_that_one_lacks(compare):
    found = compare(
        proposals=[[[12, 10, 31, 29], [0, 0, 9, 9]], [[6, 5, 25, 24], [50, 50, 69, 69]]],
        features=[np.arange(16.0).reshape(4, 4), np.arange(20.0, 32).reshape(3, 4)],
        settings=settings(proposals={"method": "sliding", "max_boxes": 2, "database": "toy"}),
    )
    assert found.first.name == "proposals"
    assert "a: 3 boxes in A, 2 in B, the first 2 the same" in found.first.says
    assert [setting.path for setting in found.explains] == ["proposals.max_boxes"]
    assert "boxes of an image at most (proposals.max_boxes): 12 in A, 2 in B" in " ".join(found.text().split())
    # Features of the boxes that both have are compared all the same.
    (features,) = [step for step in found.steps if step.name == "features"]
    assert features.equal and features.figures["rows"] == 7


def test_the_size_of_a_difference(compare):
    figures = compare(features=nudged(1, 0, 3.0)).first.figures
    length = np.linalg.norm([4, 5, 6, 7])
    assert (figures["rows"], figures["differing"], figures["largest"]) == (8, 1, 3.0)
    assert figures["relative_largest"] == pytest.approx(3 / length)


def test_another_network(compare):
    backbone = {**SETTINGS["backbone"], "weights_digest": "cd" * 32}
    found = compare(features=nudged(0, 0, 1.0), settings=settings(backbone=backbone))
    assert [setting.path for setting in found.explains] == ["backbone.weights_digest"]
    assert "digest of the network's weights" in found.text()


def test_features_of_another_length(compare):
    found = compare(features=[np.ones((5, 3)), np.ones((3, 3))])
    assert found.first.says == "4 numbers of a region in A, 3 in B"


def test_half_precision_explains_rounding(compare):
    found = compare(features=nudged(0, 1, 1e-3), dtype="float16")
    assert found.first.name == "features" and [setting.path for setting in found.explains] == ["stored"]
    assert found.first.figures["relative_largest"] < 0.01


def test_nothing_in_common(compare):
    found = compare(image_ids=["x", "y"])
    assert found.first.name == "images"
    assert [step.equal for step in found.steps if step.name in ("labels", "features")] == [None, None]


def test_where_the_shards_end_does_not_matter(compare, tmp_path):
    compare()
    both = [stored(FeatureCache.open(tmp_path / "a"), tmp_path / f"s{n}", shard_images=n) for n in (1, 2)]
    found = compare_artefacts(tmp_path / "s1", tmp_path / "s2")
    assert found.equal and both[0].fingerprint != both[1].fingerprint


def test_an_incomplete_or_damaged_cache_is_refused(compare, tmp_path):
    compare()
    b = write(tmp_path / "b", features=nudged(0, 0, 1.0))
    flip(b / "shard-00000.h5", 20)
    with pytest.raises(InputError, match=r"shard-00000\.h5 is damaged"):
        compare_artefacts(tmp_path / "a", b)
    (b / "shard-00000.h5").unlink()
    with pytest.raises(InputError, match="is not complete"):
        compare_artefacts(tmp_path / "a", b)
