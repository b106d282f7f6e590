"""Features of several layers: which maps, how they are pooled, and that each part has length 1."""

import numpy as np
import pytest
import torch
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.features import backbones
from rcnn_svm.features.backbones import load_backbone, load_recorded
from rcnn_svm.features.multi_layer import FixedPool, MapPart, choose_parts
from rcnn_svm.features.runtime import make_runtime


def test_two_maps_by_hand(monkeypatch):
    """The first block gives the colours of four quarters, the second others; the last vector is the mean colour."""

    def build(size):
        quarters = nn.Sequential(nn.AvgPool2d(size // 2), nn.AvgPool2d(1))
        return nn.Sequential(quarters, nn.AvgPool2d(2, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))

    source = backbones.Source(build, lambda: {}, crop_size=32, mean=(0.0,) * 3, std=(1.0,) * 3)
    monkeypatch.setitem(backbones.SOURCES, "two", lambda: source)
    backbone = load_backbone("two", "multi", "random")
    assert backbone.settings["parts"] == [{"module": "0.1", "grid": 2}]
    crops = torch.zeros(1, 3, 32, 32)
    crops[0, 0, :16, :16] = 3  # red above left
    crops[0, 1, 16:, 16:] = 4  # green below right
    with torch.inference_mode():
        features = backbone.module(crops)[0]
    red, green = [3, 0, 0, 0], [0, 0, 0, 4]
    expected = np.concatenate([np.array([*red, *green, 0, 0, 0, 0]) / 5, np.array([3, 4, 0]) / 5])
    np.testing.assert_allclose(features, expected, rtol=1e-6)


def test_the_last_map_of_every_run_of_one_shape_is_taken():
    shapes = {
        "stem": (16, 64, 64),
        "a0": (40, 8, 8),
        "a1": (40, 8, 8),
        "b": (600, 8, 8),  # too wide for cells
        "c0": (192, 4, 4),
        "c1": (192, 4, 4),
        "last": (512, 4, 4),
        "pool": (512, 1, 1),
    }
    assert choose_parts(shapes, 128) == [MapPart("a1", 2), MapPart("b", 1), MapPart("c1", 2)]


def test_a_map_that_the_last_one_only_widens_is_left_out():
    shapes = {"a": (112, 8, 8), "b": (192, 4, 4), "c": (320, 4, 4), "head": (1280, 4, 4)}
    assert choose_parts(shapes, 128) == [MapPart("a", 2), MapPart("b", 2)]
    without_wider = {**shapes, "head": (300, 4, 4)}
    assert choose_parts(without_wider, 128) == [MapPart("a", 2), MapPart("b", 2), MapPart("c", 2)]


@pytest.mark.parametrize("length, pooled", [(8, 2), (7, 2), (5, 3), (4, 1)])
def test_fixed_pooling_is_torchs_adaptive_pooling(length, pooled):
    maps = torch.randn(2, 3, length, length + 1)
    pool = nn.AdaptiveAvgPool2d((pooled, pooled))
    torch.testing.assert_close(FixedPool(pool, maps.shape[2:])(maps), pool(maps))


NETWORKS = ["lite0", "resnet18", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "regnet_y_400mf"]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_part_of_a_real_network_has_length_1_and_is_what_hooks_see(name):
    backbone = load_backbone(name, "multi", "random", crop_size=64)
    plain = load_backbone(name, "penultimate", "random", crop_size=64)
    parts = backbone.settings["parts"]
    seen = {}
    for part in parts:
        module = plain.module.get_submodule(part["module"])
        module.register_forward_hook(lambda module, inputs, output, name=part["module"]: seen.update({name: output}))
    crops = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        features, last = backbone.module(crops), plain.module(crops)
        pooled = [nn.functional.adaptive_avg_pool2d(seen[part["module"]], part["grid"]).flatten(1) for part in parts]
        expected = torch.cat([nn.functional.normalize(vector, dim=1) for vector in (*pooled, last)], dim=1)
    assert parts and features.shape == (3, backbone.dim)
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_runtimes_give_the_features_of_torch(kind):
    backbone = load_backbone("lite0", "multi", crop_size=64)
    crops = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    expected = make_runtime(backbone, "torch", "cpu")(crops)
    np.testing.assert_allclose(make_runtime(backbone, kind, "cpu", 1)(crops), expected, atol=1e-5)


def test_what_a_cache_records_gives_the_same_features_again():
    backbone = load_backbone("lite0", "multi", crop_size=64)
    again = load_recorded(backbone.feature_settings().to_json())
    assert again.settings == backbone.settings
    crops = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(again.module(crops), backbone.module(crops), rtol=0, atol=0)


def test_a_network_without_maps_is_refused():
    with pytest.raises(InputError, match=r"swin_t gives no maps before its last vector; use --layer penultimate"):
        load_backbone("swin_t", "multi", "random", crop_size=64)


def test_crops_that_a_network_cannot_take_are_told(monkeypatch):
    class OneSize(nn.Sequential):
        def forward(self, crops):
            assert crops.shape[2] == 32, "Input height doesn't match model"
            return super().forward(crops)

    network = OneSize(nn.AvgPool2d(16), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 1000))
    source = backbones.Source(lambda size: network, lambda: {}, crop_size=32, mean=(0.0,) * 3, std=(1.0,) * 3)
    monkeypatch.setitem(backbones.SOURCES, "one size", lambda: source)
    with pytest.raises(InputError, match="one size cannot take 64-pixel crops: Input height doesn't match"):
        load_backbone("one size", "multi", "random", crop_size=64)


def test_networks_of_timm_have_maps_too():
    pytest.importorskip("timm", reason="timm comes with the extra rcnn-svm[timm]")
    backbone = load_backbone("timm:resnet18", "multi", "random", crop_size=64)
    assert backbone.settings["parts"] == [{"module": "layer3.1", "grid": 2}]
    assert (backbone.dim, backbone.last_dim) == (4 * 256 + 512, 512)
    crops = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    expected = make_runtime(backbone, "torch", "cpu")(crops)
    np.testing.assert_allclose(make_runtime(backbone, "onnxruntime", "cpu", 1)(crops), expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 2**0.5, rtol=1e-5)
