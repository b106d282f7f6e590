"""Fast R-CNN end to end: a small AlexNet-like network on small images, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import rcnn_svm
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.voc import load_voc
from rcnn_svm.descent import Schedule
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn import image_training
from rcnn_svm.fast_rcnn.image_training import FastRCNNTrainer
from rcnn_svm.fast_rcnn.network import MinibatchLoss, RoIPredictor
from rcnn_svm.fast_rcnn.roi_pool import RoIPoolingNetwork
from rcnn_svm.fast_rcnn.samplers import make_sampler
from rcnn_svm.fast_rcnn.targets import roi_targets
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES
from tests.interrupt import ctrl_c_at

pytestmark = pytest.mark.usefixtures("small_roi_network")


def network():
    return RoIPoolingNetwork("alexnet", SYNTHETIC_CLASSES, short_side=96, long_side=160)


def trainer(iterations=6, **options):
    return FastRCNNTrainer(schedule=Schedule(iterations=iterations, lr=0.01), workers=0, device="cpu", **options)


def test_the_losses_of_two_rois_by_hand(tmp_path):
    """An object and a RoI a tenth of its width to the left, mirrored or not; all scores and corrections are 0."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    no = np.zeros(1, bool)
    annotation = Annotation((64, 64), np.array([[21, 20, 31, 30]], np.float32), np.zeros(1, np.int64), no, no)
    database = ImageDatabase("one", SYNTHETIC_CLASSES, ["a"], lambda _: tmp_path / "a.png", lambda _: annotation)
    proposals = ProposalSet(("a",), [np.array([[20, 20, 30, 30]], np.float32)], {})
    net = network()
    for layer in (net.predictor.classes, net.predictor.boxes):
        torch.nn.init.zeros_(layer.weight)
    steps = trainer(1, sampler="all", images_per_batch=1).fit(net, database, proposals)["steps"]
    # The box loss of the RoI is that of a target of 1, one half; of the object's own box it is 0.
    np.testing.assert_allclose(steps, [[np.log(len(SYNTHETIC_CLASSES) + 1), 0.5 / 2, 2, 2]], rtol=1e-5)


def test_an_image_alone_scores_as_in_a_padded_batch():
    net = network().eval()
    with torch.no_grad():
        net.predictor.classes.weight.mul_(100)
    random = np.random.default_rng(0)
    images = [torch.from_numpy(random.integers(0, 255, (3, *size)).astype(np.uint8)) for size in ((96, 128), (128, 96))]
    boxes = np.array([[3, 5, 50, 40], [20, 10, 45, 55], [0, 0, 40, 40]], np.float32)
    targets = roi_targets(boxes, np.empty((0, 4)), np.empty(0))
    rows = torch.arange(3)
    with torch.inference_mode():
        together, deltas = net.of_rows(images, [targets, targets])([rows, rows])
        alone, _ = net.of_rows(images[:1], [targets])([rows])
        flipped, _ = net.of_rows(images[1:], [targets])([rows.flip(0)])
    assert together.shape == (6, len(SYNTHETIC_CLASSES) + 1) and deltas.shape == (6, 4 * together.shape[1])
    torch.testing.assert_close(together[:3], alone, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(together[3:], flipped.flip(0), atol=1e-3, rtol=1e-3)


def test_pooled_rois_are_where_the_boxes_are():
    """An object far from a box does not change its score, one inside does."""
    net = network().eval()
    with torch.no_grad():
        net.predictor.classes.weight.mul_(100)
    image = torch.full((3, 192, 320), 120, dtype=torch.uint8)
    changed = image.clone()
    changed[:, 110:, 100:180] = 255
    boxes = np.array([[110, 115, 170, 185], [272, 10, 312, 50]], np.float32)
    targets = roi_targets(boxes, np.empty((0, 4)), np.empty(0))
    with torch.inference_mode():
        before, after = (net.of_rows([one], [targets])([torch.arange(2)])[0] for one in (image, changed))
    assert (before[0] - after[0]).abs().max() > 1e-2
    torch.testing.assert_close(before[1], after[1])


@pytest.mark.parametrize("sampler", ["heuristic", "ohem", "ratio"])
def test_a_few_steps_lower_the_loss_and_leave_the_first_layers(data, sampler):
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    steps = trainer(40, sampler=sampler).fit(net, *data)["steps"]
    assert steps[-8:, 0].mean() < 0.8 * steps[:4, 0].mean()
    after = net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if not name.startswith("maps.0.")}


