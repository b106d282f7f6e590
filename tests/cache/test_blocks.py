"""Reading a cache by blocks, by keys and by region numbers: the same values as image after image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.cache import FeatureCache, RegionSet
from rcnn_svm.cache.regions import keys_of
from rcnn_svm.errors import InputError
from tests.toys import stored, toy_cache

COUNTS = (4, 0, 7, 3, 0, 0, 9, 1, 5, 0)
DIM = 6
MATRIX = np.random.default_rng(9).standard_normal((DIM, 3)).astype(np.float32)
KINDS = ("arrays", "float32", "float16", "derived from float32", "derived from float16", "subset", "subset of derived")


def computed(stored: np.ndarray) -> np.ndarray:
    """Features of another layer, every row for itself."""
    rows = [np.einsum("s,sd->d", row.astype(np.float32), MATRIX) for row in stored]
    return np.array(rows, np.float32).reshape(-1, 3)


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> dict[str, FeatureCache]:
    """The same regions as every kind of cache; those on disk have three images a shard."""
    folder = tmp_path_factory.mktemp("caches")
    rng = np.random.default_rng(0)
    arrays = {
        "features": rng.standard_normal((sum(COUNTS), DIM)),
        "boxes": rng.random((sum(COUNTS), 4)),
        "image_size": rng.integers(20, 90, (len(COUNTS), 2)),
        "difficult": np.isin(np.arange(sum(COUNTS)), [4, 14, 24]),
    }
    found = {"arrays": toy_cache(COUNTS, classes=("cat", "dog"), objects=1, name="arrays", **arrays)}
    for dtype in ("float32", "float16"):
        found[dtype] = stored(found["arrays"], folder / dtype, shard_images=3, dtype=dtype)
        found[f"derived from {dtype}"] = found[dtype].derived(computed, 3, {"layer": "toy"})
    found["subset"] = found["float16"].subset([6, 0, 1, 3, 2])
    found["subset of derived"] = found["derived from float16"].subset([6, 0, 1, 3, 2])
    return found


@pytest.fixture(params=KINDS)
def cache(request, caches) -> FeatureCache:
    return caches[request.param]


def read_all(cache: FeatureCache) -> list[RegionSet]:
    return [cache.regions(image) for image in range(cache.num_images)]


def joined(regions: list[RegionSet], name: str) -> np.ndarray:
    return np.concatenate([getattr(region, name) for region in regions])


def test_keys_by_hand():
    """Images of 2, 0 and 3 regions: region 2 is the first of the last image."""
    keys = keys_of(np.array([4, 0, 2, 1, 2]), np.array([0, 2, 2, 5]))
    assert keys.tolist() == [[2, 2], [0, 0], [2, 0], [0, 1], [2, 0]]


def test_keys_are_those_of_the_images(cache):
    expected = [[image, row] for image, regions in enumerate(read_all(cache)) for row in range(len(regions))]
    np.testing.assert_array_equal(cache.keys(np.arange(cache.num_rows)), expected)
    assert cache.keys(np.empty(0, np.int64)).shape == (0, 2)


@pytest.mark.parametrize("rows", [0, 1, 4, 7, 11, 1000, None])
def test_blocks_hold_every_region_once_and_in_order(cache, rows):
    regions = read_all(cache)
    blocks = list(cache.blocks(None if rows is None else rows * 4 * cache.dim))
    assert [image for block in blocks for image in block.images] == list(range(cache.num_images))
    for name in ("boxes", "gt", "label", "difficult", "overlap"):
        np.testing.assert_array_equal(np.concatenate([getattr(block, name) for block in blocks]), joined(regions, name))
    np.testing.assert_array_equal(
        np.concatenate([block.image_size for block in blocks]), [region.image_size for region in regions]
    )
    np.testing.assert_array_equal(np.concatenate([block.features() for block in blocks]), joined(regions, "features"))
    for block in blocks:
        first, last = block.images.start, block.images.stop
        assert block.first_region == cache.image_start[first]
        np.testing.assert_array_equal(block.image_start + block.first_region, cache.image_start[first : last + 1])
        assert rows is None or len(block) <= rows or len(block.images) == 1


def test_a_block_is_as_large_as_fits_into_the_shard(caches):
    """Shards hold images of 4, 0, 7 | 3, 0, 0 | 9, 1, 5 | 0 regions; at most 10 rows are wanted."""
    for name, groups in {
        "float32": [[0, 1], [2], [3, 4, 5], [6, 7], [8], [9]],
        "arrays": [[0, 1], [2, 3, 4, 5], [6, 7], [8, 9]],
    }.items():
        assert [list(block.images) for block in caches[name].blocks(10 * 4 * DIM)] == groups
    assert [list(block.images) for block in caches["float16"].blocks()] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_a_block_of_one_image_is_that_image(cache):
    for image, expected in enumerate(read_all(cache)):
        block = cache.block(image)
        assert list(block.images) == [image] and len(block) == len(expected)
        assert block.image_start.tolist() == [0, len(expected)]
        np.testing.assert_array_equal(block.overlap, expected.overlap)
        np.testing.assert_array_equal(block.features(), expected.features)


def test_features_of_some_rows_are_those_rows(cache):
    rng = np.random.default_rng(1)
    for block in cache.blocks(12 * 4 * cache.dim):
        whole = block.features()
        assert whole.dtype == np.float32 and whole.shape == (len(block), cache.dim)
        buffer = np.empty((len(block) + 2, cache.dim), np.float32)
        for rows in (rng.permutation(len(block))[:3], rng.random(len(block)) < 0.5, slice(1, 4), slice(0, 0)):
            found = block.features(rows)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, whole[rows])
            np.testing.assert_array_equal(block.features(rows, buffer), whole[rows])
        np.testing.assert_array_equal(block.features(out=buffer), whole)
        rows = rng.permutation(len(block))
        np.testing.assert_allclose(block.norms(rows), np.linalg.norm(whole[rows].astype(float), axis=1), rtol=1e-12)


def test_arrays_are_not_copied_and_what_is_in_a_file_goes_into_the_buffer(caches):
    buffer = np.empty((100, DIM), np.float32)
    block = next(caches["arrays"].blocks())
    for found in (block.features(), block.features(slice(1, 3)), block.features(out=buffer)):
        assert np.shares_memory(found, block.stored)
    for name in ("float32", "float16"):
        found = next(caches[name].blocks()).features(out=buffer)
        assert np.shares_memory(found, buffer)


def test_derived_features_are_computed_for_the_rows_that_are_asked_for(caches):
    asked = []

    def transform(stored):
        asked.append(len(stored))
        return computed(stored)

    derived = caches["float16"].derived(transform, 3, {})
    for cache in (derived, derived.subset([2, 6])):
        block = next(cache.blocks())
        assert asked == [], "labels, boxes and overlaps need no feature"
        block.features(np.array([2, 0]))
        cache.gather(np.array([6, 3]))
        assert asked == [2, 2]
        asked.clear()


def test_features_may_be_derived_twice(caches):
    doubled = caches["derived from float16"].derived(lambda rows: 2 * rows, 3, {"layer": "doubled"})
    expected = 2 * joined(read_all(caches["derived from float16"]), "features")
    np.testing.assert_array_equal(joined(read_all(doubled), "features"), expected)
    assert doubled.fingerprint != caches["derived from float16"].fingerprint


def test_gathers_by_hand():
    cache = toy_cache([1, 2], features=np.array([[1, 2], [3, 4], [5, 6]]))
    assert cache.gather(np.array([2, 0, 2]), 10).tolist() == [[50, 60], [10, 20], [50, 60]]


@given(
    kind=st.sampled_from(KINDS),
    regions=st.lists(st.integers(0, 18), max_size=40),
    scale=st.sampled_from([1.0, 0.3, -7.0]),
    rising=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_gathers_what_indexing_of_all_features_gives(caches, kind, regions, scale, rising):
    cache = caches[kind]
    regions = np.array(sorted(regions) if rising else regions, np.int64)
    features = joined(read_all(cache), "features")
    found = cache.gather(regions, scale)
    assert found.dtype == np.float32 and found.shape == (len(regions), cache.dim)
    np.testing.assert_array_equal(found, features[regions] * np.float32(scale))


@pytest.mark.parametrize("regions", [[-1], [3, 29], [0, 5, -2]])
def test_regions_that_do_not_exist_are_refused(caches, regions):
    with pytest.raises(InputError, match="arrays has 0 to 28"):
        caches["arrays"].gather(np.array(regions))


def test_only_the_shards_that_hold_a_region_are_opened(caches):
    opened = []
    cache = caches["float32"]
    spied = FeatureCache(cache._plan, lambda number: opened.append(number) or cache._shard(number))
    spied.gather(np.array([28, 27, 3]))
    assert opened == [0, 2]
