"""What no cache may hold: a wrong order, labels, overlaps, types. Each gave a wrong result or a crash, and no word."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache, mean_feature_norm, plan_cache
from rcnn_svm.errors import InputError
from tests.toys import arrays_of, rewrite_shard, stored, toy_cache

# Two images, whose first row is an object each: a cat, then a cow.
ROWS = [3, 2]
GOOD = toy_cache(ROWS, objects=1, dim=2)
WRONG = {
    "an object after a proposal": (
        {"gt": (0, 1), "label": (0, 1), "overlap": ((1, 0, 0), (1, 0, 0))},
        "row 1 of image 0 is an object after a proposal",
    ),
    "a label beyond the classes": ({"label": (4,)}, "row 0 of image 0 has label 4, expected .* 1 to 3, or 0"),
    "a label below 0": ({"label": (1, -1)}, "row 1 of image 0 has label -1"),
    "an object without a label": ({"label": (0,)}, "row 0 of image 0 has label 0 and is an object"),
    "a label without an object": ({"label": (1, 2)}, "row 1 of image 0 has label 2 and is no object"),
    "an object beside itself": ({"overlap": ((0.5, 0, 0),)}, "row 0 .* overlaps its own class by 0.5, expected 1"),
    "an overlap that is no number": (
        {"overlap": ((1, 0, 0), (np.nan, 0, 0))},
        "row 1 of image 0 has overlaps from nan",
    ),
    "an overlap above 1": ({"overlap": ((1, 0, 0), (0, 30, 0))}, "row 1 of image 0 has overlaps from 0.0 to 30.0"),
    "a box that is no number": ({"boxes": ((0, 0, np.inf, 9),)}, "row 0 of image 0 has a box that is not four finite"),
}


def changed(change):
    """Return the arrays of the good cache, whose first rows are as `change` says."""
    arrays = {name: array.copy() for name, array in arrays_of(GOOD).items()}
    for name, rows in change.items():
        arrays[name][: len(rows)] = rows
    return {**arrays, "image_start": GOOD.image_start, "image_size": np.full((2, 2), 10, np.int32)}


@pytest.mark.parametrize(("change", "told"), WRONG.values(), ids=WRONG)
def test_arrays_that_no_cache_may_hold_are_refused(change, told):
    with pytest.raises(InputError, match=f"^arrays: {told}"):
        FeatureCache.from_arrays(**changed(change), classes=GOOD.classes)


def damaged(folder, **arrays):
    """Replace arrays of the only shard of the good cache; nothing else of the file tells that."""
    stored(GOOD, folder)
    rewrite_shard(folder / "shard-00000.h5", **arrays)
    return folder


@pytest.mark.parametrize(("change", "told"), WRONG.values(), ids=WRONG)
def test_files_that_hold_them_are_refused_too(tmp_path, change, told):
    arrays = changed(change)
    damaged(tmp_path, **{name: arrays[name] for name in change})
    with pytest.raises(InputError, match=rf"shard-00000\.h5: {told}"):
        FeatureCache.open(tmp_path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("features", np.zeros((5, 2), np.float16)),
        ("features", np.zeros((5, 3), np.float32)),
        ("features", np.zeros((5, 2), np.int32)),
        ("features", np.zeros((4, 2), np.float32)),
        ("boxes", np.zeros((5, 4))),
        ("overlap", np.zeros((5, 2), np.float32)),
        ("label", np.zeros(5, np.int64)),
        ("gt", np.zeros(5, np.uint8)),
        ("image_size", np.zeros((2, 3), np.int32)),
    ],
)
def test_a_shard_of_other_shapes_or_types_is_refused(tmp_path, name, array):
    """Compiled code read beyond the rows, or took the bytes of one type for another."""
    damaged(tmp_path, **{name: array})
    with pytest.raises(InputError, match=rf"shard-00000\.h5: {name} is {array.dtype} of shape .*, expected"):
        FeatureCache.open(tmp_path)


def test_a_shard_that_holds_them_is_to_be_written_again(tmp_path):
    damaged(tmp_path, label=np.full(5, 9, np.int32))
    plan = plan_cache(
        tmp_path,
        name=GOOD.name,
        classes=GOOD.classes,
        image_ids=GOOD.image_ids,
        rows=ROWS,
        settings=GOOD.settings,
        dim=2,
        sources=[GOOD.fingerprint] * 2,
    )
    assert plan.pending() == [0]


def test_overlaps_in_single_precision_may_miss_one_by_rounding():
    arrays = changed({"overlap": ((1 - 1e-6, 0, 0), (0, 1 + 1e-6, 0))})
    assert FeatureCache.from_arrays(**arrays, classes=GOOD.classes).num_rows == 5


def test_image_ids_are_as_many_as_images():
    with pytest.raises(InputError, match="3 image_ids for 2 images"):
        FeatureCache.from_arrays(**changed({}), classes=GOOD.classes, image_ids=["a", "b", "c"])


def test_a_norm_that_is_not_finite_names_image_and_row():
    features = np.ones((5, 2), np.float32)
    features[4, 1] = np.nan
    with pytest.raises(InputError, match="row 1 of image 1 of toy has features that are not finite"):
        mean_feature_norm(toy_cache(ROWS, features=features), 0)
