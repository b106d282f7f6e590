"""What is said of a feature cache, complete or not."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.feature_norm import mean_feature_norm
from rcnn_svm.errors import InputError
from rcnn_svm.reports.inspection import inspect_artefact
from rcnn_svm.reports.inspection.cache import with_image
from tests.toys import flip, stored, toy_cache


@pytest.fixture
def cache(tmp_path):
    """Four images in four files."""
    return stored(toy_cache([5, 6, 7, 8], objects=2), tmp_path / "cache", shard_images=1)


def test_a_complete_cache(cache, tmp_path):
    found = inspect_artefact(tmp_path / "cache")
    assert found.record["digest"] == cache.fingerprint and found.record["regions"] == [5, 6, 7, 8]
    assert sum(record["objects"] for record in found.record["classes"]) == 8
    assert found.record["features"]["norm_mean"] == pytest.approx(mean_feature_norm(cache, 0), rel=1e-6)
    assert found.record["features"]["rows_looked_at"] == 26
    text = " ".join(found.text().split())
    assert "4 of 4 complete" in text and "in 26 rows of 4 images looked at" in text
    assert "26: 8 objects (0 difficult), 18 proposals" in text


def test_missing_and_damaged_shards(cache, tmp_path):
    folder = tmp_path / "cache"
    (folder / "shard-00001.h5").unlink()
    flip(folder / "shard-00002.h5", 20)
    found = inspect_artefact(folder)
    shards = found.record["shards"]
    assert (shards["complete"], shards["missing"], [*shards["wrong"]]) == (2, ["shard-00001.h5"], ["shard-00002.h5"])
    assert found.record["digest"] is None and found.record["images_counted"] == 2
    text = " ".join(found.text().split())
    assert "2 of 4 complete" in text and "1 missing, the first is shard-00001.h5" in text
    assert "1 damaged, the first is shard-00002.h5" in text and "13: 4 objects" in text
    assert "in the 2 images that are there" in text


def test_a_shard_of_another_cache(cache, tmp_path):
    stored(toy_cache([5, 6, 7, 8], objects=2, dim=9), tmp_path / "other", shard_images=1)
    (tmp_path / "other/shard-00003.h5").replace(tmp_path / "cache/shard-00003.h5")
    (problem,) = inspect_artefact(tmp_path / "cache").record["shards"]["wrong"].values()
    assert "caches of different backbones, settings or image sets cannot be mixed" in problem


def test_nothing_there_yet(cache, tmp_path):
    for shard in (tmp_path / "cache").glob("shard-*"):
        shard.unlink()
    found = inspect_artefact(tmp_path / "cache")
    assert "0 of 4 complete" in found.text() and found.record["features"]["rows_looked_at"] == 0


def test_features_in_another_layer(cache, tmp_path):
    doubled = cache.derived(lambda rows: 2 * np.float32(rows)[:, :3], 3, {"backbone": {"name": "net", "layer": "fc6"}})
    found = inspect_artefact(tmp_path / "cache", doubled)
    assert found.record["dim"] == 3 and "3-d float32 net fc6" in found.text()
    assert found.record["features"]["norm_mean"] == pytest.approx(mean_feature_norm(doubled, 0), rel=1e-6)


def test_features_that_are_not_finite(tmp_path):
    features = np.ones((6, 2), np.float32)
    features[4, 1] = np.inf
    stored(toy_cache([6], objects=1, features=features, dim=2), tmp_path / "cache")
    found = inspect_artefact(tmp_path / "cache")
    assert found.record["features"]["rows_not_finite"] == 1 and "1 row looked at; --verify finds all" in found.text()


def test_the_regions_of_an_image(cache, tmp_path):
    found = with_image(inspect_artefact(tmp_path / "cache"), cache, "2", 3)
    regions = FeatureCache.open(tmp_path / "cache").regions(2)
    rows = found.record["image"]["rows"]
    assert [row["key"] for row in rows] == [[2, 0], [2, 1], [2, 2]]
    assert [row["label"] for row in rows] == [*(cache.classes[label - 1] for label in regions.label[:2]), None]
    assert [row["norm"] for row in rows] == pytest.approx(np.linalg.norm(regions.features[:3], axis=1).tolist())
    assert "image 2: 10 x 10 pixels, 7 regions, 2 objects" in found.text()
    with pytest.raises(InputError, match="image x is not in toy"):
        with_image(found, cache, "x", 3)
