"""The windows drawn: how many of which kind, from where, and again the same."""

import numpy as np
import pytest

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.errors import InputError
from rcnn_svm.finetune.windows import MinibatchSampler, Windows
from rcnn_svm.proposals.store import ProposalSet


@pytest.fixture
def windows(database, proposals):
    return Windows(database, proposals)


def best_object(database, image, box):
    """The largest IoU with an object of the image, and its class."""
    truth = database.annotation(image)
    if not len(truth.boxes):
        return 0.0, -1
    iou = iou_matrix(box[None], truth.boxes)[0]
    return iou.max(), truth.classes[iou.argmax()]


@pytest.mark.parametrize(("width", "label"), [(20, 1), (21, 0)])
def test_half_is_foreground(database, width, label):
    """An object of 10 x 10 pixels inside a window of 10 x 20 has an IoU of exactly one half."""
    one = database.subset(database.image_ids[:1])
    truth = one.annotation(0)
    truth.boxes[:] = [[0, 0, 9, 9], [50, 30, 60, 40]]
    boxes = np.array([[0, 0, width - 1, 9], [30, 0, 39, 9]])
    assert Windows(one, ProposalSet(one.image_ids, [boxes], {})).labels.tolist() == [1, 2, label, 0]


def test_every_window_is_of_one_kind(database, proposals, windows):
    assert len(windows) == sum(len(database.annotation(i).boxes) + 12 for i in range(6))
    everything = np.concatenate([windows.foreground, windows.background])
    np.testing.assert_array_equal(np.sort(everything), np.arange(len(windows)))
    boxes, images = windows.boxes_of(np.arange(len(windows))), windows.images_of(np.arange(len(windows)))
    for window, (box, image) in enumerate(zip(boxes, images, strict=True)):
        iou, index = best_object(database, image, box)
        assert windows.labels[window] == (index + 1 if iou >= 0.5 else 0)
    kinds = np.bincount(windows.labels)
    assert kinds.min() > 5  # background and both classes


def test_ground_truth_boxes_are_windows(database, windows):
    for i in range(len(database)):
        truth = database.annotation(i)
        rows = windows.image_start[i] + np.arange(len(truth.boxes))
        np.testing.assert_array_equal(windows.boxes_of(rows), truth.boxes)
        np.testing.assert_array_equal(windows.labels[rows], truth.classes + 1)


def test_batches_hold_what_they_should(database, windows):
    sampler = MinibatchSampler(windows, batch_size=40, foreground=10, seed=1)
    images, mirrored = set(), 0
    for step in range(30):
        batch = sampler.draw(step)
        assert (batch.labels > 0).sum() == 10 and len(batch.labels) == 40
        for image, box, label in zip(batch.images, batch.boxes, batch.labels, strict=True):
            iou, index = best_object(database, image, box)
            assert (iou >= 0.5 and label == index + 1) if label else iou < 0.5
        images |= set(batch.images.tolist())
        mirrored += batch.mirrored.sum()
    assert images == set(range(6))
    assert abs(mirrored - 600) < 5 * np.sqrt(300)


def test_few_windows_on_objects_repeat(database):
    one = database.subset(database.image_ids[:1])
    far = ProposalSet(one.image_ids, [np.array([[60, 44, 63, 47]])], {})
    batch = MinibatchSampler(Windows(one, far), batch_size=128, foreground=32).draw(0)
    np.testing.assert_array_equal(np.sort(np.unique(batch.labels)), [0, 1, 2])
    assert (batch.labels > 0).sum() == 32 and (batch.labels == 0).sum() == 96


def test_draws_are_uniform(windows):
    """Every window of a kind is as likely as any other."""
    sampler = MinibatchSampler(windows, batch_size=1000, foreground=500, seed=2)
    drawn = np.concatenate([sampler.draw(step).boxes[:500] for step in range(20)])
    boxes = windows.boxes_of(windows.foreground)
    counts = np.array([(drawn == box).all(axis=1).sum() for box in boxes])
    share = np.array([(boxes == box).all(axis=1).sum() for box in boxes]) / len(boxes)
    np.testing.assert_array_less(np.abs(counts - 10_000 * share), 5 * np.sqrt(10_000 * share))


def test_a_batch_depends_on_seed_and_step_alone(windows):
    sampler = MinibatchSampler(windows, seed=5)
    expected = [sampler.draw(step) for step in range(4)]
    other = MinibatchSampler(windows, seed=5)
    for step in (3, 1, 1, 0, 2):
        again = other.draw(step)
        for name in ("images", "boxes", "labels", "mirrored"):
            np.testing.assert_array_equal(getattr(again, name), getattr(expected[step], name))
    others = [*expected[1:], MinibatchSampler(windows, seed=6).draw(0)]
    assert all((batch.boxes != expected[0].boxes).any() for batch in others)


def test_one_kind_alone_is_refused(database):
    empty = database.subset(database.image_ids[5:])
    with pytest.raises(InputError, match=r"none of the 1 windows of squares_.* is on objects"):
        Windows(empty, ProposalSet(empty.image_ids, [np.array([[0, 0, 9, 9]])], {}))
    one = database.subset(database.image_ids[:1])
    with pytest.raises(InputError, match=r"none of the 2 windows of squares_.* is on background"):
        Windows(one, ProposalSet(one.image_ids, [np.empty((0, 4))], {}))


def test_proposals_of_other_images_are_refused(database, proposals):
    some = ProposalSet(proposals.image_ids[:2], proposals.boxes[:2], {})
    with pytest.raises(InputError, match="no boxes for 4 of 6 images"):
        Windows(database, some)
