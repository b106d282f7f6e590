"""Where the toys stand: rooms, fields and table tops, before any light falls on them."""

from __future__ import annotations

import numpy as np

from rcnn_svm.opencv import cv2
from rcnn_svm.toy_world import textures
from rcnn_svm.toy_world.textures import Texture, colour

TABLE_TOPS = (
    textures.wood,
    textures.cloth,
    textures.carpet,
    textures.tiles,
    textures.grass,
    textures.sand,
    textures.floorboards,
)
WALLS = (textures.wallpaper, textures.wallpaper, textures.bricks, textures.carpet)
FLOORS = (textures.floorboards, textures.tiles, textures.carpet, textures.cloth)
FIELDS = (textures.grass, textures.sand, textures.bricks)
PICTURES = (textures.sky, textures.fabric, textures.carpet)


def backdrop(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, int]:
    """Return an empty place, (H, W, 3) float32, and the row where its ground begins; 0 when seen from above."""
    kind = rng.choice(["room", "outdoors", "above"], p=[0.4, 0.25, 0.35])
    if kind == "above":
        return _pick(rng, TABLE_TOPS)(rng, height, width) * rng.uniform(0.65, 0.95), 0
    horizon = int(height * rng.uniform(0.3, 0.5))
    if kind == "room":
        back = _pick(rng, WALLS)(rng, horizon, width)
        _hang_pictures(rng, back)
        board = max(2, int(height * rng.uniform(0.01, 0.035)))
        back[-board:] = colour(rng, saturation=(0, 0.3), value=(0.4, 0.95))
        back[-1:] *= 0.4
        ground = _recede(_pick(rng, FLOORS)(rng, 300, 400), height - horizon, width)
        # The corner between wall and floor gets less light.
        ground *= (1 - 0.35 * np.exp(-np.arange(len(ground)) / 9))[:, None, None]
    else:
        back = textures.sky(rng, horizon, width)
        ground = _recede(_pick(rng, FIELDS)(rng, 300, 400), height - horizon, width)
    return np.concatenate([back, ground * rng.uniform(0.7, 1)]).astype(np.float32), horizon


def _pick(rng: np.random.Generator, choices: tuple[Texture, ...]) -> Texture:
    return choices[int(rng.integers(len(choices)))]


def _recede(texture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a ground texture laid out in perspective."""
    rows, columns = texture.shape[:2]
    source = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    target = np.array([[-0.05, 0], [1.05, 0], [1.7, 1], [-0.7, 1]], np.float32) * [width, height]
    matrix = cv2.getPerspectiveTransform(source, target.astype(np.float32))
    return cv2.warpPerspective(texture.astype(np.float32), matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def _hang_pictures(rng: np.random.Generator, wall: np.ndarray) -> None:
    """Put up to two framed pictures or windows on a wall, in place."""
    height, width = wall.shape[:2]
    for _ in range(int(rng.integers(0, 3))):
        h, w = int(height * rng.uniform(0.35, 0.65)), int(width * rng.uniform(0.1, 0.25))
        y, x = int(rng.integers(2, height - h)), int(rng.integers(0, width - w))
        frame = int(rng.integers(2, 6))
        wall[y + 2 : y + h + 3, x + 2 : x + w + 3] *= 0.7
        wall[y : y + h, x : x + w] = colour(rng, saturation=(0.05, 0.6), value=(0.2, 0.9))
        inside = wall[y + frame : y + h - frame, x + frame : x + w - frame]
        inside[:] = _pick(rng, PICTURES)(rng, *inside.shape[:2])
