from __future__ import annotations

import h5py
import numpy as np
import pytest

from rcnn_svm.artefacts.files import create_h5
from rcnn_svm.errors import InputError
from rcnn_svm.proposals.sliding_window import SlidingWindow
from rcnn_svm.proposals.store import ProposalSet

BOXES = [np.array([[0, 1, 2, 3], [4.5, 5, 6, 7]]), np.empty((0, 4)), np.array([[1, 1, 1, 1]])]


def make_set(**changes):
    arguments = {"image_ids": ["a", "ü", "c"], "boxes": BOXES, "settings": {"method": "fast", "database": "toys"}}
    return ProposalSet(**{**arguments, **changes})


def test_file_gives_back_what_was_saved(tmp_path):
    saved = make_set()
    saved.save(tmp_path / "p.h5")
    loaded = ProposalSet.load(tmp_path / "p.h5")
    assert loaded.image_ids == ("a", "ü", "c") and len(loaded) == 3
    assert loaded.settings == saved.settings
    assert loaded.fingerprint == saved.fingerprint
    for image_id, boxes in zip(loaded.image_ids, BOXES, strict=True):
        assert loaded.boxes_of(image_id).dtype == np.float32
        np.testing.assert_array_equal(loaded.boxes_of(image_id), boxes)


def test_file_layout(tmp_path):
    make_set().save(tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5") as handle:
        assert handle.attrs["kind"] == "proposals" and handle.attrs["schema"] == 1
        assert handle["image_start"][()].tolist() == [0, 2, 2, 3]
        assert handle["boxes"].shape == (3, 4) and handle["boxes"].dtype == np.float32


def test_one_image_without_boxes(tmp_path):
    ProposalSet(["a"], [[]], {}).save(tmp_path / "p.h5")
    assert ProposalSet.load(tmp_path / "p.h5").boxes_of("a").shape == (0, 4)


def test_fingerprint_tells_every_change():
    moved = [BOXES[0] + [0, 0, 0, 1], *BOXES[1:]]
    elsewhere = [BOXES[0], BOXES[2], BOXES[1]]
    variants = [
        make_set(),
        make_set(boxes=moved),
        make_set(boxes=elsewhere),
        make_set(image_ids=["a", "c", "ü"]),
        make_set(settings={"method": "quality", "database": "toys"}),
    ]
    assert len({variant.fingerprint for variant in variants}) == len(variants)
    assert make_set().fingerprint == variants[0].fingerprint


def test_limits_applied_later_give_what_the_proposer_makes(scene):
    image = scene(40, 60)
    whole, less = SlidingWindow(), SlidingWindow(max_boxes=50, merge_iou=0.5)
    limited = ProposalSet(["a"], [whole(image)], whole.settings).limited(50, 0.5)
    np.testing.assert_array_equal(limited.boxes_of("a"), less(image))
    assert limited.settings == less.settings
    assert 1 < len(limited.boxes[0]) < 50
    step_by_step = ProposalSet(["a"], [whole(image)], whole.settings).limited(50).limited(80, 0.5).limited()
    assert step_by_step.fingerprint == limited.fingerprint


@pytest.mark.parametrize("limits", [(20, None), (None, 0.4), (20, 0.5)])
def test_merged_boxes_cannot_be_limited_otherwise(limits):
    merged = make_set().limited(50, 0.5)
    assert merged.limited(60, 0.5).fingerprint == merged.fingerprint
    with pytest.raises(InputError, match=r"merged at IoU 0\.5 after a limit of 50 boxes"):
        merged.limited(*limits)


def test_unknown_image_is_named():
    with pytest.raises(InputError, match="image 000007 has no proposals among the 3 images of toys"):
        make_set().boxes_of("000007")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_ids": ["a", "b"]}, "3 images but 2 image ids"),
        ({"image_ids": ["a", "b", "a"]}, "more than once"),
        ({"boxes": [BOXES[0], BOXES[1], [[0, 0, np.nan, 1]]]}, r"image c: proposal 0 is \[0.0, 0.0, nan"),
        ({"boxes": [[[0, 0, 1, 1], [5, 0, 4, 1]], BOXES[1], BOXES[2]]}, "image a: proposal 1"),
    ],
)
def test_impossible_contents_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        make_set(**changes)


def test_truncated_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "p.h5"
    with pytest.raises(InputError, match="does not exist"):
        ProposalSet.load(path)
    make_set().save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"p\.h5.*truncated"):
        ProposalSet.load(path)
    with create_h5(path, "proposals", 1, {}):
        pass
    with pytest.raises(InputError, match="no complete proposals file"):
        ProposalSet.load(path)
    with h5py.File(path, "w") as handle:
        handle["x"] = 1
    with pytest.raises(InputError, match="not written by rcnn-svm"):
        ProposalSet.load(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_boxes": "x"}, "max_boxes is x"), ({"merge_iou": [1]}, r"merge_iou is \[1\]"), ([], "damaged|complete")],
)
def test_settings_of_other_types_are_refused(tmp_path, settings, message):
    with create_h5(tmp_path / "p.h5", "proposals", 1, settings) as handle:
        handle.create_dataset("image_ids", data=["a"], dtype=h5py.string_dtype())
        handle["image_start"] = [0, 1]
        handle["boxes"] = np.ones((1, 4), np.float32)
    with pytest.raises(InputError, match=message):
        ProposalSet.load(tmp_path / "p.h5")
