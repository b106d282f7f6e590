"""Synthetic photographs of a toy world: a ground, toys in a common light with their shadows, and a camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rcnn_svm.opencv import cv2
from rcnn_svm.toy_world import objects as toys
from rcnn_svm.toy_world.grounds import backdrop
from rcnn_svm.toy_world.objects import Surface, Toy
from rcnn_svm.toy_world.textures import noise

SMALL = 26  # pixels: an object with a shorter side is marked difficult
HIDDEN = 0.5  # and so is one of which less than this part is seen
VANISHED = 30  # pixels: an object of which less is seen is not annotated


@dataclass(frozen=True)
class SceneObject:
    """An annotated object.

    Attributes:
        name: class of the object.
        box: x1 y1 x2 y2 around its visible part, 0-based inclusive pixels.
        difficult: small or mostly hidden.
        truncated: the box does not cover the whole object.
    """

    name: str
    box: tuple[int, int, int, int]
    difficult: bool
    truncated: bool


@dataclass(frozen=True)
class _Sprite:
    """A lit toy, cut to its outline: rgb (h, w, 3) and alpha (h, w), float32 in [0, 1], its top left corner."""

    name: str | None
    rgb: np.ndarray
    alpha: np.ndarray
    x: int
    y: int


def render_scene(rng: np.random.Generator, num_objects: int) -> tuple[np.ndarray, list[SceneObject]]:
    """Draw one scene.

    Args:
        rng: decides everything about it.
        num_objects: how many objects of the classes to place; fewer where there is no room. Distractors and
            clutter come on top.

    Returns:
        image: (H, W, 3) uint8 RGB, 320 to 400 pixels wide, 240 to 320 high.
        objects: the annotated objects.
    """
    width, height = int(rng.integers(320, 401)), int(rng.integers(240, 321))
    scene, horizon = backdrop(rng, height, width)
    light = _unit_light(rng)
    sprites = _arrange(rng, height, width, horizon, light, num_objects)
    if horizon:
        # What stands nearer covers what stands farther.
        sprites.sort(key=lambda s: s.y + len(s.alpha))
    covered: list[tuple[_Sprite, np.ndarray]] = []
    strength = rng.uniform(0.45, 0.7)
    for sprite in sprites:
        scene *= 1 - strength * _shadow(sprite, height, width, horizon, light)[..., None]
        alpha = _on_canvas(sprite.alpha, sprite.x, sprite.y, height, width)
        colours = _on_canvas(sprite.rgb, sprite.x, sprite.y, height, width)
        scene = scene * (1 - alpha[..., None]) + colours * alpha[..., None]
        for _, visible in covered:
            visible *= 1 - alpha
        if sprite.name:
            covered.append((sprite, alpha))
    objects = [_annotate(sprite, visible) for sprite, visible in covered]
    return _photograph(rng, scene), [o for o in objects if o is not None]


def _unit_light(rng: np.random.Generator) -> np.ndarray:
    """Return the direction towards the light, from above and in front."""
    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.35), rng.uniform(0.5, 0.9)], np.float32)
    return light / np.linalg.norm(light)


def _arrange(
    rng: np.random.Generator, height: int, width: int, horizon: int, light: np.ndarray, num_objects: int
) -> list[_Sprite]:
    """Return lit toys at places where none hides another entirely."""
    names = list(toys.CLASSES)
    wanted: list[tuple[str | None, Toy]] = []
    for _ in range(num_objects):
        drawn = names[int(rng.integers(len(names)))]
        wanted.append((drawn, toys.CLASSES[drawn]))
    for kinds, most in ((toys.DISTRACTORS, 3), (toys.CLUTTER, 4)):
        wanted += [(None, kinds[int(rng.integers(len(kinds)))]) for _ in range(int(rng.integers(1, most + 1)))]
    wanted = [wanted[i] for i in rng.permutation(len(wanted))]
    sprites: list[_Sprite] = []
    for name, toy in wanted:
        far = rng.random() < 0.1
        size = float(rng.uniform(22, 34)) if far else float(np.exp(rng.uniform(np.log(52), np.log(165))))
        if toy in toys.CLUTTER:
            size *= 0.6
        rgb, alpha = _make(rng, toy, size, upright=horizon > 0, light=light)
        # Now and then one toy hides much of another.
        limit = 0.7 if rng.random() < 0.12 else 0.4
        for _ in range(15):
            x, y = _place(rng, alpha.shape, height, width, horizon)
            sprite = _Sprite(name, rgb, alpha, x, y)
            if all(_crowding(sprite, other) < limit for other in sprites):
                sprites.append(sprite)
                break
    return sprites


def _make(
    rng: np.random.Generator, toy: Toy, size: float, upright: bool, light: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return colours (h, w, 3) and coverage (h, w) of a lit toy about `size` pixels large, cut to its outline."""
    surface = toy(rng, max(24, int(2 * size)))
    tumbles = toy not in (toys.crate, toys.carton, toys.book, toys.cone, toys.post)
    if not upright or toy in toys.CLUTTER or toy is toys.ball:
        angle = rng.uniform(-180, 180)
    elif tumbles:
        angle = rng.normal(0, 18)
    elif toy is toys.cone and rng.random() < 0.15:
        angle = rng.choice([-1, 1]) * rng.uniform(75, 100)
    else:
        angle = rng.normal(0, 2)
    surface = surface.turned(angle)
    lit = _light_up(surface, light, gloss=rng.choice([0, 0.15, 0.5]), ambient=rng.uniform(0.35, 0.55))
    # The toy was drawn at twice its size: averaging smooths its edges.
    half = (len(lit) // 2, len(lit) // 2)
    alpha = cv2.resize(surface.alpha, half, interpolation=cv2.INTER_AREA)
    rgb = cv2.resize(lit * surface.alpha[..., None], half, interpolation=cv2.INTER_AREA)
    rgb /= np.maximum(alpha, 1e-3)[..., None]
    rows, columns = np.flatnonzero(alpha.max(axis=1) > 0.02), np.flatnonzero(alpha.max(axis=0) > 0.02)
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return rgb[window], alpha[window]


def _light_up(surface: Surface, light: np.ndarray, gloss: float, ambient: float) -> np.ndarray:
    """Return the surface's colours under ambient, diffuse and mirrored light."""
    diffuse = np.clip(surface.normal @ light, 0, None)
    middle = light + np.array([0, 0, 1], np.float32)
    mirrored = np.clip(surface.normal @ (middle / np.linalg.norm(middle)), 0, 1) ** 30
    return surface.albedo * (ambient + 1.2 * (1 - ambient) * diffuse)[..., None] + gloss * mirrored[..., None]


def _place(rng: np.random.Generator, shape: tuple[int, int], height: int, width: int, horizon: int) -> tuple[int, int]:
    """Return a top left corner: on the ground, now and then partly beyond the border."""
    h, w = shape
    beyond = 0.35 if rng.random() < 0.15 else 0.0
    x = int(rng.uniform(-beyond * w, max(width - w + beyond * w, 1)))
    if not horizon:
        return x, int(rng.uniform(-beyond * h, max(height - h + beyond * h, 1)))
    foot = rng.uniform(horizon + 0.12 * (height - horizon), height - 2 + beyond * h)
    return x, int(max(foot - h, -0.3 * h))


def _crowding(a: _Sprite, b: _Sprite) -> float:
    """Return the part of the smaller toy's box that the other's box covers."""
    (ah, aw), (bh, bw) = a.alpha.shape, b.alpha.shape
    shared_w = min(a.x + aw, b.x + bw) - max(a.x, b.x)
    shared_h = min(a.y + ah, b.y + bh) - max(a.y, b.y)
    return max(shared_w, 0) * max(shared_h, 0) / min(ah * aw, bh * bw)


def _on_canvas(patch: np.ndarray, x: int, y: int, height: int, width: int) -> np.ndarray:
    """Return a patch on an empty canvas, cut at its borders."""
    canvas = np.zeros((height, width, *patch.shape[2:]), np.float32)
    x1, y1 = max(x, 0), max(y, 0)
    x2, y2 = min(x + patch.shape[1], width), min(y + patch.shape[0], height)
    if x1 < x2 and y1 < y2:
        canvas[y1:y2, x1:x2] = patch[y1 - y : y2 - y, x1 - x : x2 - x]
    return canvas


def _shadow(sprite: _Sprite, height: int, width: int, horizon: int, light: np.ndarray) -> np.ndarray:
    """Return how much of the light a toy takes from each pixel of the ground, (H, W) float32 in [0, 1]."""
    h, w = sprite.alpha.shape
    softness = 1 + 0.03 * max(h, w)
    if not horizon:
        shift = 0.09 * max(h, w)
        matrix = np.array([[1, 0, sprite.x - shift * light[0]], [0, 1, sprite.y - shift * light[1]]], np.float32)
        return cv2.GaussianBlur(cv2.warpAffine(sprite.alpha, matrix, (width, height)), (0, 0), softness)
    # On a floor the outline is laid down backwards and away from the light.
    foot = sprite.y + h
    lean, rise = 0.8 * light[0], 0.28
    matrix = np.array([[1, lean, sprite.x - lean * h], [0, rise, foot - rise * h]], np.float32)
    cast = cv2.GaussianBlur(cv2.warpAffine(sprite.alpha, matrix, (width, height)), (0, 0), softness)
    sole = sprite.alpha.copy()
    sole[: int(h * 0.88)] = 0
    contact = cv2.GaussianBlur(_on_canvas(sole, sprite.x, sprite.y + 2, height, width), (0, 0), softness)
    shadow = np.maximum(cast, contact)
    shadow[:horizon] = 0
    return shadow


def _annotate(sprite: _Sprite, visible: np.ndarray) -> SceneObject | None:
    """Return the annotation of a toy of which `visible` is left, or None if hardly anything is, or it has no class."""
    seen = visible > 0.5
    whole = sprite.alpha > 0.5
    if sprite.name is None or seen.sum() < VANISHED:
        return None
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    x1, x2, y1, y2 = columns[0], columns[-1], rows[0], rows[-1]
    full = np.ptp(np.flatnonzero(whole.any(axis=1))) + 1, np.ptp(np.flatnonzero(whole.any(axis=0))) + 1
    h, w = y2 - y1 + 1, x2 - x1 + 1
    return SceneObject(
        name=sprite.name,
        box=(int(x1), int(y1), int(x2), int(y2)),
        difficult=bool(min(h, w) < SMALL or seen.sum() < HIDDEN * whole.sum()),
        truncated=bool(h < 0.95 * full[0] or w < 0.95 * full[1]),
    )


def _photograph(rng: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """Return the scene as a camera records it: uneven and tinted light, blur and sensor noise; uint8."""
    height, width = scene.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    falloff = 1 + rng.uniform(-0.18, 0.18) * x + rng.uniform(-0.12, 0.12) * y
    falloff -= rng.uniform(0.02, 0.14) * (x**2 + y**2)
    falloff += 0.06 * noise(rng, height, width, 120)
    warmth = rng.uniform(-0.08, 0.08)
    scene = scene * falloff[..., None] * (1 + warmth * np.array([1, 0.1, -1], np.float32)) * rng.uniform(0.9, 1.25)
    taken = cv2.GaussianBlur(scene.astype(np.float32), (0, 0), rng.uniform(0.3, 0.65)).astype(np.float32, copy=False)
    taken += rng.normal(0, rng.uniform(0.006, 0.022), taken.shape)
    return (np.clip(taken, 0, 1) * 255 + 0.5).astype(np.uint8)
