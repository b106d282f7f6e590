"""Maps of whole images: their sizes, which of a network's they are, and that every runtime makes the same."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.features import backbones
from rcnn_svm.features.image_maps import seen_size
from rcnn_svm.features.map_network import choose_maps, load_image_maps, load_recorded_maps


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)


def test_the_mean_colours_of_eight_by_eight_pixels_by_hand(monkeypatch):
    def build(_: int) -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))

    source = backbones.Source(build, lambda: {}, crop_size=32, mean=(10.0, 0.0, 0.0), std=(2.0, 1.0, 1.0))
    monkeypatch.setitem(backbones.SOURCES, "means", lambda: source)
    maps = load_image_maps("means", "random", runtime="torch", device="cpu")
    assert maps.settings["modules"] == ["0"]
    halves = np.zeros((448, 224, 3), np.uint8)  # as large as the network sees it: not resized
    halves[:224, :, 0] = 30
    halves[224:, :, 1] = 7
    (colours,) = maps(halves)
    assert colours.shape == (3, 56, 28) and colours.dtype == np.float32
    assert (colours[:, :28] == np.float32([10, 0, 0])[:, None, None]).all()
    assert (colours[:, 28:] == np.float32([-5, 7, 0])[:, None, None]).all()


@pytest.mark.parametrize(
    "image_size, seen",
    [((375, 500), (320, 448)), ((500, 333), (448, 288)), ((100, 100), (448, 448)), ((5, 2000), (32, 448))],
)
def test_both_sides_are_multiples_of_32(image_size, seen):
    assert seen_size(image_size) == seen


def test_the_last_map_of_a_stride_is_taken_but_of_the_coarsest_that_of_its_first_run():
    shapes = {
        "stem": (16, 64, 64),
        "a0": (40, 32, 32),
        "a1": (40, 32, 32),
        "wider": (60, 32, 32),
        "b": (80, 16, 16),
        "channels last": (8, 8, 192),
        "c0": (192, 8, 8),
        "c1": (192, 8, 8),
        "last": (1280, 8, 8),
        "pool": (1280, 1, 1),
    }
    assert choose_maps(shapes, 256) == ["wider", "b", "c1"]


def test_the_maps_of_lite0_are_what_hooks_see(image):
    maps = load_image_maps("lite0", runtime="torch", device="cpu")
    assert maps.settings["modules"] == ["_blocks.4", "_blocks.10", "_blocks.14"]
    found = maps(image)
    assert [values.shape for values in found] == [(40, 32, 56), (112, 16, 28), (192, 8, 14)]
    # Paddings of the strided layers as for an image of that size: they are those of every side that 32 divides.
    network = backbones.SOURCES["lite0"]().build((256, 448))
    network.load_state_dict(backbones.SOURCES["lite0"]().pretrained())
    seen = {}
    for name in maps.settings["modules"]:
        hook = lambda module, inputs, output, name=name: seen.update({name: output[0].numpy()})  # noqa: E731
        network.get_submodule(name).register_forward_hook(hook)
    with torch.inference_mode():
        network.eval()(torch.from_numpy(maps._seen(image)))
    for values, expected in zip(found, seen.values(), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_runtimes_of_the_cpu_equal_torch_at_any_size_and_in_threads(kind, image):
    if kind == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is an extra")
    reference = load_image_maps("lite0", runtime="torch", device="cpu")
    fast = load_image_maps("lite0", runtime=kind, device="cpu", threads=2)
    assert fast.settings == reference.settings
    images = [image, image[:, :30], image[:20]]
    expected = [reference(each) for each in images]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(fast, images))
    for maps, of_torch in zip(found, expected, strict=True):
        for values, other in zip(maps, of_torch, strict=True):
            np.testing.assert_allclose(values, other, atol=2e-3 * np.abs(other).mean())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_networks_of_torchvision(name, image):
    maps = load_image_maps(name, "random", runtime="torch", device="cpu")(image)
    assert [values.shape[1:] for values in maps] == [(32, 56), (16, 28), (8, 14)]


def test_what_a_ranker_records_makes_the_same_maps_again(image):
    maps = load_image_maps("lite0", "random", runtime="torch", device="cpu")
    again = load_recorded_maps(maps.settings, runtime="torch", device="cpu")
    for values, other in zip(maps(image), again(image), strict=True):
        assert (values == other).all()
    with pytest.raises(InputError, match=r"weights of lite0 do not make the maps that the ranker was trained on"):
        load_recorded_maps({**maps.settings, "weights": "trained"}, runtime="torch", device="cpu")


def test_a_network_that_takes_crops_alone_is_refused():
    with pytest.raises(InputError, match=r"vit_b_32 takes no images but crops of its own size"):
        load_image_maps("vit_b_32", "random", runtime="torch", device="cpu")


def test_maps_that_are_not_finite_are_refused(monkeypatch, image):
    maps = load_image_maps("lite0", "random", runtime="torch", device="cpu")
    monkeypatch.setattr(maps, "_run", lambda seen: [np.full((1, 1, 2, 2), np.nan)])
    with pytest.raises(InputError, match=r"network lite0 makes maps of an image that are not finite"):
        maps(image)
