"""What is made of torchvision's own networks: where they are cut, what is trained, and what a RoI is pooled from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from rcnn_svm.fast_rcnn.roi_pool import RoIPoolingNetwork, _cut
from rcnn_svm.fast_rcnn.targets import roi_targets

SIZE = (96, 160)


@pytest.fixture(scope="module", params=["alexnet", "resnet18"])
def network(request):
    """A network without trained weights."""
    return RoIPoolingNetwork(request.param, ("cat", "dog"), "random", short_side=SIZE[0], long_side=SIZE[1])


def test_targets_by_hand():
    """A RoI that lies a tenth of its width to the left of its object, and one far from it."""
    boxes, objects = np.array([[0, 0, 10, 10], [30, 30, 40, 40]], np.float32), np.array([[1, 0, 11, 10]], np.float32)
    targets = roi_targets(boxes, objects, np.array([2]))
    np.testing.assert_allclose(targets.max_overlaps, [10 * 11 / (2 * 11 * 11 - 10 * 11), 0], rtol=1e-6)
    assert targets.max_classes.tolist() == [2, 2]
    np.testing.assert_allclose(targets.regression_targets[0], [0.1 / 0.1, 0, 0, 0], atol=1e-6)  # over BOX_STDS


def test_a_step_trains_all_but_the_first_layers_and_batch_norm(network):
    network.train()
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    boxes = np.array([[0, 0, 159, 95], [10, 20, 70, 60], [100, 5, 150, 90]], np.float32)
    targets = roi_targets(boxes, boxes[:1], np.array([1]))
    scores, deltas = network.of_rows([image], [targets])([torch.tensor([2, 0])])
    assert scores.shape == (2, 3) and deltas.shape == (2, 12)
    (scores.square().sum() + deltas.square().sum()).backward()
    trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    frozen = {name for name, _ in network.named_parameters()} - trained
    first = [name for name, _ in network.named_parameters() if name.startswith("maps.0.")]
    norms = {
        f"{path}.{name}"
        for path, part in network.named_modules()
        if isinstance(part, nn.BatchNorm2d)
        for name in ("weight", "bias")
    }
    assert first and frozen == norms.union(first)
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in network.named_buffers())


def test_a_cell_of_the_map_is_16_pixels(network):
    """Pooled from a map that holds its own columns, a box tells where it lies."""
    height, width = network.maps(torch.zeros(1, 3, 320, 480)).shape[2:]
    assert abs(height - 20) <= 1 and abs(width - 30) <= 1
    columns = torch.arange(30.0).expand(1, 1, 20, 30)
    pooled = network._pool(columns, torch.tensor([[0.0, 64, 48, 160, 112]]))[0, 0]
    if isinstance(network.maps[-1], nn.ReLU):  # RoI max pooling, from the cell of the left side to that of the right
        assert pooled.shape == (6, 6)
        assert pooled[0, 0] == 5 and pooled[0, -1] == 10
    else:  # RoIAlign: cell k is centred at 16 k + 8
        assert pooled.shape == (14, 14)
        torch.testing.assert_close(pooled.mean(), torch.tensor(112 / 16 - 0.5))


def test_vgg_keeps_its_first_two_blocks_and_loses_its_last_pooling():
    with torch.device("meta"):
        vgg = torchvision.models.vgg16()
    maps, after, pool, (frozen,) = _cut(vgg, "vgg16")
    assert [part.out_channels for part in frozen if isinstance(part, nn.Conv2d)] == [64, 64, 128, 128]
    assert sum(isinstance(part, nn.MaxPool2d) for part in maps) == 4 and isinstance(maps[-1], nn.ReLU)
    assert pool(torch.zeros(1, 512, 20, 30), torch.tensor([[0.0, 0, 0, 99, 99]])).shape == (1, 512, 7, 7)
    assert after[1] is vgg.classifier