@pytest.mark.parametrize("seed", range(3))
def test_a_ctrl_c_at_any_step_loses_none(data, tmp_path, seed):
    whole, resumed = network(), network()
    history = trainer().fit(whole, *data)
    stop = np.random.default_rng(seed).integers(6)
    with ctrl_c_at(stop, RoIPredictor) as steps:
        with pytest.raises(KeyboardInterrupt):
            trainer().fit(network(), *data, checkpoint=tmp_path / "c")
        assert len(steps) == stop + 1
        again = trainer().fit(resumed, *data, checkpoint=tmp_path / "c")
        assert len(steps) == 6
    np.testing.assert_array_equal(history["steps"], again["steps"])
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])


def test_mirrored_images_mirror_their_boxes(data):
    images = image_training._Images(*data)
    (pixels, targets), (flipped, mirrored) = images[0, False], images[0, True]
    assert torch.equal(flipped, pixels.flip(2))
    for row in range(0, len(targets.boxes), 7):
        x1, y1, x2, y2 = targets.boxes[row].int().tolist()
        u1, v1, u2, v2 = mirrored.boxes[row].int().tolist()
        assert torch.equal(flipped[:, v1 : v2 + 1, u1 : u2 + 1], pixels[:, y1 : y2 + 1, x1 : x2 + 1].flip(2))
    torch.testing.assert_close(mirrored.max_overlaps, targets.max_overlaps)
    near = targets.max_overlaps > 0.3
    expected = targets.regression_targets[near] * torch.tensor([-1, 1, 1, 1])
    torch.testing.assert_close(mirrored.regression_targets[near], expected, atol=1e-4, rtol=1e-4)


def test_every_image_comes_once_in_an_epoch(data):
    draws = list(trainer(5)._draws(5, range(5)))
    assert sorted(image for batch in draws[:5] for image, _ in batch) == sorted([*range(5)] * 2)
    assert sorted(image for batch in draws for image, _ in batch[:])[:2] == [0, 0]
    assert list(trainer(5)._draws(5, range(3, 5))) == draws[3:]
    mirrored = [mirrored for batch in trainer(100)._draws(5, range(100)) for _, mirrored in batch]
    assert 70 < sum(mirrored) < 130


SAMPLERS = ("random", "ohem")


@pytest.fixture(scope="module")
def left_by_two(devkit, tmp_path_factory) -> Path:
    """The folder with what two processes left: a step of every sampler, then a training that a Ctrl-C ended."""
    out = tmp_path_factory.mktemp("two")
    script = Path(__file__).with_name("train_in_processes.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    package = str(Path(rcnn_svm.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": package}
    done = subprocess.run([*launch, str(devkit), str(out), *SAMPLERS], env=environment, timeout=200)
    assert done.returncode != 0
    return out


def test_a_ctrl_c_in_two_processes_loses_no_step(left_by_two):
    """Both processes and those that read their images get the signal."""
    steps = {f"{sampler}.{number}.pt" for sampler in SAMPLERS for number in range(2)}
    assert {path.name for path in left_by_two.iterdir()} == {"0.stopped", "1.stopped", "checkpoint", *steps}
    with h5py.File(left_by_two / "checkpoint") as handle:
        done, history = handle.attrs["done"], handle["history"][...]
    assert 3 <= done < 2000
    assert (history[:done, 2] > 0).all() and not history[done:].any()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_processes_train_one_network(devkit, left_by_two, sampler):
    """One step of two processes with an image each is one step with both images: here all have as many RoIs."""
    first, second = (torch.load(left_by_two / f"{sampler}.{n}.pt", weights_only=True) for n in range(2))
    images = sorted(first.pop("images") + second.pop("images"))
    assert len(set(images)) == 2
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
    database = load_voc(devkit / "VOCdevkit", "2007", "trainval", classes=SYNTHETIC_CLASSES)
    net = network()
    net.after.eval()
    loss = MinibatchLoss(net, make_sampler(sampler, 16))
    samples = image_training._Images(database, ProposalSet.load(devkit / "trainval.h5"))
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1)
    for index, mirrored, seed in images:
        image, targets = samples[index, mirrored]
        losses = loss([image], [targets], seed=seed)
        assert losses[2] == 16
        (0.5 * (losses[0] + losses[1])).backward()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer.step()
    for name, tensor in net.state_dict().items():
        expected = before[name] + 0.01 * (2 if name.endswith("bias") else 1) * (tensor - before[name])
        torch.testing.assert_close(first[name], expected, atol=1e-6, rtol=1e-4)


def test_networks_of_other_kinds_are_refused():
    with pytest.raises(InputError, match="backbone lite0 cannot pool RoIs here"):
        RoIPoolingNetwork("lite0", SYNTHETIC_CLASSES)
    with pytest.raises(InputError, match="short_side = 700 and long_side = 600"):
        RoIPoolingNetwork("alexnet", SYNTHETIC_CLASSES, short_side=700, long_side=600)
