"""Detections of an image set: order, access, suppression, the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rcnn_svm.boxes import nms
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.errors import InputError


def random_detections(seed=0, count=300, num_images=7, num_classes=3):
    random = np.random.default_rng(seed)
    corner = random.integers(0, 60, (count, 2))
    return Detections(
        image_ids=tuple(f"{i:06d}" for i in range(num_images)),
        classes=("cat", "dog", "Küche")[:num_classes],
        image=random.integers(0, num_images, count),
        cls=random.integers(0, num_classes, count),
        box=np.hstack([corner, corner + random.integers(5, 60, (count, 2))]),
        score=random.integers(-8, 8, count) / 4,
        row=np.arange(count),
        settings={"image_set": "toy"},
    )


def test_three_boxes_in_two_images():
    boxes = [[0, 0, 9, 9], [5, 5, 9, 9], [1, 1, 3, 3]]
    detections = Detections(
        ("a", "b"), ("cat", "dog"), np.array([0, 1, 0]), np.array([0, 0, 1]), boxes, [0.1, 0.9, 0.5]
    )
    assert (detections.of_class(0), detections.of_class(1)) == (slice(0, 2), slice(2, 3))
    found = detections.of_image(0)
    assert (found.cls.tolist(), found.boxes.tolist()) == ([1, 0], [boxes[2], boxes[0]])


def test_rows_are_by_class_and_otherwise_as_given():
    detections = random_detections()
    for index in range(3):
        rows = detections.of_class(index)
        assert (detections.cls[rows] == index).all()
        assert (np.diff(detections.row[rows]) > 0).all()
    assert sum(rows.stop - rows.start for rows in map(detections.of_class, range(3))) == len(detections)


def test_of_image_gives_everything_best_first():
    detections = random_detections()
    seen = 0
    for index in range(len(detections.image_ids)):
        found = detections.of_image(index)
        seen += len(found)
        assert (np.diff(found.scores) <= 0).all()
        expected = detections.image == index
        assert sorted(map(tuple, found.boxes.tolist())) == sorted(map(tuple, detections.box[expected].tolist()))
    assert seen == len(detections)


def test_a_subset_has_the_detections_of_its_images_in_its_order():
    rng = np.random.default_rng(0)
    image, cls = rng.integers(0, 5, 60), np.sort(rng.integers(0, 3, 60))
    box = np.sort(rng.uniform(0, 90, (60, 4)), axis=1)
    everything = Detections(tuple("abcde"), ("cat", "cow", "dog"), image, cls, box, rng.normal(size=60))
    some = everything.subset(["d", "a"])
    assert some.image_ids == ("d", "a") and len(some) == np.isin(image, (0, 3)).sum()
    for ours, theirs in ((0, 3), (1, 0)):
        for name in ("cls", "boxes", "scores"):
            expected = getattr(everything.of_image(theirs), name)
            np.testing.assert_array_equal(getattr(some.of_image(ours), name), expected)
    with pytest.raises(InputError, match="the detections are not of image f"):
        everything.subset(["a", "f"])


def test_above_is_strict():
    found = ImageDetections(np.zeros(3, np.int32), np.zeros((3, 4), np.float32), np.array([2, 0, -1], np.float32))
    assert found.above(0).scores.tolist() == [2]


def test_above_takes_a_threshold_per_class():
    found = ImageDetections(np.array([1, 0, 1]), np.zeros((3, 4), np.float32), np.array([2, 1, -1], np.float32))
    assert found.above(np.array([1, -2])).scores.tolist() == [2, -1]


def test_nms_is_done_within_class_and_image():
    detections = random_detections()
    after = detections.after_nms(0.3)
    expected = []
    for index in range(3):
        for image in range(7):
            rows = np.flatnonzero((detections.cls == index) & (detections.image == image))
            expected += detections.row[rows[nms(detections.box[rows], detections.score[rows], 0.3)]].tolist()
    assert after.row.tolist() == expected
    assert 0 < len(after) < len(detections)
    np.testing.assert_array_equal(after.box_counts, detections.box_counts)


def test_nms_again_changes_nothing():
    after = random_detections().after_nms(0.3)
    assert after.after_nms(0.3) is after
    assert len(after.after_nms(0.1)) < len(after)


def test_boxes_that_moved_after_a_suppression_are_suppressed_again():
    """Two boxes apart survive; moved on top of each other, one of them goes, whatever is recorded."""
    apart = Detections(("a",), ("cat",), [0, 0], [0, 0], [[0, 0, 9, 9], [50, 50, 59, 59]], [0.5, 0.9]).after_nms(0.3)
    moved = replace(apart, box=apart.box[[0, 0]])
    for threshold in (0.3, 0.5):
        again = moved.after_nms(threshold)
        assert (again.score.tolist(), again.settings["nms"]) == ([np.float32(0.9)], threshold)


def test_a_looser_suppression_after_a_strict_one_is_recorded_as_the_strict_one():
    """What was suppressed at an IoU of 0.1 does not overlap by 0.9 only."""
    strict = random_detections().after_nms(0.1)
    assert strict.after_nms(0.9) is strict
    assert strict.settings["nms"] == 0.1


def test_nms_of_nothing():
    empty = random_detections(count=0)
    assert len(empty.after_nms()) == 0
    assert len(empty.of_image(0)) == 0


def test_file_gives_back_everything(tmp_path):
    detections = random_detections()
    detections.save(tmp_path / "toy.h5")
    loaded = Detections.load(tmp_path / "toy.h5")
    assert (loaded.image_ids, loaded.classes, loaded.settings) == (
        detections.image_ids,
        detections.classes,
        detections.settings,
    )
    for name in ("image", "cls", "box", "score", "row", "thresh", "box_counts"):
        found, expected = getattr(loaded, name), getattr(detections, name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_empty_detections_can_be_saved(tmp_path):
    random_detections(count=0).save(tmp_path / "none.h5")
    assert len(Detections.load(tmp_path / "none.h5")) == 0


def test_a_truncated_file_is_one_sentence(tmp_path):
    path = tmp_path / "toy.h5"
    random_detections().save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"toy\.h5.*truncated or damaged"):
        Detections.load(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image", 7, r"image indices must be in \[0, 7\), found 7"),
        ("cls", -1, r"cls indices must be in \[0, 3\), found -1"),
        ("score", np.nan, "finite"),
    ],
)
def test_arrays_that_make_no_sense_are_refused(name, value, message):
    good = random_detections()
    arrays = {key: getattr(good, key).copy() for key in ("image", "cls", "box", "score")}
    arrays[name][5] = value
    with pytest.raises(InputError, match=message):
        Detections(good.image_ids, good.classes, **arrays)
    with pytest.raises(InputError, match=r"box has shape \(299, 4\)"):
        Detections(good.image_ids, good.classes, good.image, good.cls, good.box[1:], good.score)


def test_merged_detections_hold_both():
    settings = {"detector": {"digest": "d"}}
    here = Detections(("a", "b"), ("cat",), [0], [0], [[0, 0, 9, 9]], [0.5], row=[7], settings=settings)
    earlier = Detections(("a", "b"), ("cat",), [1, 0], [0, 0], [[1, 1, 5, 5], [2, 2, 6, 6]], [0.25, 0.75], row=[2, 3])
    earlier.settings = {**settings, "features": "f"}
    both = here.merged(earlier, max_per_image=100, max_per_set=100)
    assert (both.image.tolist(), both.score.tolist(), both.row.tolist()) == ([0, 0, 1], [0.75, 0.5, 0.25], [3, 7, 2])
    assert both.settings == {**settings, "also": {"features": "f"}}
    assert both.box_counts.tolist() == [3]
    with pytest.raises(InputError, match="were voted, and all would vote together now"):
        here.merged(earlier.after_voting(), max_per_image=100, max_per_set=100)
    assert both.after_voting().settings["voting"] == {
        "iou": 0.5,
        "offset": 1.3,
        "support": 0.6,
        "floor": 0.1,
        "typical": 12.5,
    }


def test_the_limits_hold_for_merged_detections():
    here, earlier = random_detections(seed=1), random_detections(seed=2)
    both = here.merged(earlier, max_per_image=9, max_per_set=30)
    score, cls, image = (
        np.concatenate([getattr(each, name) for each in (here, earlier)]) for name in ("score", "cls", "image")
    )
    for index in range(3):
        of_images = [np.sort(score[(cls == index) & (image == number)])[::-1][:9] for number in range(7)]
        of_class = np.sort(np.concatenate(of_images))[::-1]
        expected = of_class[of_class >= of_class[29]]
        np.testing.assert_array_equal(np.sort(both.score[both.of_class(index)])[::-1], expected)
        assert both.thresh[index] == of_class[29]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image_ids": tuple("abcdefg")}, r"the images differ \(images\[0\]: a there, 000000 wanted"),
        ({"classes": ("cat", "cow", "dog")}, "the classes differ"),
        ({"settings": {"detector": {"digest": "other"}}}, "the detectors differ .detectors: other there, None wanted"),
        ({"settings": {"nms": 0.3}}, "were suppressed, so boxes that would vote are gone"),
    ],
)
def test_what_does_not_belong_together_is_not_merged(changed, message):
    with pytest.raises(InputError, match=f"the earlier detections .*{message}"):
        random_detections().merged(replace(random_detections(), **changed), 100, 100)
    with pytest.raises(InputError, match="merge before non-maximum suppression"):
        random_detections().after_nms().merged(random_detections(), 100, 100)
