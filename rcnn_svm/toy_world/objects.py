"""The toys of the synthetic scenes: the classes, what resembles them, and clutter.

A toy is a `Surface`: colour, surface normals and coverage on a square grid. Lighting is left to the scene, so a
turned toy is lit from where the scene's light is. x points right, y down, z to the viewer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rcnn_svm.opencv import cv2
from rcnn_svm.toy_world.textures import colour, fabric, fractal, mottled, plain, wood


@dataclass(frozen=True)
class Surface:
    """What a toy looks like before it is lit.

    Attributes:
        albedo: (S, S, 3) float32, RGB in [0, 1].
        normal: (S, S, 3) float32, unit vectors.
        alpha: (S, S) float32, coverage in [0, 1].
    """

    albedo: np.ndarray
    normal: np.ndarray
    alpha: np.ndarray

    def turned(self, degrees: float) -> Surface:
        """Return the surface rotated in the image plane, counter-clockwise, on a grid that holds all of it."""
        size = len(self.alpha)
        matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), degrees, 1).astype(np.float64, copy=False)
        grown = int(np.ceil(size * np.abs(matrix[0, :2]).sum()))
        matrix[:, 2] += (grown - size) / 2

        def turn(values: np.ndarray) -> np.ndarray:
            return cv2.warpAffine(values, matrix, (grown, grown))

        normal = turn(self.normal)
        normal[..., :2] = normal[..., :2] @ matrix[:, :2].T.astype(np.float32)
        return Surface(turn(self.albedo), normal, turn(self.alpha))


Toy = Callable[[np.random.Generator, int], Surface]


def _grid(size: int, reach: float = 1.04) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the pixel centres, from -reach to reach."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * reach
    return np.meshgrid(axis, axis)


def _edge(inside: np.ndarray, size: int) -> np.ndarray:
    """Return coverage from a signed distance, positive inside, in grid units: a ramp of two pixels."""
    return np.clip(inside * size / 4 + 0.5, 0, 1).astype(np.float32)


def _unit(x: np.ndarray, y: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
    vectors = np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _two_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a strong colour and a contrasting one, often near white."""
    pale = rng.random() < 0.5
    return colour(rng), colour(rng, saturation=(0, 0.15) if pale else (0.5, 0.9), value=(0.7, 0.95))


