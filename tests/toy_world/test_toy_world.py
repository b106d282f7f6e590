"""The parts of the synthetic scenes: toys turn and shine correctly, annotations say what is seen."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.toy_world import objects as toys
from rcnn_svm.toy_world.scenes import _annotate, _Sprite, render_scene

ALL_TOYS = sorted({*toys.CLASSES.values(), *toys.DISTRACTORS, *toys.CLUTTER}, key=lambda t: t.__name__)


def square_sprite(side: int, x: int, y: int) -> _Sprite:
    return _Sprite("ball", np.ones((side, side, 3), np.float32), np.ones((side, side), np.float32), x, y)


@pytest.mark.parametrize(
    ("hidden_columns", "box", "difficult", "truncated"),
    [
        (0, (10, 20, 49, 59), False, False),
        (12, (22, 20, 49, 59), False, True),
        (22, (32, 20, 49, 59), True, True),
        (40, None, None, None),
    ],
)
def test_annotation_of_a_partly_hidden_object(hidden_columns, box, difficult, truncated):
    visible = np.zeros((100, 100), np.float32)
    visible[20:60, 10 + hidden_columns : 50] = 1
    found = _annotate(square_sprite(40, 10, 20), visible)
    if box is None:
        assert found is None
    else:
        assert (found.name, found.box, found.difficult, found.truncated) == ("ball", box, difficult, truncated)


@pytest.mark.parametrize("toy", ALL_TOYS, ids=lambda t: t.__name__)
@pytest.mark.parametrize("size", [24, 100])
def test_a_toy_is_a_finite_surface(toy, size):
    for seed in range(5):
        surface = toy(np.random.default_rng(seed), size)
        assert surface.alpha.shape == (size, size) and surface.albedo.shape == (size, size, 3)
        assert surface.alpha.min() >= 0 and 0.5 < surface.alpha.max() <= 1
        seen = surface.alpha > 0.5
        np.testing.assert_allclose(np.linalg.norm(surface.normal[seen], axis=-1), 1, atol=1e-3)
        assert np.isfinite(surface.albedo).all()


def test_turning_by_a_right_angle_moves_pixels_and_normals():
    surface = toys.cone(np.random.default_rng(0), 60)
    turned = surface.turned(90)
    np.testing.assert_allclose(turned.alpha, np.rot90(surface.alpha), atol=1e-3)
    rotated = np.rot90(surface.normal)
    # Counter-clockwise on screen, where y points down: right becomes up, down becomes right.
    expected = np.stack([rotated[..., 1], -rotated[..., 0], rotated[..., 2]], axis=-1)
    np.testing.assert_allclose(turned.normal, expected, atol=1e-3)


def test_turning_cuts_nothing_off():
    surface = toys.crate(np.random.default_rng(0), 80)
    for degrees in (30, 45, 200):
        assert surface.turned(degrees).alpha.sum() == pytest.approx(surface.alpha.sum(), rel=0.02)


def test_a_ball_faces_outwards():
    normal = toys.ball(np.random.default_rng(0), 101).normal
    assert normal[50, 50, 2] > 0.99
    assert normal[50, 90, 0] > 0.7 and normal[90, 50, 1] > 0.7


def test_small_objects_are_difficult():
    visible = np.zeros((100, 100), np.float32)
    visible[:20, :20] = 1
    assert _annotate(square_sprite(20, 0, 0), visible).difficult


def test_number_of_objects_and_boxes_in_the_image():
    for seed in range(12):
        image, objects = render_scene(np.random.default_rng(seed), seed % 5)
        assert len(objects) <= seed % 5
        height, width = image.shape[:2]
        for item in objects:
            x1, y1, x2, y2 = item.box
            assert 0 <= x1 <= x2 < width and 0 <= y1 <= y2 < height
            assert item.name in toys.CLASSES
