"""The box targets of Fast R-CNN, divided by fixed numbers or normalised by class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rcnn_svm import paper
from rcnn_svm.boxes import box_deltas, iou_matrix
from rcnn_svm.detection.bbox_correction import correct_detections
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.head_training import RoIHeadTrainer, _Minibatches
from rcnn_svm.fast_rcnn.image_training import _Images
from rcnn_svm.fast_rcnn.roi_head import RoIHead
from rcnn_svm.fast_rcnn.targets import BoxScale, roi_targets
from tests.toys import toy_cache


def test_a_class_of_three_rois_by_hand():
    """An object and RoIs a tenth of its width to its left and right: dx is 0, 0.1 and -0.1, the rest 0."""
    boxes = np.array([[1, 0, 11, 10], [0, 0, 10, 10], [2, 0, 12, 10]], np.float32)
    image = roi_targets(boxes, boxes[:1], np.array([2]), BoxScale.plain(2))
    np.testing.assert_allclose(image.regression_targets[:, 0], [0, 0.1, -0.1], atol=1e-6)
    scale = BoxScale.of_images([image], 2)
    np.testing.assert_allclose(scale.means, np.zeros((3, 4)), atol=1e-6)
    np.testing.assert_allclose(scale.stds[2], [np.sqrt(0.02 / 3), *paper.BOX_STDS[1:]], rtol=1e-5)
    np.testing.assert_allclose(scale.stds[:2], [paper.BOX_STDS] * 2)  # classes without RoIs


def brute_force(images, num_classes):
    """Return mean and deviation of every class, from (boxes, objects, classes from 1) of every image."""
    found = [[] for _ in range(num_classes + 1)]
    for boxes, objects, classes in images:
        for box in boxes:
            iou = iou_matrix(box[None], objects)[0] if len(objects) else [0.0]
            best = int(np.argmax(iou))
            if np.float32(iou[best]) >= 0.5:
                found[classes[best]].append(box_deltas(box[None], objects[best][None])[0])
    assert all(found[1:])
    return np.array([np.mean(of_class, axis=0) for of_class in found[1:]]), np.array(
        [np.std(of_class, axis=0) for of_class in found[1:]]
    )


def test_the_scale_of_a_cache_is_that_of_all_its_foreground(telling):
    regions = [telling.regions(image) for image in range(telling.num_images)]
    means, stds = brute_force([(r.boxes, r.boxes[r.gt], r.label[r.gt]) for r in regions], 3)
    batches = _Minibatches(RoIHeadTrainer(box_targets="per-class"), telling)
    np.testing.assert_allclose(batches.box_scale.means[1:], means, atol=1e-6)
    np.testing.assert_allclose(batches.box_scale.stds[1:], stds, atol=1e-6)
    assert (np.abs(means) > 1e-3).any() and np.ptp(stds, axis=0).min() > 1e-3, "classes differ"
    _, images = next(batches.of_steps(range(1)))
    plain = _Minibatches(RoIHeadTrainer(), telling)
    assert plain.box_scale is None
    for image, fixed in zip(images, next(plain.of_steps(range(1)))[1], strict=True):
        near = image.max_overlaps >= 0.5
        c = image.max_classes[near].numpy() - 1
        expected = (fixed.regression_targets[near].numpy() * paper.BOX_STDS - means[c]) / stds[c]
        np.testing.assert_allclose(image.regression_targets[near], expected, atol=1e-4)


def test_over_images_the_mirrors_count_too(data):
    database, proposals = data
    images = []
    for index, image_id in enumerate(database.image_ids):
        truth = database.annotation(index)
        boxes = np.concatenate([truth.boxes, proposals.boxes_of(image_id)])
        mirrored = boxes.copy()
        mirrored[:, [0, 2]] = truth.image_size[1] - 1 - boxes[:, [2, 0]]
        for rois in (boxes, mirrored):
            images.append((rois, rois[: len(truth.boxes)], truth.classes + 1))
    scale = _Images(database, proposals).measure()
    present = np.unique(np.concatenate([classes for *_, classes in images]))
    found = [(rois, objects, np.searchsorted(present, classes) + 1) for rois, objects, classes in images]
    means, stds = brute_force(found, len(present))
    np.testing.assert_allclose(scale.means[present], means, atol=1e-5)
    np.testing.assert_allclose(scale.means[:, 0], 0, atol=1e-6)
    spread = stds > 1e-6
    np.testing.assert_allclose(scale.stds[present][spread], stds[spread], atol=1e-5)


def test_a_folded_layer_predicts_what_was_normalised():
    rng = np.random.default_rng(0)
    scale = BoxScale(rng.normal(size=(4, 4)), rng.uniform(0.1, 2, (4, 4)))
    layer = torch.nn.Linear(5, 16)
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    before = layer(features).detach().numpy().reshape(7, 4, 4)
    scale.fold_into(layer)
    np.testing.assert_allclose(
        layer(features).detach().numpy().reshape(7, 4, 4), before * scale.stds + scale.means, atol=1e-5
    )


def test_a_step_without_features_by_hand():
    """RoIs a tenth of the object's width off, both to the left: mean and deviation are known, and so is the step."""
    boxes = np.array([[1, 0, 11, 10], [0, 0, 10, 10]], np.float32)
    cache = toy_cache([2], classes=("cat",), features=np.zeros((2, 1)), label=[1, 0], boxes=boxes)
    options = {"sampler": "all", "iterations": 1, "lr": 0.1, "images_per_batch": 1, "feat_norm_mean": 20}
    trainer = RoIHeadTrainer(**options, box_targets="per-class").fit(cache)
    # dx is 0 and 0.1, normalised -1 and 1: a loss of one half each, and gradients that cancel.
    np.testing.assert_allclose(trainer.history_["steps"], [[np.log(2), 0.5, 2, 2]], rtol=1e-5)
    np.testing.assert_allclose(trainer.head_.box_B, [0, 0, 0, 0, 0.05, 0, 0, 0], atol=1e-6)
    assert trainer.head_.box_stds == (1, 1, 1, 1)


def test_a_head_of_normalised_targets_corrects_boxes(telling, unseen, tmp_path):
    trainer = RoIHeadTrainer(box_targets="per-class", iterations=150, lr=5e-3).fit(telling)
    trainer.save(tmp_path / "head.h5")
    head = RoIHead.load(tmp_path / "head.h5")
    found = detect_in_cache(unseen, head)
    corrected = correct_detections(found, head, unseen)
    gains = []
    for number in range(unseen.num_images - 1):  # the last has no object
        regions = unseen.regions(number)
        mine = found.image == number
        near = regions.overlap[found.row[mine], found.cls[mine]] >= 0.55
        best = [iou_matrix(one.box[mine][near], regions.boxes[regions.gt]).max(axis=1) for one in (found, corrected)]
        gains.extend(best[1] - best[0])
    assert np.mean(gains) > 0.08


def test_the_default_is_what_it_was(telling):
    identity = RoIHeadTrainer().identity(telling)
    assert "box_targets" not in identity["parameters"]
    assert RoIHeadTrainer(box_targets="per-class").identity(telling)["parameters"]["box_targets"] == "per-class"
    with pytest.raises(InputError, match="box_targets = 'data' must be one of fixed, per-class"):
        RoIHeadTrainer(box_targets="data").fit(telling)
