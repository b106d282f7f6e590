"""What an objectness ranker sees of a box: a network's maps inside it, what differs around it, and its geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rcnn_svm.compiled import compiled

RING = 0.5  # the ring around a box is this share of its width wider, and of its height higher
GEOMETRY = 16
# What is shorter is zero with noise, as the difference is of a box inside one cell: it stays short.
_SHORTEST = 1e-6
# Boxes at once where no loop is compiled: so few that what is made of them stays in the processor's cache.
_BOXES = 512
_AT_BORDER = 0.005  # a box this close to the image's border, as a share of its side, touches it


def box_features(maps: Sequence[np.ndarray], boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return the features of boxes that their objectness is told from.

    For every map two vectors of length 1: the mean inside the box, and this minus the mean in a ring around it. Then
    16 numbers of geometry: place, size, shape, borders touched. Means are exact to a fraction of a cell, by integral
    images.

    Args:
        maps: of a network that saw the whole image, (C, H, W) float32 each, from border to border.
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.
        image_size: (height, width), pixels.

    Returns:
        (N, D) float32, D = 2 * (sum of C) + 16.
    """
    height, width = image_size
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    edges = np.stack(
        [boxes[:, 0] / width, boxes[:, 1] / height, (boxes[:, 2] + 1) / width, (boxes[:, 3] + 1) / height], axis=1
    )
    channels = [len(values) for values in maps]
    features = np.empty((len(boxes), 2 * sum(channels) + GEOMETRY), np.float32)
    start = 0
    for values, count in zip(maps, channels, strict=True):
        _inside_and_around(_integral(values), edges, RING, features[:, start : start + 2 * count])
        start += 2 * count
    features[:, start:] = _geometry(edges, width / height)
    return features


def _integral(values: np.ndarray) -> np.ndarray:
    """Return the integral image of a map, (H + 1, W + 1, C) float64."""
    channels, height, width = values.shape
    sums = np.zeros((height + 1, width + 1, channels))
    np.cumsum(values.transpose(1, 2, 0), axis=0, dtype=np.float64, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


def _geometry(edges: np.ndarray, aspect: float) -> np.ndarray:
    """Return numbers of place, size and shape, (N, 16), of edges in shares of an image of this width / height."""
    x1, y1, x2, y2 = edges.T
    width, height = x2 - x1, y2 - y1
    return np.stack(
        [
            *(x1, y1, 1 - x2, 1 - y2),
            *(width, height, np.log(width), np.log(height)),
            np.log(width * aspect / height),
            *(width * height, np.sqrt(width * height)),
            *(side < _AT_BORDER for side in (x1, 1 - x2, y1, 1 - y2)),
            np.full(len(edges), np.log(aspect)),
        ],
        axis=1,
    )


def _inside_and_around_in_arrays(sums, edges, ring, out):
    """Do what `_inside_and_around` does for many boxes at once."""
    channels = sums.shape[2]
    sides = edges[:, 2:] - edges[:, :2]
    around = np.clip(edges + ring / 2 * np.hstack([-sides, sides]), 0, 1)
    for first in range(0, len(edges), _BOXES):
        part = slice(first, first + _BOXES)
        inside, area = _box_sums(sums, edges[part])
        whole, whole_area = _box_sums(sums, around[part])
        mean = inside / np.maximum(area, _SHORTEST)
        ring_area = whole_area - area
        difference = mean - np.where(ring_area > 1e-6, (whole - inside) / np.maximum(ring_area, 1e-6), 0)
        for vectors, place in ((mean, slice(None, channels)), (difference, slice(channels, None))):
            lengths = np.sqrt(np.einsum("nc,nc->n", vectors, vectors))
            out[part, place] = vectors / np.maximum(lengths, _SHORTEST)[:, None]


def _box_sums(sums, edges):
    """Return the sums over boxes, (N, C), their edges shares of the map's sides, and their areas in cells, (N, 1)."""
    rows, columns, channels = sums.shape
    corners = edges * (columns - 1, rows - 1, columns - 1, rows - 1)
    cells = np.minimum(corners.astype(np.int64), (columns - 2, rows - 2, columns - 2, rows - 2))
    shares = corners - cells
    flat = sums.reshape(-1, channels)
    found = np.zeros((len(edges), channels))
    for x, y, sign in ((0, 1, 1), (2, 1, -1), (0, 3, -1), (2, 3, 1)):
        for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
            weight = (shares[:, x] if right else 1 - shares[:, x]) * (shares[:, y] if below else 1 - shares[:, y])
            found += (sign * weight)[:, None] * flat[(cells[:, y] + below) * columns + cells[:, x] + right]
    return found, np.prod(corners[:, 2:] - corners[:, :2], axis=1, keepdims=True)


@compiled(in_arrays=_inside_and_around_in_arrays)
def _inside_and_around(sums, edges, ring, out):
    """Write the normalised mean inside every box and its difference to the ring, side by side, into `out`."""
    channels = sums.shape[2]
    inside, whole = np.empty(channels), np.empty(channels)
    for index in range(len(edges)):
        x1, y1, x2, y2 = edges[index]
        area = _box_sum(sums, x1, y1, x2, y2, inside)
        margin_x, margin_y = ring / 2 * (x2 - x1), ring / 2 * (y2 - y1)
        whole_area = _box_sum(
            sums,
            max(x1 - margin_x, 0.0),
            max(y1 - margin_y, 0.0),
            min(x2 + margin_x, 1.0),
            min(y2 + margin_y, 1.0),
            whole,
        )
        ring_area = whole_area - area
        length, difference_length = 0.0, 0.0
        for channel in range(channels):
            mean = inside[channel] / max(area, _SHORTEST)
            around = (whole[channel] - inside[channel]) / ring_area if ring_area > 1e-6 else 0.0
            inside[channel] = mean
            whole[channel] = mean - around
            length += mean * mean
            difference_length += whole[channel] ** 2
        scale, difference_scale = 1 / max(np.sqrt(length), _SHORTEST), 1 / max(np.sqrt(difference_length), _SHORTEST)
        for channel in range(channels):
            out[index, channel] = inside[channel] * scale
            out[index, channels + channel] = whole[channel] * difference_scale


@compiled()
def _box_sum(sums, x1, y1, x2, y2, out):
    """Write the sums over a box, its edges shares of the map's sides, into `out`; return its area in cells."""
    rows, columns, channels = sums.shape
    out[:] = 0.0
    for corner in range(4):
        x = (x2 if corner % 2 else x1) * (columns - 1)
        y = (y2 if corner >= 2 else y1) * (rows - 1)
        sign = 1.0 if corner in (0, 3) else -1.0
        column, row = min(int(x), columns - 2), min(int(y), rows - 2)
        right, below = x - column, y - row
        a, b = sign * (1 - right) * (1 - below), sign * right * (1 - below)
        c, d = sign * (1 - right) * below, sign * right * below
        for channel in range(channels):
            out[channel] += (
                a * sums[row, column, channel]
                + b * sums[row, column + 1, channel]
                + c * sums[row + 1, column, channel]
                + d * sums[row + 1, column + 1, channel]
            )
    return (x2 - x1) * (columns - 1) * (y2 - y1) * (rows - 1)
