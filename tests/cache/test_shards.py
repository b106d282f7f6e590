"""What changed in a shard since it was written is seen by whatever stage reads it, and never used."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection import BoxRegressorTrainer, Detector, detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn import RoIHeadTrainer
from rcnn_svm.mining import HardNegativeMiner, RandomNegativeTrainer
from rcnn_svm.mining.imbalance import measure_cache
from tests.toys import flip, place_of, rewrite_shard, stored, toy_cache

TOY = toy_cache([9, 8, 7, 9])
DETECTOR = Detector(
    TOY.classes, np.ones((6, 3), np.float32), np.zeros(3, np.float32), 20.0, feature_settings=TOY.settings
)
DAMAGED = r"shard-00001\.h5 is damaged \(.*\); delete it and run the stage that writes it again"
# What reads features, all rows of a cache or those of objects.
STAGES = {
    "train": lambda cache: HardNegativeMiner(n_jobs=1).fit(cache),
    "train with two threads": lambda cache: HardNegativeMiner(n_jobs=2, feat_norm_mean=3.0).fit(cache),
    "train --random-negatives": lambda cache: RandomNegativeTrainer(num_negatives=99, n_jobs=1).fit(cache),
    "train-bbox": lambda cache: BoxRegressorTrainer(feat_norm_mean=3.0).fit(cache),
    "train-head": lambda cache: RoIHeadTrainer(iterations=4, feat_norm_mean=3.0).fit(cache),
    "test": lambda cache: detect_in_cache(cache, DETECTOR),
    "imbalance": lambda cache: measure_cache(cache, DETECTOR),
}


def shard(folder: Path, dtype: str = "float32", earlier: bool = False) -> Path:
    """Return the second shard of a toy cache of two images a shard."""
    stored(TOY, folder, shard_images=2, dtype=dtype)
    for path in folder.glob("*.h5") if earlier else ():
        rewrite_shard(path, earlier=True)
    return folder / "shard-00001.h5"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_flipped_bit_of_a_feature_by_hand(tmp_path, dtype):
    """The first region of image 2 is the first row of the second shard."""
    path = shard(tmp_path, dtype)
    flip(path, place_of(path, "features"))
    cache = FeatureCache.open(tmp_path)
    assert cache.regions(1).features.shape == (8, 6)
    for read in (cache.regions, cache.block(2).features, cache.block(2).norms):
        with pytest.raises(InputError, match=DAMAGED.replace(".*", "row 0 of its features .*")):
            read(2) if read == cache.regions else read(np.array([1, 0]))
    assert cache.block(2).features(np.array([1, 6])).shape == (2, 6)


@pytest.mark.parametrize("earlier", [False, True], ids=["now", "earlier"])
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_no_stage_uses_a_damaged_feature(tmp_path, stage, earlier):
    path = shard(tmp_path, earlier=earlier)
    with np.errstate(all="ignore"):
        stage(FeatureCache.open(tmp_path))
    for row in (0, 3):  # an object and a proposal: no stage reads both for nothing
        flip(path, place_of(path, "features") + 24 * row + 5)
    with pytest.raises(InputError, match=DAMAGED):
        stage(FeatureCache.open(tmp_path))
    with pytest.raises(InputError, match=DAMAGED):
        stage(FeatureCache.open(tmp_path).derived(lambda stored: stored.astype(np.float32), 6, TOY.settings))


def test_no_flipped_bit_of_a_shard_is_accepted(tmp_path):
    """Also those of HDF5's own structures, some of which made the library hang or crash."""
    path = shard(tmp_path, "float16")
    content = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(content), 150).tolist():
        path.write_bytes(content)
        flip(path, at)
        with pytest.raises(InputError, match=r"shard-00001\.h5"):
            for block in FeatureCache.open(tmp_path).blocks():
                block.features()


@pytest.mark.parametrize("name", ["boxes", "gt", "label", "difficult", "overlap", "image_size"])
def test_shards_of_earlier_versions_are_checked_before_their_first_use(tmp_path, name):
    path = shard(tmp_path, earlier=True)
    for image in range(4):
        np.testing.assert_array_equal(FeatureCache.open(tmp_path).regions(image).features, TOY.regions(image).features)
    with open(path, "r+b") as stream:
        stream.seek(place_of(path, name) + 3)
        last = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([last ^ 1]))
    with pytest.raises(InputError, match=r"shard-00001\.h5"):
        FeatureCache.open(tmp_path).block(2)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_shard_that_is_cut_while_it_is_read_is_one_sentence(tmp_path, dtype):
    """Mapped, it ended the process: SIGBUS."""
    path = shard(tmp_path, dtype)
    block = FeatureCache.open(tmp_path).block(2)
    os.truncate(path, place_of(path, "features") + 10)
    with pytest.raises(InputError, match=DAMAGED.replace(".*", "it ends at byte .*; another program has cut it")):
        block.features()


def test_a_training_whose_shard_is_cut_ends_with_one_sentence(tmp_path):
    path = shard(tmp_path)
    cache = FeatureCache.open(tmp_path)
    blocks = cache.blocks(1)
    next(blocks)
    os.truncate(path, 0)
    with pytest.raises(InputError, match=r"shard-00001\.h5"):
        HardNegativeMiner(n_jobs=1).fit(cache)


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_feature_that_is_no_number_is_named_by_image_and_row(stage):
    """The cache is one of arrays, whose features nobody has looked at; rows are an object and a proposal."""
    rows, features = [0, 3], TOY.gather(np.arange(TOY.num_rows))
    features[TOY.image_start[2] + rows, 1] = np.nan
    cache = toy_cache([9, 8, 7, 9], features=features)
    with np.errstate(all="ignore"), pytest.raises(InputError, match=r"(row [03] of )?image 2 .*not finite"):
        stage(cache)
