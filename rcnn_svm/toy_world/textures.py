"""Procedural textures of the synthetic scenes: noise, fabrics, wood, bricks and the grounds they make.

Textures are float32 RGB in [0, 1]; every function draws from the generator it is given and from nothing else.
"""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Callable

import numpy as np

from rcnn_svm.opencv import cv2

Texture = Callable[[np.random.Generator, int, int], np.ndarray]


def noise(rng: np.random.Generator, height: int, width: int, cell: float, stretch: float = 1) -> np.ndarray:
    """Return smooth noise in about [-1, 1].

    Args:
        rng: source of randomness.
        height: rows.
        width: columns.
        cell: size of the lumps, pixels.
        stretch: lumps are this many times longer along x.

    Returns:
        (height, width) float32.
    """
    rows = max(2, int(np.ceil(height / cell)) + 1)
    columns = max(2, int(np.ceil(width / (cell * stretch))) + 1)
    grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def fractal(rng: np.random.Generator, height: int, width: int, cell: float, stretch: float = 1) -> np.ndarray:
    """Return noise summed over four octaves from `cell` down, (height, width) float32 in about [-1, 1]."""
    octaves = [noise(rng, height, width, max(1, cell / 2**i), stretch) * 0.5**i for i in range(4)]
    return np.stack(octaves).sum(axis=0, dtype=np.float32) / 1.5


def colour(
    rng: np.random.Generator,
    hue: tuple[float, float] = (0, 1),
    saturation: tuple[float, float] = (0.5, 0.9),
    value: tuple[float, float] = (0.45, 0.9),
) -> np.ndarray:
    """Return a random colour of the given ranges, (3,) float32."""
    hsv = (rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value))
    return np.array(colorsys.hsv_to_rgb(*hsv), np.float32)


def mottled(rng: np.random.Generator, base: np.ndarray, amount: float, cell: float) -> np.ndarray:
    """Return `base`, (H, W, 3), with brightness varied by fractal noise."""
    height, width = base.shape[:2]
    return base * (1 + amount * fractal(rng, height, width, cell))[..., None]


