"""Training of RoI heads: it learns, resumes, and what it learns is what is tested."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.nn import functional

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.bbox_correction import correct_detections
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.head_training import RoIHeadTrainer, _Minibatches
from rcnn_svm.fast_rcnn.network import RoIPredictor
from rcnn_svm.fast_rcnn.roi_head import RoIHead
from rcnn_svm.fast_rcnn.samplers import SAMPLERS
from tests.interrupt import ctrl_c_at
from tests.toys import toy_cache


def assert_same(head, other):
    assert head.digest == other.digest and head.training == other.training


def test_a_step_without_features_by_hand():
    """An object and a RoI a tenth of its width to the left: of all scores 0, both losses and biases are plain."""
    boxes = np.array([[1, 0, 11, 10], [0, 0, 10, 10]], np.float32)
    cache = toy_cache([2], classes=("cat",), features=np.zeros((2, 1)), label=[1, 0], boxes=boxes)
    trainer = RoIHeadTrainer(sampler="all", iterations=1, lr=0.1, images_per_batch=1, feat_norm_mean=20).fit(cache)
    # The box loss of the RoI is that of a target of 1, one half; of the object's own box it is 0.
    np.testing.assert_allclose(trainer.history_["steps"], [[np.log(2), 0.5 / 2, 2, 2]], rtol=1e-6)
    np.testing.assert_allclose(trainer.history_["probes"][0], [0, np.log(2), 0.5 / 2], rtol=1e-6)
    np.testing.assert_allclose(trainer.head_.B, [-0.2 * 0.5, 0.2 * 0.5], rtol=1e-6)  # biases: twice the rate
    np.testing.assert_allclose(trainer.head_.box_B, [*[0] * 4, 0.2 * 0.5, *[0] * 3], atol=1e-7)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_loss_over_all_rois_falls(telling, sampler):
    trainer = RoIHeadTrainer(sampler=sampler, iterations=100, hidden=5, lr=2e-3).fit(telling)
    probes, steps = trainer.history_["probes"], trainer.history_["steps"]
    assert probes[0, 0] == 0 and probes[-1, 0] == 100 and len(probes) == 21
    assert steps.shape == (100, 4) and np.isfinite(steps).all()
    assert probes[-1, 1:].sum() < 0.7 * probes[0, 1:].sum()


@pytest.mark.parametrize("seed", range(3))
def test_a_ctrl_c_at_any_step_loses_none(telling, tmp_path, seed):
    def trainer():
        return RoIHeadTrainer(sampler="heuristic", iterations=30, hidden=4)

    with ctrl_c_at(-1, RoIPredictor) as passes:
        whole = trainer().fit(telling)
    checkpoint = tmp_path / "checkpoint"
    first, second = np.sort(np.random.default_rng(seed).choice(len(passes), 2, replace=False))
    with ctrl_c_at(first, RoIPredictor) as before, pytest.raises(KeyboardInterrupt):
        trainer().fit(telling, checkpoint=checkpoint)
    with ctrl_c_at(second - len(before), RoIPredictor) as between, contextlib.suppress(KeyboardInterrupt):
        trainer().fit(telling, checkpoint=checkpoint)
    with ctrl_c_at(-1, RoIPredictor) as after:
        resumed = trainer().fit(telling, checkpoint=checkpoint)
    assert len(before) + len(between) + len(after) == len(passes)  # no step and no probe was done again
    assert_same(resumed.head_, whole.head_)
    for name in ("steps", "probes"):
        np.testing.assert_array_equal(resumed.history_[name], whole.history_[name])
    with pytest.raises(InputError, match="checkpoint of another training"):
        RoIHeadTrainer(sampler="all", iterations=30, hidden=4).fit(telling, checkpoint=checkpoint)


def test_the_images_of_a_step_depend_on_seed_and_step_alone(telling):
    def images_of(seed, steps):
        batches = _Minibatches(RoIHeadTrainer(seed=seed), telling).of_steps(steps)
        return [[image.boxes.tolist() for image in images] for _, images in batches]

    in_order = images_of(4, range(12))
    epochs = [str(boxes) for images in in_order for boxes in images]
    assert len(set(epochs[:12])) == len(set(epochs[12:])) == telling.num_images and epochs[:12] != epochs[12:]
    assert images_of(4, range(9, 12)) == in_order[9:]
    assert images_of(4, range(2, 3)) == in_order[2:3]
    assert images_of(5, range(12)) != in_order


def test_the_step_is_that_of_sgd(telling):
    """One step from the initial weights, by hand: biases twice as fast, weights with decay."""
    slow = RoIHeadTrainer(sampler="all", iterations=1, images_per_batch=12, lr=1e-12).fit(telling).head_
    head = (
        RoIHeadTrainer(sampler="all", iterations=1, images_per_batch=12, lr=0.01, weight_decay=0.1).fit(telling).head_
    )
    W = torch.tensor(slow.W, requires_grad=True)
    B = torch.tensor(slow.B, requires_grad=True)
    regions = [telling.regions(i) for i in range(telling.num_images)]
    features = np.concatenate([region.features for region in regions]) * np.float32(20 / slow.feat_norm_mean)
    overlap = np.concatenate([region.overlap for region in regions])
    labels = np.where(overlap.max(axis=1) >= 0.5, overlap.argmax(axis=1) + 1, 0)
    functional.cross_entropy(torch.from_numpy(features) @ W + B, torch.from_numpy(labels)).backward()
    np.testing.assert_allclose(head.W, slow.W - 0.01 * (W.grad.numpy() + 0.1 * slow.W), atol=2e-6)
    np.testing.assert_allclose(head.B, -0.02 * B.grad.numpy(), atol=2e-6)


@pytest.mark.parametrize("hidden", [0, 16])
def test_boxes_and_classes_are_found_in_unseen_images(telling, unseen, hidden):
    head = RoIHeadTrainer(sampler="heuristic", iterations=400, hidden=hidden, lr=5e-3).fit(telling).head_
    found = detect_in_cache(unseen, head)
    corrected = correct_detections(found, head, unseen)
    gains, right = [], []
    for number in range(unseen.num_images):
        regions = unseen.regions(number)
        objects = regions.boxes[regions.gt]
        for c in np.unique(regions.label[regions.gt]) - 1:
            mine = (found.image == number) & (found.cls == c)
            near = regions.overlap[found.row[mine], c] >= 0.55
            best = [iou_matrix(one.box[mine][near], objects).max(axis=1) for one in (found, corrected)]
            gains.extend(best[1] - best[0])
            scores = head.scores(regions.features)
            right.extend(scores[regions.overlap[:, c] >= 0.6].argmax(axis=1) == c)
    assert np.mean(gains) > 0.08
    assert np.mean(right) > 0.9
    assert (corrected.box >= 0).all() and (corrected.box <= 199).all()


def test_scores_are_the_softmax_and_the_file_keeps_everything(telling, tmp_path):
    trainer = RoIHeadTrainer(iterations=20, hidden=4).fit(telling)
    head = trainer.head_
    trainer.save(tmp_path / "head.h5")
    loaded = RoIHead.load(tmp_path / "head.h5")
    assert_same(loaded, head)
    assert loaded.training["identity"] == trainer.identity(telling)
    features = telling.regions(0).features
    scaled = torch.from_numpy(features * (20 / head.feat_norm_mean))
    last = (scaled @ torch.from_numpy(head.hidden_W) + torch.from_numpy(head.hidden_B)).relu()
    expected = torch.softmax(last @ torch.from_numpy(head.W) + torch.from_numpy(head.B), dim=1)[:, 1:]
    np.testing.assert_allclose(expit(loaded.scores(features)), expected.numpy(), atol=1e-5)
    with pytest.raises(InputError, match="expects 8-d features, these have 3"):
        head.scores(features[:, :3])


def test_an_image_without_detections_has_nothing_to_correct(telling):
    head = RoIHeadTrainer(iterations=5).fit(telling).head_
    detections = detect_in_cache(telling, head, max_per_set=5)
    assert len(np.unique(detections.image)) < telling.num_images
    assert len(correct_detections(detections, head, telling)) == len(detections)


def test_descent_without_momentum_resumes(telling, tmp_path):
    def trainer(iterations):
        return RoIHeadTrainer(iterations=iterations, momentum=0.0, step=9)

    whole = trainer(8).fit(telling)
    trainer(8).fit(telling, checkpoint=tmp_path / "c", checkpoint_seconds=0)
    again = trainer(8).fit(telling, checkpoint=tmp_path / "c")
    assert_same(again.head_, whole.head_)


def test_shards_do_not_change_the_result(telling):
    whole = RoIHeadTrainer(iterations=10).fit(telling).head_
    parts = RoIHeadTrainer(iterations=10).fit(telling.subset(range(telling.num_images))).head_
    np.testing.assert_array_equal(whole.W, parts.W)


def test_bad_parameters_and_data(telling):
    for wrong in (
        {"sampler": "best"},
        {"iterations": 0},
        {"hidden": -1},
        {"lr": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"step": 0},
        {"images_per_batch": 0},
        {"seed": -1},
        {"feat_norm_mean": 0.0},
        {"feat_norm_mean": np.nan},
    ):
        ((name, _),) = wrong.items()
        with pytest.raises(InputError, match=name):
            RoIHeadTrainer(**wrong).fit(telling)
    with pytest.raises(InputError, match="grown beyond all bounds before step 20"):
        RoIHeadTrainer(iterations=40, lr=1e30).fit(telling)
    with pytest.raises(InputError, match="grown beyond all bounds before step 1 "):
        RoIHeadTrainer(iterations=1, lr=1e38).fit(telling)
    empty = telling.subset([telling.num_images - 1])
    with pytest.raises(InputError, match="no image of telling shows an object"):
        RoIHeadTrainer(iterations=1).fit(empty)


def test_more_shards_may_stay_open(telling, tmp_path):
    from rcnn_svm.cache import plan_cache

    rows = np.diff(telling.image_start)
    plan = plan_cache(
        tmp_path,
        name=telling.name,
        classes=telling.classes,
        image_ids=telling.image_ids,
        rows=rows,
        settings=telling.settings,
        dim=telling.dim,
        sources=telling.image_ids,
        shard_images=2,
    )
    for shard in plan.pending():
        plan.write_shard(shard, [telling.regions(i) for i in plan.images_of(shard)])
    loads = []
    cache = FeatureCache.open(tmp_path, shards_mapped=3)
    original = cache._shard.__wrapped__
    cache = FeatureCache(plan, lambda shard: loads.append(shard) or original(shard), 3)
    for image in (0, 2, 4, 1, 3, 5):
        cache.regions(image)
    assert loads == [0, 1, 2]
