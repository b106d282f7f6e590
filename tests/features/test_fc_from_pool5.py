"""fc6 and fc7 computed from cached pool5 equal those cached directly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.feature_norm import mean_feature_norm
from rcnn_svm.errors import InputError
from rcnn_svm.experiments.parity import case_cache, case_miner, compare, result_arrays
from rcnn_svm.features import backbones, fc_from_pool5
from rcnn_svm.features.fc_from_pool5 import FullyConnected, layer_cache
from tests.small_networks import CROP, layer_caches


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Caches of a toy image set by layer, `train` and `test`, and the weights they were made with."""
    with layer_caches(tmp_path_factory.mktemp("layers")) as root:
        yield root


def test_a_layer_by_hand():
    linear = nn.Linear(2, 1)
    linear.load_state_dict({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.tensor([0.5])})
    head = FullyConnected(linear, 1, torch.device("cpu"))
    assert head(np.array([[3, 4], [0, -1]], np.float32)).tolist() == [[11.5], [-1.5]]


@pytest.mark.parametrize("layer", ["fc6", "fc7"])
def test_equals_the_layer_cached_directly(workplace, layer):
    direct = FeatureCache.open(workplace / f"train.{layer}")
    derived = layer_cache(FeatureCache.open(workplace / "train.pool5"), layer, workplace / "net.pt")
    assert (derived.dim, derived.num_rows, derived.settings) == (direct.dim, direct.num_rows, direct.settings)
    assert derived.fingerprint not in (direct.fingerprint, FeatureCache.open(workplace / "train.pool5").fingerprint)
    for index in range(direct.num_images):
        found, expected = derived.regions(index), direct.regions(index)
        size = np.abs(expected.features).max()
        np.testing.assert_allclose(found.features, expected.features, rtol=1e-5, atol=1e-5 * size)
        np.testing.assert_array_equal(found.overlap, expected.overlap)
    assert mean_feature_norm(derived, 3) == pytest.approx(mean_feature_norm(direct, 3), rel=1e-5)
    assert derived.verify() == []


def test_only_rows_that_are_asked_for_are_computed(workplace):
    base = FeatureCache.open(workplace / "train.pool5")
    seen = []

    def transform(rows):
        seen.append(len(rows))
        return rows[:, :2].astype(np.float32)

    cache = base.derived(transform, 2, {"layer": "toy"})
    block = next(cache.blocks())
    assert not seen
    np.testing.assert_array_equal(block.features(np.array([4, 1])), base.regions(0).features[[4, 1], :2])
    mask = np.arange(len(block)) == 3
    np.testing.assert_array_equal(block.features(mask), base.regions(0).features[3:4, :2])
    assert seen == [2, 1]
    mean_feature_norm(cache, 0)
    assert sum(seen[2:]) == base.num_rows  # fewer than 200 an image: all, once


def test_batches_change_nothing(workplace):
    base = FeatureCache.open(workplace / "train.pool5")
    rows = base.regions(0).features
    head, _ = fc_from_pool5.load_head(base.settings, "fc7", workplace / "net.pt")
    whole = head(rows)
    times = fc_from_pool5.BATCH_ROWS // len(rows) + 2
    found = head(np.tile(rows, (times, 1)))
    np.testing.assert_allclose(found, np.tile(whole, (times, 1)), rtol=1e-5, atol=1e-5 * np.abs(whole).max())
    assert head(rows[:0]).shape == (0, 32)
    half = rows.astype(np.float16)
    np.testing.assert_allclose(head(half), head(half.astype(np.float32)), rtol=1e-6)


def test_refuses_weights_that_differ_after_pool5_only(workplace, tmp_path):
    cache = FeatureCache.open(workplace / "train.pool5")
    state = torch.load(workplace / "net.pt", weights_only=True)
    state["classifier.4.bias"] += 1e-3
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(InputError, match="not those the features were made with"):
        layer_cache(cache, "fc7", tmp_path / "other.pt")
    assert layer_cache(cache, "fc6", tmp_path / "other.pt").dim == 48  # fc6 lies before the change


def test_refuses_what_cannot_be_computed(workplace):
    with pytest.raises(InputError, match=r"cannot be computed from .* layer fc6"):
        layer_cache(FeatureCache.open(workplace / "train.fc6"), "fc7", workplace / "net.pt")
    with pytest.raises(InputError, match="layer 'conv5' is unknown"):
        layer_cache(FeatureCache.open(workplace / "train.pool5"), "conv5")
    cache = FeatureCache.open(workplace / "train.pool5")
    without = {**cache.settings, "backbone": {**cache.settings["backbone"], "fc_digests": {}}}
    with pytest.raises(InputError, match="hold no layer fc7"):
        fc_from_pool5.load_head(without, "fc7", workplace / "net.pt")


def test_weights_of_the_convolutions_alone_are_enough_for_pool5(workplace, tmp_path):
    state = torch.load(workplace / "net.pt", weights_only=True)
    torch.save({key: value for key, value in state.items() if key.startswith("features.")}, tmp_path / "conv.pt")
    whole, part = (
        backbones.load_backbone("alexnet", "pool5", path, crop_size=CROP).settings
        for path in (workplace / "net.pt", tmp_path / "conv.pt")
    )
    assert part["weights_digest"] == whole["weights_digest"]
    assert sorted(whole["fc_digests"]) == ["fc6", "fc7"] and part["fc_digests"] == {}


@pytest.mark.golden
def test_mining_on_the_fly_equals_the_original(golden_dir):
    """The case of the original that trains on fc7 of cached pool5."""
    with np.load(golden_dir / "fc7" / "inputs.npz") as data:
        inputs = dict(data)
    with np.load(golden_dir / "fc7" / "expected.npz") as data:
        expected = {name[6:]: array for name, array in data.items() if name.startswith("tight/")}
    modules = []
    for name in ("fc6", "fc7"):
        linear = nn.Linear(*inputs[f"{name}_w"].shape)
        linear.weight.data = torch.from_numpy(inputs[f"{name}_w"].T.copy())
        linear.bias.data = torch.from_numpy(inputs[f"{name}_b"].ravel().copy())
        modules += [linear, nn.ReLU()]
    head = FullyConnected(nn.Sequential(*modules), inputs["fc7_w"].shape[1], torch.device("cpu"))
    cache = case_cache({**inputs, "layer": 5}, "fc7").derived(head, head.dim, {"layer": "fc7"})
    miner = case_miner(inputs, tolerance=1e-10)
    folds = np.split(expected["fold_images"], expected["fold_start"][1:-1])
    rows = compare(result_arrays(miner.fit(cache, folds=folds)), expected)
    assert [row for row in rows if not row.equal] == []
    # The scan, the norm and the positives, on data of the layer itself.
    assert mean_feature_norm(cache, 0) == pytest.approx(mean_feature_norm(case_cache(inputs, "fc7"), 0), rel=1e-5)
