"""A joined cache is the cache of all images: the same regions, keys, rows and blocks, read from its parts."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache, as_background, join_caches
from rcnn_svm.errors import InputError
from tests.toys import CLASSES, arrays_of, stored, toy_cache

ROWS = ([3, 0, 5, 4, 2], [6, 1], [2, 7, 3])


@pytest.fixture
def parts(tmp_path):
    """Caches of several shards each, one of them of half precision and one in memory."""
    made = [toy_cache(rows, objects=min(1, number), seed=number) for number, rows in enumerate(ROWS)]
    return [
        stored(made[0], tmp_path / "a", shard_images=2),
        stored(made[1], tmp_path / "b", shard_images=1, dtype="float16"),
        made[2],
    ]


@pytest.fixture
def whole(parts):
    """The same images in one cache of arrays."""
    arrays = [arrays_of(part) for part in parts]
    return FeatureCache.from_arrays(
        **{name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]},
        image_start=np.cumsum([0, *(rows for part in ROWS for rows in part)]),
        classes=CLASSES,
    )


def test_its_regions_are_those_of_its_parts(parts, whole):
    cache = join_caches(parts)
    assert (cache.num_images, cache.num_rows, cache.dim) == (whole.num_images, whole.num_rows, whole.dim)
    np.testing.assert_array_equal(cache.image_start, whole.image_start)
    for name, array in arrays_of(cache).items():
        np.testing.assert_array_equal(array, arrays_of(whole)[name], name)


@pytest.mark.parametrize("max_bytes", [None, 1, 200, 10**6])
def test_its_blocks_go_through_all_images_once(parts, whole, max_bytes):
    blocks = list(join_caches(parts).blocks(max_bytes))
    assert [image for block in blocks for image in block.images] == [*range(whole.num_images)]
    for block in blocks:
        assert block.first_region == whole.image_start[block.images.start]
        rows = slice(block.first_region, block.first_region + len(block))
        np.testing.assert_array_equal(block.features(), whole.gather(np.arange(whole.num_rows)[rows]))


def test_rows_are_gathered_and_keys_told_over_all_parts(parts, whole):
    regions = np.random.default_rng(0).permutation(whole.num_rows)
    np.testing.assert_array_equal(join_caches(parts).gather(regions), whole.gather(regions))
    np.testing.assert_array_equal(join_caches(parts).keys(regions), whole.keys(regions))


def test_a_subset_of_it_is_one_of_the_whole(parts, whole):
    images = [8, 0, 5, 2]
    for name, array in arrays_of(join_caches(parts).subset(images)).items():
        np.testing.assert_array_equal(array, arrays_of(whole.subset(images))[name], name)


def test_what_is_joined_is_joined_again(parts, whole):
    cache = join_caches([join_caches(parts[:2]), parts[2]])
    np.testing.assert_array_equal(arrays_of(cache)["features"], arrays_of(whole)["features"])


def test_ids_of_later_parts_begin_with_their_set(parts):
    ids = join_caches(parts).image_ids
    assert ids[:5] == parts[0].image_ids
    assert ids[5:7] == ("toy/0", "toy/1")


def test_its_fingerprint_changes_with_the_order_and_with_any_part(parts):
    changed = toy_cache(ROWS[2], objects=1, seed=9)
    prints = [join_caches(caches).fingerprint for caches in (parts, parts[::-1], parts[:2], [*parts[:2], changed])]
    assert len({*prints}) == 4
    assert prints[0] == join_caches(parts).fingerprint


@pytest.mark.parametrize(
    ("given", "sentence"), [({"dim": 5}, "5-d features"), ({"classes": ("cat", "dog", "cow")}, "other classes")]
)
def test_what_does_not_go_together_is_refused(parts, given, sentence):
    with pytest.raises(InputError, match=sentence):
        join_caches([parts[0], toy_cache([3], **given)])


def test_all_regions_of_background_are_negatives(parts):
    cache = as_background(parts[0], ("bird", "cat"))
    found, given = arrays_of(cache), arrays_of(parts[0])
    assert cache.classes == ("bird", "cat")
    assert found["overlap"].shape == (14, 2)
    assert not any(found[name].any() for name in ("overlap", "gt", "label", "difficult"))
    for name in ("features", "boxes"):
        np.testing.assert_array_equal(found[name], given[name])


def test_background_may_show_objects_of_other_classes_only(parts):
    assert not arrays_of(as_background(parts[1], ("dog", "bird")))["gt"].any()
    with pytest.raises(InputError, match="row 0 of image 0 is an object of class 'cat'"):
        as_background(parts[1], ("cow", "cat"))
