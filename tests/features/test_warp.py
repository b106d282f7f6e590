"""Warped crops against the original's, against plain resizing, and against each other."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rcnn_svm.errors import InputError
from rcnn_svm.features import warp
from rcnn_svm.features.warp import (
    CROP_MODES,
    paper_padding,
    plan_crops,
    round_half_away,
    sample_crops,
    sample_crops_torch,
    warp_regions,
)

RNG = np.random.default_rng(7)
IMAGE = RNG.integers(0, 256, (37, 53, 3), np.uint8)
BOXES = np.array(
    [[0, 0, 52, 36], [5, 5, 5, 5], [-9, -4, 20, 12], [40, 30, 70, 60], [3, 0, 4, 36], [10.4, 8.6, 30.5, 19.5]]
)
RAW = ((0, 0, 0), (1, 1, 1))


def sample_crops_in_arrays(*args):
    """Sample as where numba is not installed."""
    with mock.patch.object(warp, "_sample", warp._sample_in_arrays):
        sample_crops(*args)


SAMPLERS = (sample_crops, sample_crops_in_arrays, sample_crops_torch)


def sample_with(sampler, image, plan, mean, std):
    out = np.full((len(plan), 3, plan.crop_size, plan.crop_size), np.nan, np.float32)
    if sampler is not sample_crops_torch:
        sampler(image, plan, mean, std, out)
    else:
        sampler(torch.from_numpy(image.copy()), plan, mean, std, torch.from_numpy(out))
    return out


def test_padding_of_the_paper():
    assert (paper_padding(227), paper_padding(128)) == (16, 9)


@pytest.mark.golden
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("mode", CROP_MODES)
def test_equals_the_original(golden_dir, sampler, mode):
    with np.load(golden_dir / "crop/inputs.npz") as inputs, np.load(golden_dir / "crop/expected.npz") as expected:
        jobs = [(i, job) for i, job in enumerate(inputs["jobs"]) if bool(job[3]) == (mode == "square")]
        assert jobs
        for i, (number, size, padding, _, *box) in jobs:
            size = int(size)
            image = inputs[f"image{int(number)}"][:, :, ::-1]  # the original works on BGR
            boxes = np.array([box]) - 1  # and counts pixels from 1
            plan = plan_crops(boxes, image.shape[:2], crop_size=size, padding=int(padding), mode=mode)
            crop = sample_with(sampler, image, plan, *RAW)[0].transpose(1, 2, 0)
            crop = np.where(plan.valid[0, :, :, None], crop - inputs[f"mean{size}"], crop)
            np.testing.assert_allclose(crop, expected[f"crop_{i:03d}"], rtol=0, atol=1e-4, err_msg=f"job {i}")


@pytest.mark.parametrize("mode", CROP_MODES)
@pytest.mark.parametrize("padding", [0, 5])
def test_samplers_agree(mode, padding):
    plan = plan_crops(BOXES, IMAGE.shape[:2], crop_size=32, padding=padding, mode=mode)
    mean, std = (120.0, 110.0, 100.0), (60.0, 55.0, 50.0)
    first, *others = (sample_with(sampler, IMAGE, plan, mean, std) for sampler in SAMPLERS)
    for other in others:
        np.testing.assert_allclose(first, other, rtol=0, atol=1e-5)


def test_whole_image_is_a_bilinear_resize():
    boxes = np.array([[0, 0, 52, 36]])
    crop = warp_regions(IMAGE, boxes, crop_size=48, padding=0)
    tensor = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(tensor, size=(48, 48), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(crop, resized.numpy(), rtol=0, atol=1e-3)


def test_box_of_the_crop_size_is_copied():
    crop = warp_regions(IMAGE, np.array([[10, 3, 41, 34]]), crop_size=32, padding=0)
    np.testing.assert_array_equal(crop[0], IMAGE[3:35, 10:42].transpose(2, 0, 1))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_normalises_inside_and_leaves_the_mean_colour_outside(sampler):
    image = np.broadcast_to(np.array([10, 100, 200], np.uint8), (20, 30, 3))
    plan = plan_crops(np.array([[-10, -10, 14, 9]]), image.shape[:2], crop_size=24, padding=3)
    out = sample_with(sampler, image, plan, (20, 40, 80), (2, 3, 4))
    assert plan.valid.any() and not plan.valid.all()
    for channel, value in enumerate([-5.0, 20.0, 30.0]):
        np.testing.assert_allclose(out[:, channel], np.where(plan.valid, value, 0), atol=1e-5)


def test_one_pixel_box_without_context_is_its_colour():
    crop = warp_regions(IMAGE, np.array([[7, 9, 7, 9]]), crop_size=8, padding=0)
    np.testing.assert_allclose(crop[0], np.broadcast_to(IMAGE[9, 7][:, None, None], (3, 8, 8)), atol=1e-4)


def test_box_beyond_the_image_is_empty():
    crop = warp_regions(IMAGE, np.array([[100, 100, 120, 120]]), crop_size=16, padding=2, mean=(9, 9, 9))
    assert not crop.any()


def test_square_mode_keeps_the_aspect_ratio():
    image = np.zeros((60, 60, 3), np.uint8)
    image[28:32, 20:40] = 255  # 20 wide, 4 high
    crop = warp_regions(image, np.array([[20, 28, 39, 31]]), crop_size=40, padding=0, mode="square")[0, 0] > 127
    width, height = crop.any(axis=0).sum(), crop.any(axis=1).sum()
    assert 4 < width / height < 6


def test_no_boxes():
    assert warp_regions(IMAGE, np.empty((0, 4), np.float32), crop_size=16, padding=1).shape == (0, 3, 16, 16)


coordinate = st.floats(-1e6, 1e6)


@given(
    corners=st.tuples(coordinate, coordinate, coordinate, coordinate),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    crop_size=st.integers(1, 64),
    data=st.data(),
)
def test_samples_only_inside_the_image(corners, size, crop_size, data):
    """The kernel does not check its indices, so no plan may leave the image."""
    x1, y1, x2, y2 = corners
    boxes = np.array([[min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]])
    padding = data.draw(st.integers(0, (crop_size - 1) // 2))
    plan = plan_crops(boxes, size, crop_size=crop_size, padding=padding, mode=data.draw(st.sampled_from(CROP_MODES)))
    for axis, length in ((plan.y, size[0]), (plan.x, size[1])):
        for position in (axis.low, axis.high):
            assert ((position >= 0) & (position < length)).all()
        assert ((axis.weight >= 0) & (axis.weight <= 1)).all()


def test_rounds_halves_away_from_zero():
    values = np.array([-2.5, -0.5, -0.49999999999999994, 0.49999999999999994, 0.5, 1.5, 2.4])
    np.testing.assert_array_equal(round_half_away(values), [-3, -1, 0, 0, 1, 2, 2])


@pytest.mark.parametrize(
    ("boxes", "options"),
    [
        (BOXES, {"crop_size": 32, "padding": 16}),
        (BOXES, {"crop_size": 32, "padding": -1}),
        (BOXES, {"crop_size": 0, "padding": 0}),
        (BOXES, {"crop_size": 32, "padding": 2, "mode": "circle"}),
        ([[5, 5, 4, 9]], {"crop_size": 32, "padding": 2}),
        ([[0, 0, np.nan, 9]], {"crop_size": 32, "padding": 2}),
        ([[0, 0, np.inf, 9]], {"crop_size": 32, "padding": 2}),
    ],
)
def test_refuses_what_has_no_meaning(boxes, options):
    with pytest.raises(InputError):
        plan_crops(boxes, IMAGE.shape[:2], **options)