def _mix(amount: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    amount = np.asarray(amount, np.float32)[..., None]
    return first * (1 - amount) + second * amount


def _puffed(mask: np.ndarray, depth: float) -> np.ndarray:
    """Return normals of a cushion with outline `mask`; its edge curves over a `depth` part of the size."""
    distance = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rise = np.clip(distance / (depth * len(mask)), 0, 1)
    height = cv2.GaussianBlur(np.sqrt(rise * (2 - rise)) * depth * len(mask), (0, 0), len(mask) / 60)
    return _unit(-cv2.Sobel(height, cv2.CV_32F, 1, 0) / 8, -cv2.Sobel(height, cv2.CV_32F, 0, 1) / 8, 1)


def _polygon(size: int, points: np.ndarray, reach: float = 1.04) -> np.ndarray:
    """Return the coverage of a polygon given in grid units."""
    pixels = (np.asarray(points) / reach + 1) / 2 * size - 0.5
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _sphere_pattern(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the colours of a ball: beach-ball sectors, bands, dots, patches or marble."""
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    p, q, r = np.einsum("ij,jhw->ihw", rotation, np.stack([x, y, z]))
    first, second = _two_colours(rng)
    kind = rng.choice(["sectors", "bands", "dots", "patches", "marble"], p=[0.3, 0.2, 0.2, 0.15, 0.15])
    if kind == "sectors":
        sector = np.floor((np.arctan2(q, p) / (2 * np.pi) + 0.5) * 6).astype(int) % 6
        palette = np.stack([second if i % 2 else colour(rng) for i in range(6)])
        return np.where((np.abs(r) > 0.93)[..., None], second, palette[sector])
    if kind == "bands":
        return _mix(np.sin(r * rng.uniform(4, 11) + rng.uniform(0, 6)) > 0.2, first, second)
    if kind == "marble":
        veins = fractal(rng, x.shape[0], x.shape[1], len(x) / 2)
        return _mix(np.clip(veins * 1.5 + 0.5, 0, 1), first, second)
    # Points spread evenly over the sphere by the golden angle.
    count = 12 if kind == "patches" else int(rng.integers(14, 40))
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.arange(count) * np.pi * (3 - 5**0.5)
    centres = np.stack([np.sqrt(1 - height**2) * np.cos(angle), np.sqrt(1 - height**2) * np.sin(angle), height], 1)
    nearest = np.max(np.tensordot(centres.astype(np.float32), np.stack([p, q, r]), 1), axis=0)
    radius = rng.uniform(0.4, 0.55) / (count / 12) ** 0.5
    return _mix(nearest > np.cos(radius), second, first * (0.35 if kind == "patches" else 1))


def ball(rng: np.random.Generator, size: int) -> Surface:
    """Return a patterned ball."""
    return _spheroid(rng, size, 1)


def melon(rng: np.random.Generator, size: int) -> Surface:
    """Return an elongated ball: a distractor for `ball`."""
    return _spheroid(rng, size, rng.uniform(0.5, 0.62))


def _spheroid(rng: np.random.Generator, size: int, flatness: float) -> Surface:
    x, y = _grid(size)
    y = y / flatness
    radius = np.hypot(x, y)
    z = np.sqrt(np.clip(1 - radius**2, 0, 1))
    albedo = mottled(rng, _sphere_pattern(rng, x, y, z), 0.08, size / 5)
    return Surface(albedo, _unit(x, y / flatness, z + 0.02), _edge((1 - radius) * flatness, size))


def disc(rng: np.random.Generator, size: int) -> Surface:
    """Return a flat plate or target in the colours of balls: a distractor for `ball` and `ring`."""
    x, y = _grid(size)
    radius = np.hypot(x, y / rng.uniform(0.6, 1))
    first, second = _two_colours(rng)
    rings = np.sin(radius * rng.uniform(5, 16)) > 0
    albedo = mottled(rng, _mix(rings, first, second), 0.08, size / 4)
    return Surface(albedo, _unit(x * 0, y * 0, 1), _edge(1 - radius, size))


def ring(rng: np.random.Generator, size: int) -> Surface:
    """Return a swim ring: a thick torus, segmented, spiralled, dotted or plain."""
    tube = rng.uniform(0.2, 0.32)
    return _torus(rng, size, tube, rng.uniform(0.55, 1), 2 * np.pi)


def hoop(rng: np.random.Generator, size: int) -> Surface:
    """Return a thin hoop: the outline of a ring or ball only."""
    return _torus(rng, size, rng.uniform(0.03, 0.06), rng.uniform(0.5, 1), 2 * np.pi)


def horseshoe(rng: np.random.Generator, size: int) -> Surface:
    """Return a ring of which a third is missing: a distractor for `ring`."""
    return _torus(rng, size, rng.uniform(0.16, 0.26), rng.uniform(0.7, 1), rng.uniform(3.2, 4.4))


def _torus(rng: np.random.Generator, size: int, tube: float, flatness: float, extent: float) -> Surface:
    x, y = _grid(size)
    y = y / flatness
    radius = np.hypot(x, y)
    angle = np.arctan2(y, x)
    across = (radius - (1 - tube)) / tube
    first, second = _two_colours(rng)
    count = 2 * int(rng.integers(2, 6))
    kind = rng.choice(["segments", "spiral", "line", "fabric"])
    if kind == "segments":
        albedo = _mix(np.sin(angle * count / 2 + rng.uniform(0, 6)) > 0.2, first, second)
    elif kind == "spiral":
        albedo = _mix(np.sin(angle * count + across * 2) > 0, first, second)
    elif kind == "line":
        albedo = _mix(np.abs(across + 0.1) < 0.3, first, second)
    else:
        albedo = fabric(rng, size, size)
    lift = np.sqrt(np.clip(1 - across**2, 0, 1)) + 0.05
    bend = across / np.maximum(radius, 1e-3)
    inside = (1 - np.abs(across)) * tube * flatness
    gap = (extent / 2 - np.abs(angle - 0.3)) * (1 - tube)
    alpha = _edge(inside if extent > 6 else np.minimum(inside, gap), size)
    return Surface(mottled(rng, albedo, 0.08, size / 5), _unit(x * bend, y * bend, lift), alpha)


def star(rng: np.random.Generator, size: int) -> Surface:
    """Return a plush five-pointed star."""
    return _cushion(rng, size, _star_outline(5, rng.uniform(0.46, 0.58)))


def flower(rng: np.random.Generator, size: int) -> Surface:
    """Return a plush with four points, or many: a distractor for `star`."""
    points = int(rng.choice([3, 4, 8]))
    return _cushion(rng, size, _star_outline(points, rng.uniform(0.45, 0.7)))


def heart(rng: np.random.Generator, size: int) -> Surface:
    """Return a plush heart: clutter made of the cloth of stars."""
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) - 2.5
    return _cushion(rng, size, np.stack([x, y], axis=1) / 17)


def star_outline(rng: np.random.Generator, size: int) -> Surface:
    """Return the bare outline of a star, as bent from wire: a distractor for `star`."""
    points = _star_outline(5, rng.uniform(0.42, 0.58))
    alpha = _polygon(size, points) - _polygon(size, points * rng.uniform(0.72, 0.84))
    albedo = plain(colour(rng), size, size)
    return Surface(mottled(rng, albedo, 0.1, size / 4), _puffed(alpha, 0.04), alpha)


def _star_outline(points: int, inner: float) -> np.ndarray:
    angle = np.arange(2 * points) * np.pi / points - np.pi / 2
    radius = np.where(np.arange(2 * points) % 2, inner, 1)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _cushion(rng: np.random.Generator, size: int, outline: np.ndarray) -> Surface:
    squeeze = np.array([rng.uniform(0.82, 1), 1])
    # Blurring and cutting again rounds the corners.
    blurred = cv2.GaussianBlur(_polygon(size, outline * squeeze), (0, 0), size / 40)
    alpha = np.clip((blurred - 0.5) * size / 20 + 0.5, 0, 1)
    seam = 1 - 0.25 * np.exp(-(((blurred - 0.8) / 0.04) ** 2))
    albedo = fabric(rng, size, size) * seam[..., None]
    return Surface(albedo.astype(np.float32), _puffed(alpha, 0.3), alpha.astype(np.float32))


def cone(rng: np.random.Generator, size: int) -> Surface:
    """Return a traffic cone on its square foot."""
    x, y = _grid(size)
    half = rng.uniform(0.42, 0.56)
    top, bottom = -0.98, 0.78
    along = (y - top) / (bottom - top)
    width = half * (0.13 + 0.87 * along)
    across = np.clip(x / np.maximum(width, 1e-3), -1, 1)
    # A level band seen slightly from above sags in the middle.
    sagging = along - 0.07 * np.sqrt(1 - across**2) * np.clip(along, 0, 1)
    common = rng.random() < 0.6
    first = colour(rng, hue=(0.01, 0.07) if common else (0, 1), saturation=(0.75, 0.95), value=(0.75, 0.95))
    second = colour(rng, saturation=(0, 0.1), value=(0.75, 0.97) if rng.random() < 0.8 else (0.1, 0.2))
    bands = int(rng.integers(1, 4))
    stripe = (np.sin((sagging + rng.uniform(-0.1, 0.1)) * bands * 2 * np.pi) > 0.25) & (along > 0.12)
    body = _edge(np.minimum(width - np.abs(x), np.minimum(y - top, bottom + 0.07 * np.sqrt(1 - across**2) - y)), size)
    foot_half = half * rng.uniform(1.35, 1.6)
    foot_points = np.array([[-foot_half * 0.8, 0.68], [foot_half * 0.8, 0.68], [foot_half, 0.9], [foot_half, 0.99]])
    foot_points = np.concatenate([foot_points, [[-foot_half, 0.99], [-foot_half, 0.9]]])
    foot = _polygon(size, foot_points)
    foot_colour = first * 0.85 if rng.random() < 0.6 else np.full(3, 0.15, np.float32)
    foot_albedo = foot_colour * np.where(y > 0.9, 0.65, 1)[..., None]
    albedo = foot_albedo * (1 - body[..., None]) + _mix(stripe, first, second) * body[..., None]
    normal = np.where(
        body[..., None] > 0.5,
        _unit(across, np.full_like(x, -0.3), np.sqrt(1 - across**2) + 0.1),
        _unit(x * 0, x * 0 - 0.8, 0.6),
    )
    return Surface(mottled(rng, albedo.astype(np.float32), 0.1, size / 6), normal, np.maximum(foot, body))


def post(rng: np.random.Generator, size: int) -> Surface:
    """Return an upright cylinder with the stripes of a cone: a distractor for `cone`."""
    x, y = _grid(size)
    half = rng.uniform(0.2, 0.4)
    across = np.clip(x / half, -1, 1)
    sag = 0.12 * half / 0.3 * np.sqrt(1 - across**2)
    first = colour(rng, hue=(0.01, 0.07) if rng.random() < 0.6 else (0, 1), saturation=(0.75, 0.95))
    stripe = np.sin((y - sag) * rng.uniform(4, 9)) > 0.2
    lid = _edge(np.minimum(sag - np.abs(y + 0.85), half - np.abs(x)), size)
    wall = _edge(np.minimum(half - np.abs(x), np.minimum(y + 0.85, 0.85 + sag - y)), size)
    albedo = _mix(stripe, first, colour(rng, saturation=(0, 0.1), value=(0.75, 0.97)))
    albedo = np.where(lid[..., None] > 0.5, first * 1.1, albedo)
    normal = _unit(across, -(lid > 0.5).astype(np.float32), np.sqrt(1 - across**2) + 0.1)
    return Surface(mottled(rng, albedo.astype(np.float32), 0.1, size / 6), normal, np.maximum(lid, wall))


def sign(rng: np.random.Generator, size: int) -> Surface:
    """Return a flat triangular board with a border: a distractor for `cone`."""
    outline = np.array([[0, -0.95], [0.9, 0.7], [-0.9, 0.7]])
    blurred = cv2.GaussianBlur(_polygon(size, outline), (0, 0), size / 25)
    alpha = np.clip((blurred - 0.5) * size / 12 + 0.5, 0, 1).astype(np.float32)
    inner = _polygon(size, (outline - [0, 0.15]) * 0.62 + [0, 0.15])
    albedo = _mix(inner, *_two_colours(rng))
    flat = _unit(np.zeros_like(alpha), 0, 1)
    return Surface(mottled(rng, albedo, 0.08, size / 4), flat, alpha)


def _crate_face(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return one side of a crate: planks, a frame around them and a brace across."""
    face = wood(rng, size, size, int(rng.integers(4, 7)))
    frame_wood = wood(rng, size, size, 1) * face.mean() / 0.45
    x, y = np.mgrid[:size, :size] / (size - 1)
    border = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    inside = 0.13 - border
    if rng.random() < 0.7:
        inside = np.maximum(inside, 0.085 - np.abs(x - y) / 2**0.5)
    frame = np.clip(inside * size / 2, 0, 1)[..., None]
    # The frame stands out: it casts a dark line on the planks beside it.
    shadow = 1 - 0.5 * np.exp(-((np.minimum(inside, 0) * size / 3) ** 2))[..., None] * (1 - frame)
    return (face * shadow * (1 - frame) + frame_wood * frame).astype(np.float32)


def _carton_face(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return one side of a cardboard box or a parcel with ribbon."""
    if rng.random() < 0.5:
        base = colour(rng, hue=(0.07, 0.1), saturation=(0.3, 0.5), value=(0.5, 0.75))
        face = mottled(rng, plain(base, size, size), 0.08, size / 3)
    else:
        face = fabric(rng, size, size)
    band = np.abs(np.linspace(-1, 1, size)) < 0.12
    face[band] = face[band] * 0.3 + colour(rng, value=(0.6, 0.9)) * 0.7
    return face


def _cloth_face(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return one side of a block covered with cloth or print."""
    return fabric(rng, size, size)


def crate(rng: np.random.Generator, size: int) -> Surface:
    """Return a wooden crate."""
    return _cuboid(rng, size, np.array([1, rng.uniform(0.75, 1.05), rng.uniform(0.8, 1)]), _crate_face)


def carton(rng: np.random.Generator, size: int) -> Surface:
    """Return a cardboard box or parcel: a distractor for `crate`."""
    return _cuboid(rng, size, np.array([1, rng.uniform(0.6, 1), rng.uniform(0.6, 1)]), _carton_face)


def book(rng: np.random.Generator, size: int) -> Surface:
    """Return a thick book on its side: clutter."""
    return _cuboid(rng, size, np.array([1, rng.uniform(0.12, 0.3), rng.uniform(0.6, 0.8)]), _cloth_face)


def _cuboid(rng: np.random.Generator, size: int, extent: np.ndarray, face_texture: Callable) -> Surface:
    """Return a box seen from the front and above; every side is drawn from the same random state."""
    yaw, pitch = rng.uniform(0.25, 1.3), rng.uniform(0.25, 0.6)
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    turn = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    shown = (signs * extent) @ turn.T
    scale = 1 / np.abs(shown[:, :2]).max()
    albedo, normal = np.zeros((2, size, size, 3), np.float32)
    alpha = np.zeros((size, size), np.float32)
    resolution = max(16, size // 2)
    face_seed = rng.integers(2**32)
    for axis in range(3):
        facing = np.sign(turn[2, axis]) or 1.0
        out = turn[:, axis] * facing
        u, v = ((2, 1), (0, 2), (0, 1))[axis]
        corners = np.zeros((4, 3))
        corners[:, axis] = facing
        corners[:, u] = [-1, 1, 1, -1]
        corners[:, v] = [-1, -1, 1, 1]
        quad = ((corners * extent) @ turn.T)[:, :2] * scale
        target = ((quad / 1.04 + 1) / 2 * size - 0.5).astype(np.float32)
        source = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * (resolution - 1)
        texture = face_texture(np.random.default_rng(face_seed), resolution)
        warped = cv2.warpPerspective(
            texture,
            cv2.getPerspectiveTransform(source, target),
            (size, size),
            borderMode=cv2.BORDER_REPLICATE,
        )
        cover = _polygon(size, quad)
        albedo = np.where(cover[..., None] > 0.5, warped, albedo)
        normal = np.where(cover[..., None] > 0.5, out.astype(np.float32), normal)
        alpha = np.maximum(alpha, cover)
    return Surface(albedo, normal, alpha)


def pebble(rng: np.random.Generator, size: int) -> Surface:
    """Return a stone: clutter."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 0.75 + 0.08 * sum(rng.normal() * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 4))
    outline = np.stack([np.cos(angle), rng.uniform(0.55, 0.9) * np.sin(angle)], 1) * np.clip(radius, 0.4, 1)[:, None]
    blurred = cv2.GaussianBlur(_polygon(size, outline), (0, 0), size / 30)
    alpha = np.clip((blurred - 0.5) * size / 15 + 0.5, 0, 1).astype(np.float32)
    base = colour(rng, hue=(0, 0.15), saturation=(0.02, 0.3), value=(0.3, 0.75))
    albedo = mottled(rng, plain(base, size, size), 0.35, size / 4)
    return Surface(albedo, _puffed(alpha, 0.3), alpha)


def stick(rng: np.random.Generator, size: int) -> Surface:
    """Return a crayon, pole or branch: clutter."""
    x, y = _grid(size)
    half = rng.uniform(0.04, 0.1)
    bent = y + rng.uniform(-0.15, 0.15) * x**2
    across = np.clip(bent / half, -1, 1)
    tint = colour(rng) if rng.random() < 0.5 else colour(rng, hue=(0.05, 0.1), saturation=(0.3, 0.6), value=(0.3, 0.6))
    albedo = mottled(rng, plain(tint, size, size), 0.2, size / 8)
    tip = (x > 0.82)[..., None]
    albedo = np.where(tip, albedo * 0.6, albedo)
    alpha = _edge(np.minimum(half * np.where(tip[..., 0], (1 - x) / 0.18, 1) - np.abs(bent), 0.98 - np.abs(x)), size)
    return Surface(albedo, _unit(x * 0, across, np.sqrt(1 - across**2) + 0.1), alpha)


CLASSES: dict[str, Toy] = {"ball": ball, "crate": crate, "star": star, "cone": cone, "ring": ring}
DISTRACTORS: tuple[Toy, ...] = (melon, disc, hoop, horseshoe, flower, star_outline, heart, post, sign, carton)
CLUTTER: tuple[Toy, ...] = (book, pebble, pebble, stick, stick)