def plain(base: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return one colour everywhere."""
    return np.broadcast_to(base, (height, width, 3)).astype(np.float32)


def fabric(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return cloth: plain, striped, dotted or checked, in two or three colours."""
    first, second = colour(rng), colour(rng, saturation=(0.05, 0.8), value=(0.3, 1))
    step = rng.uniform(0.07, 0.2) * max(height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    kind = rng.choice(["plain", "stripes", "dots", "checks"], p=[0.25, 0.25, 0.3, 0.2])
    if kind == "plain":
        amount = np.zeros((height, width), np.float32)
    elif kind == "stripes":
        amount = (np.sin(2 * np.pi * u / step) > rng.uniform(-0.3, 0.5)).astype(np.float32)
    elif kind == "dots":
        # Every other row of dots is shifted by half a step.
        shifted = u + step / 2 * (np.floor(v / step) % 2)
        near = np.hypot(shifted % step - step / 2, v % step - step / 2)
        amount = (near < step * rng.uniform(0.22, 0.36)).astype(np.float32)
    else:
        amount = ((u % step > step / 2) * 0.5 + (v % step > step / 2) * 0.5).astype(np.float32)
    soft = cv2.GaussianBlur(amount, (0, 0), 0.8)[..., None]
    weave = 0.05 * np.sin(x * 1.9) * np.sin(y * 1.9)
    return mottled(rng, first * (1 - soft) + second * soft, 0.12, step) * (1 + weave[..., None])


def cloth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return fabric in the muted colours of rugs and tablecloths."""
    loud = fabric(rng, height, width)
    grey = loud.mean(axis=2, keepdims=True)
    return grey + (loud - grey) * rng.uniform(0.25, 0.6)


def wood(rng: np.random.Generator, height: int, width: int, planks: int = 5) -> np.ndarray:
    """Return horizontal planks with grain, knots' waviness and dark seams."""
    tint = colour(rng, hue=(0.05, 0.12), saturation=(0.25, 0.65), value=(0.4, 0.8))
    warp = noise(rng, height, width, height / planks, 3) * height / planks * 0.25
    y = np.mgrid[:height, :width][0].astype(np.float32)
    grain = np.sin((y + warp) * rng.uniform(0.5, 1.0)) * 0.06
    grain += noise(rng, height, width, 1.5, 14) * 0.09 + noise(rng, height, width, height / 6, 4) * 0.08
    position = y * planks / height
    plank = np.minimum(position.astype(int), planks - 1)
    grain += rng.uniform(-0.14, 0.14, planks).astype(np.float32)[plank]
    edge = np.minimum(position % 1, 1 - position % 1) * height / planks
    seam = np.clip(edge / 1.5, 0.35, 1)
    return tint * ((1 + grain) * seam)[..., None]


def floorboards(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return boards that run away from the viewer, with staggered ends."""
    boards = np.ascontiguousarray(wood(rng, width, height, int(rng.integers(9, 15))).transpose(1, 0, 2))
    for start, stop in itertools.pairwise(np.linspace(0, width, 13).astype(int)):
        end = int(rng.integers(height // 4, height))
        boards[end : end + 2, start:stop] *= 0.45
    return boards


def bricks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a brick wall in running bond."""
    rows = int(rng.integers(6, 11))
    brick_height = height / rows
    brick_width = brick_height * rng.uniform(2, 2.6)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    row = (y / brick_height).astype(int)
    column = ((x + (row % 2) * brick_width / 2) / brick_width).astype(int)
    shade = rng.uniform(-0.2, 0.2, (rows + 1, column.max() + 1)).astype(np.float32)[row, column]
    base = colour(rng, hue=(0.0, 0.07), saturation=(0.3, 0.65), value=(0.4, 0.75))
    wall = base * (1 + shade)[..., None]
    inside_x = (x + (row % 2) * brick_width / 2) % brick_width
    joint = np.minimum(np.minimum(inside_x, brick_width - inside_x), np.minimum(y % brick_height, -y % brick_height))
    mortar = np.clip(1.6 - joint / 1.3, 0, 1)[..., None]
    wall = wall * (1 - mortar) + colour(rng, saturation=(0, 0.1), value=(0.6, 0.8)) * mortar
    return mottled(rng, wall, 0.2, 6)


def tiles(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return square floor tiles in two shades with joints."""
    step = rng.uniform(0.09, 0.16) * width
    y, x = np.mgrid[:height, :width].astype(np.float32)
    odd = ((x // step + y // step) % 2)[..., None]
    first = colour(rng, saturation=(0.02, 0.35), value=(0.65, 0.9))
    second = first * rng.uniform(0.5, 0.95)
    joint = np.minimum(np.minimum(x % step, -x % step), np.minimum(y % step, -y % step))
    tile = (first * odd + second * (1 - odd)) * np.clip(joint / 1.5, 0.6, 1)[..., None]
    return mottled(rng, tile, 0.12, step / 2)


def grass(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a meadow: blades over patches of different green."""
    first = colour(rng, hue=(0.2, 0.3), saturation=(0.45, 0.75), value=(0.3, 0.55))
    second = colour(rng, hue=(0.16, 0.27), saturation=(0.4, 0.7), value=(0.4, 0.65))
    patches = np.clip(fractal(rng, height, width, width / 4) * 0.8 + 0.5, 0, 1)[..., None]
    blades = np.ascontiguousarray(noise(rng, width, height, 1.6, 5).T)
    return (first * patches + second * (1 - patches)) * (1 + 0.4 * blades)[..., None]


def sand(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return sand or gravel: ripples and grains."""
    base = colour(rng, hue=(0.07, 0.13), saturation=(0.15, 0.5), value=(0.6, 0.85))
    y = np.mgrid[:height, :width][0].astype(np.float32)
    phase = fractal(rng, height, width, width / 3) * 5
    ripples = np.sin(y * rng.uniform(0.15, 0.4) + phase) * rng.uniform(0.02, 0.08)
    grains = rng.normal(0, 0.09, (height, width)) + 0.12 * fractal(rng, height, width, 20)
    return base * (1 + ripples + grains)[..., None].astype(np.float32)


def carpet(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return carpet or plaster: one colour, mottled coarsely and finely."""
    base = colour(rng, saturation=(0.08, 0.55), value=(0.35, 0.8))
    coarse = mottled(rng, plain(base, height, width), 0.18, width / 3)
    return mottled(rng, coarse, rng.uniform(0.05, 0.25), 3)


def wallpaper(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a pale wall: plaster, or cloth-like stripes and dots of low contrast."""
    base = colour(rng, saturation=(0.05, 0.4), value=(0.6, 0.92))
    if rng.random() < 0.4:
        return mottled(rng, plain(base, height, width), 0.1, 40)
    pattern = fabric(rng, height, width).mean(axis=2)
    pattern = (pattern - pattern.mean()) / (pattern.std() + 0.05)
    return base * (1 + rng.uniform(0.03, 0.09) * pattern)[..., None]


def sky(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return sky with clouds and a hedge or hills along its lower edge."""
    top = colour(rng, hue=(0.54, 0.62), saturation=(0.35, 0.6), value=(0.7, 0.95))
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    clouds = np.clip(fractal(rng, height, width, width / 4, 1.6) * 1.3 - 0.1, 0, 1)[..., None]
    scene = (top * (1 - 0.5 * y) + 0.45 * y) * (1 - clouds) + 0.95 * clouds
    ridge = height * (0.75 + 0.2 * noise(rng, 2, width, width / 6)[0])
    trees = np.mgrid[:height, :width][0] > ridge + 4 * noise(rng, 2, width, 5)[0]
    green = colour(rng, hue=(0.22, 0.36), value=(0.2, 0.4))
    leaves = mottled(rng, plain(green, height, width), 0.5, 8)
    return np.where(trees[..., None], leaves, scene).astype(np.float32)
