"""The network: a new last layer on old weights, what learns how fast, what stays frozen."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from rcnn_svm.descent import Schedule
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.finetune.network import build_network, set_training_mode
from rcnn_svm.finetune.tuner import new_layer_rate

SMALL = "shufflenet_v2_x0_5"
CLASSES = ("cat", "dog")


def test_normalisation_of_two_numbers_by_hand():
    """In training it still takes the mean 1 and the variance 4 that it was made with; dropout leaves nothing."""
    norm = nn.BatchNorm1d(1, eps=0)
    norm.running_mean.fill_(1)
    norm.running_var.fill_(4)
    module = nn.ModuleList([norm, nn.Dropout(1.0)])
    set_training_mode(module)
    normalised = norm(torch.tensor([[3.0], [5.0]]))
    assert (normalised.tolist(), module[1](normalised).tolist()) == ([[1], [2]], [[0], [0]])
    assert (norm.running_mean.item(), norm.running_var.item()) == (1, 4)


@pytest.mark.parametrize(
    ("name", "crop_size", "weights", "last_layer"),
    [
        ("lite0", 32, None, "_fc"),
        ("alexnet", 67, "random", "classifier.6"),
        ("mobilenet_v3_small", 32, "random", "classifier.3"),
        (SMALL, 32, "random", "fc"),
    ],
)
def test_the_last_layer_works_on_the_backbones_features(name, crop_size, weights, last_layer):
    network = build_network(name, CLASSES, weights, crop_size=crop_size)
    backbone = load_backbone(name, weights=weights, crop_size=crop_size)
    assert network.last_layer == last_layer
    assert (network.crop_size, network.padding) == (backbone.crop_size, backbone.padding)
    assert (network.mean, network.std) == (backbone.mean, backbone.std)
    crops = torch.randn(2, 3, crop_size, crop_size)
    layer = network.module.get_submodule(last_layer)
    with torch.inference_mode():
        scores = network.module.eval()(crops)
        torch.testing.assert_close(scores, layer(backbone.module(crops)))
    assert scores.shape == (2, 3)


def test_the_new_layer_is_small_and_seeded():
    network = build_network("lite0", [f"c{c}" for c in range(20)], crop_size=32, seed=7)
    layer = network.module._fc
    assert layer.weight.shape == (21, 1280)
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not layer.bias.any()
    again = build_network("lite0", network.classes, crop_size=32, seed=7)
    assert again.settings == network.settings
    other = build_network("lite0", network.classes, crop_size=32, seed=8)
    assert other.settings["initial_digest"] != network.settings["initial_digest"]


def test_extraction_takes_the_whole_network(tmp_path):
    """Fine-tuned weights give a backbone of the same features."""
    network = build_network(SMALL, CLASSES, "random", crop_size=32)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    torch.save(network.module.state_dict(), tmp_path / "weights.pt")
    published = torchvision.models.get_model(SMALL).state_dict()
    assert network.module.state_dict().keys() == published.keys()
    crops = torch.randn(2, 3, 32, 32)
    features = load_backbone(SMALL, weights=tmp_path / "weights.pt", crop_size=32).module(crops)
    torch.testing.assert_close(network.module.fc(features), network.module.eval()(crops))
    # and fine-tuning can begin with them again
    assert build_network(SMALL, CLASSES, tmp_path / "weights.pt", crop_size=32).classes == CLASSES


def test_a_network_without_a_linear_end_is_refused():
    with pytest.raises(InputError, match="does not end in a linear layer"):
        build_network("squeezenet1_0", CLASSES, "random")


def test_rates_and_decay_are_the_originals(small_network):
    network = small_network()
    found = {}
    parameters = dict(network.module.named_parameters())
    for group in Schedule(lr=0.001, weight_decay=5e-4).parameter_groups(parameters, new_layer_rate(network)):
        for parameter in group["params"]:
            key = next(key for key, value in parameters.items() if value is parameter)
            found[key] = (0.001 * group["lr_factor"], group["weight_decay"])
    assert found == {
        **dict.fromkeys(("0.weight", "1.weight"), (0.001, 5e-4)),
        **dict.fromkeys(("0.bias", "1.bias"), (0.002, 0.0)),
        "5.weight": (0.01, 5e-4),
        "5.bias": (0.02, 0.0),
    }


def test_dropout_is_on_and_batch_statistics_are_frozen(small_network):
    network = small_network()
    set_training_mode(network.module)
    normalisation = network.module[1]
    crops = 5 + torch.randn(8, 3, 16, 16)
    before = {key: value.clone() for key, value in normalisation.named_buffers()}
    one, two = network.module(crops), network.module(crops)
    assert not torch.equal(one, two)  # dropout
    nn.functional.cross_entropy(one, torch.zeros(8, dtype=torch.int64)).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.module.parameters())
    for key, value in normalisation.named_buffers():
        np.testing.assert_array_equal(value.numpy(), before[key].numpy())
