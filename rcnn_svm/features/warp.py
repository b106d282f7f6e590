"""The crop of a region: a box with its context, warped to a square for the network.

The geometry is computed once, by `plan_crops`, in closed form for all boxes of an image: every output column
and row of a crop is a weighted pair of source columns and rows. Two thin samplers carry a plan out:
`sample_crops` (numba, for a CPU; numpy's gathers where it is not installed) and `sample_crops_torch` (gathers, for a
GPU). On a CPU the gathers take more than ten times as long (0.03 against 1 ms for a 128-pixel crop), because each of
their steps passes over memory again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rcnn_svm import paper
from rcnn_svm.compiled import compiled
from rcnn_svm.data.pixels import check_image
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain

if TYPE_CHECKING:
    import torch

CROP_MODES = ("warp", "square")
# Context of a second crop: with 21 of 128 pixels the box is two thirds of its side, and what it stands on and beside
# shows. Added to lite0's last vector, it was worth 3 to 4 mAP (VOC subset, prototype of issue 14).
CONTEXT_PADDING, CONTEXT_CROP_SIZE = 21, 128


@dataclass(frozen=True)
class AxisPlan:
    """How each output position of each crop is sampled along one axis.

    Attributes:
        low, high: (N, S) int32, 0-based source positions to blend; always inside the image.
        weight: (N, S) float32 in [0, 1), share of `high`.
        valid: (N, S) bool; False where the output is beyond the image.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    valid: np.ndarray

    def part(self, rows: slice) -> AxisPlan:
        """Return the plan of some of the crops."""
        return AxisPlan(self.low[rows], self.high[rows], self.weight[rows], self.valid[rows])

    @classmethod
    def joined(cls, plans: Sequence[AxisPlan]) -> AxisPlan:
        """Return the plan of the crops of several, in order."""
        fields = zip(*((plan.low, plan.high, plan.weight, plan.valid) for plan in plans), strict=True)
        return cls(*map(np.concatenate, fields))


@dataclass(frozen=True)
class CropPlan:
    """How every pixel of every crop is sampled; axes are independent of each other."""

    x: AxisPlan
    y: AxisPlan

    def __len__(self) -> int:
        return len(self.x.low)

    def part(self, rows: slice) -> CropPlan:
        """Return the plan of some of the crops."""
        return CropPlan(x=self.x.part(rows), y=self.y.part(rows))

    @classmethod
    def joined(cls, plans: Sequence[CropPlan]) -> CropPlan:
        """Return the plan of the crops of several, in order."""
        return cls(x=AxisPlan.joined([plan.x for plan in plans]), y=AxisPlan.joined([plan.y for plan in plans]))

    @property
    def crop_size(self) -> int:
        """S, pixels."""
        return self.x.low.shape[1]

    @property
    def valid(self) -> np.ndarray:
        """(N, S, S) bool, rows then columns; False where a crop shows no image."""
        return self.y.valid[:, :, None] & self.x.valid[:, None, :]


def paper_padding(crop_size: int) -> int:
    """Return the paper's context for a crop size: 16 pixels of a 227-pixel crop, in proportion."""
    return round(paper.CROP_PADDING * crop_size / paper.CROP_SIZE)


def context_padding(crop_size: int) -> int:
    """Return the context of a second crop for a crop size: 21 pixels of a 128-pixel crop, in proportion."""
    return round(CONTEXT_PADDING * crop_size / CONTEXT_CROP_SIZE)


def plan_crops(
    boxes: np.ndarray, image_size: tuple[int, int], *, crop_size: int, padding: int, mode: str = "warp"
) -> CropPlan:
    """Compute the geometry of warped crops.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels; may reach over the border.
        image_size: (height, width), pixels.
        crop_size: S, pixels.
        padding: context on each side, pixels of the crop; less than S / 2.
        mode: `warp` stretches the box to the square; `square` takes the tightest square around it instead.

    Returns:
        The plan of N crops.

    Raises:
        InputError: a crop size, padding, mode or box without meaning.

    Source: `rcnn_im_crop.m`. A box that shows nothing of the image gives an empty crop instead of an error.
    """
    if mode not in CROP_MODES:
        raise InputError(f"crop mode {plain(mode)!r} is unknown, expected one of {', '.join(CROP_MODES)}")
    if crop_size < 1 or not 0 <= 2 * padding < crop_size:
        raise InputError(
            f"crop size {crop_size} with padding {padding} leaves no room for the box; "
            "the padding must be at least 0 and less than half of the crop size"
        )
    # Rounding half away from zero does not commute with a shift across zero: the original's 1-based coordinates.
    corners = np.asarray(boxes, np.float64).reshape(-1, 4) + 1
    proper = np.isfinite(corners).all(axis=1) & (corners[:, :2] <= corners[:, 2:]).all(axis=1)
    if not proper.all():
        row = int(np.argmin(proper))
        found = (corners[row] - 1).tolist()
        raise InputError(f"box {row} is {found}, expected finite numbers x1 y1 x2 y2 with x1 <= x2 and y1 <= y2")
    if padding > 0 or mode == "square":
        corners = _add_context(corners, crop_size / (crop_size - 2 * padding), square=mode == "square")
    corners = round_half_away(corners)
    height, width = image_size
    return CropPlan(
        x=_plan_axis(corners[:, 0], corners[:, 2], width, crop_size),
        y=_plan_axis(corners[:, 1], corners[:, 3], height, crop_size),
    )


def plan_regions(
    boxes: np.ndarray,
    image_size: tuple[int, int],
    *,
    crop_size: int,
    padding: int,
    mode: str = "warp",
    context: int | None = None,
    scene: bool = False,
) -> CropPlan:
    """Compute the geometry of all crops that the features of an image's boxes are made of.

    Args:
        boxes, image_size, crop_size, padding, mode: as in `plan_crops`.
        context: padding of a second crop of every box, pixels of the crop; None for no such crop.
        scene: a crop of the whole image follows, where there are boxes.

    Returns:
        The plan of N, 2 N, N + 1 or 2 N + 1 crops: all boxes, all boxes with context, the scene.

    Raises:
        InputError: as `plan_crops`.
    """
    plan = partial(plan_crops, image_size=image_size, crop_size=crop_size, mode=mode)
    plans = [plan(boxes, padding=padding)]
    if context is not None:
        plans.append(plan(boxes, padding=context))
    if scene and len(boxes):
        height, width = image_size
        plans.append(plan(np.array([[0, 0, width - 1, height - 1]]), padding=0))
    return CropPlan.joined(plans) if len(plans) > 1 else plans[0]


def round_half_away(values: np.ndarray) -> np.ndarray:
    """Round to the nearest integer, halves away from zero, as MATLAB does."""
    magnitude = np.abs(values)
    whole = np.floor(magnitude)
    return np.copysign(whole + (magnitude - whole >= 0.5), values)


def _add_context(corners: np.ndarray, scale: float, square: bool) -> np.ndarray:
    """Return boxes scaled about their centres, (N, 4), 1-based and not yet rounded."""
    half = (corners[:, 2:] - corners[:, :2] + 1) / 2
    centre = corners[:, :2] + half
    if square:
        half = np.repeat(half.max(axis=1, keepdims=True), 2, axis=1)
    return np.hstack([centre - half * scale, centre + half * scale])


def _plan_axis(first: np.ndarray, last: np.ndarray, length: int, crop_size: int) -> AxisPlan:
    """Plan one axis: the part of [first, last] (1-based) inside the image is resized, the rest left empty."""
    begin = np.maximum(first, 1)
    end = np.minimum(last, length)
    extent = last - first + 1
    inside = np.maximum(end - begin + 1, 0)
    scale = crop_size / extent
    offset = round_half_away((begin - first) * scale)
    size = np.minimum(round_half_away(inside * scale), crop_size - offset)

    # Output pixel i of `size` is at (i + 0.5) * inside / size - 0.5 of `inside` source pixels.
    position = np.arange(crop_size) - offset[:, None]
    valid = (position >= 0) & (position < size[:, None])
    source = (position + 0.5) * (inside / np.maximum(size, 1))[:, None] - 0.5
    low = np.floor(source)
    weight = np.where(valid, source - low, 0)
    # A border mirrored by half a pixel or less is the border pixel itself.
    final = np.maximum(inside - 1, 0)[:, None]
    origin = np.clip(begin - 1, 0, length - 1)[:, None]
    return AxisPlan(
        low=(origin + np.clip(low, 0, final)).astype(np.int32),
        high=(origin + np.clip(low + 1, 0, final)).astype(np.int32),
        weight=weight.astype(np.float32),
        valid=valid,
    )


def warp_regions(
    image: np.ndarray,
    boxes: np.ndarray,
    *,
    crop_size: int,
    padding: int,
    mode: str = "warp",
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """Return the crops of an image ready for the network.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.
        crop_size, padding, mode: as in `plan_crops`.
        mean, std: 3 numbers each, RGB in 0..255.

    Returns:
        (N, 3, S, S) float32, (pixel - mean) / std; 0 beyond the image, which is the mean colour.

    Raises:
        InputError: `image` is no such array.
    """
    image = check_image(image)
    plan = plan_crops(boxes, image.shape[:2], crop_size=crop_size, padding=padding, mode=mode)
    crops = np.empty((len(plan), 3, crop_size, crop_size), np.float32)
    sample_crops(image, plan, mean, std, crops)
    return crops


def sample_crops(
    image: np.ndarray, plan: CropPlan, mean: Sequence[float], std: Sequence[float], out: np.ndarray
) -> None:
    """Sample planned crops on the CPU, without the interpreter lock.

    Args:
        image: (H, W, 3) uint8 RGB, the size that the plan was made for.
        plan: N crops.
        mean, std: 3 numbers each, RGB in 0..255.
        out: (N, 3, S, S) float32, written: (pixel - mean) / std; 0 beyond the image.

    Raises:
        InputError: the image is smaller than that of the plan, or `out` does not fit.
    """
    # The compiled loop looks at no bounds.
    size = plan.crop_size
    if out.shape != (len(plan), 3, size, size) or out.dtype != np.float32:
        raise InputError(f"out is {out.dtype} of shape {out.shape}, expected float32 {(len(plan), 3, size, size)}")
    last = plan.y.high.max(initial=0), plan.x.high.max(initial=0)
    if image.ndim != 3 or image.shape[2] != 3 or (len(plan) and not (last < np.array(image.shape[:2])).all()):
        raise InputError(f"an image of shape {image.shape} is not the one that the crops were planned for")
    scale = 1 / np.asarray(std, np.float32)
    shift = -np.asarray(mean, np.float32) * scale
    x, y = plan.x, plan.y
    columns = x.low, x.high, x.weight, x.valid
    rows = y.low, y.high, y.weight, y.valid
    _sample(np.ascontiguousarray(image), *columns, *rows, scale, shift, out)


def _sample_in_arrays(
    image, x_low, x_high, x_weight, x_valid, y_low, y_high, y_weight, y_valid, scale, shift, out
) -> None:
    """Do what `_sample` does by gathers of numpy."""
    out[...] = 0
    for n in range(len(x_low)):
        columns, rows = np.flatnonzero(x_valid[n]), np.flatnonzero(y_valid[n])  # that show the image: intervals
        if len(columns) == 0 or len(rows) == 0:
            continue
        x, y = slice(columns[0], columns[-1] + 1), slice(rows[0], rows[-1] + 1)
        first, last = x_low[n, x.start], x_high[n, x.stop - 1] + 1
        source = image[:, first:last]
        upper, lower = (source[at[n, y]].astype(np.float32) for at in (y_low, y_high))
        between = upper + y_weight[n, y, None, None] * (lower - upper)
        left, right = (between[:, at[n, x] - first] for at in (x_low, x_high))
        colour = left + x_weight[n, x, None] * (right - left)
        out[n, :, y, x] = (colour * scale + shift).transpose(2, 0, 1)


@compiled(in_arrays=_sample_in_arrays, fastmath=True)
def _sample(image, x_low, x_high, x_weight, x_valid, y_low, y_high, y_weight, y_valid, scale, shift, out):
    count, size = x_low.shape
    pixels = image.reshape(len(image), -1)  # (H, W * 3)
    length = pixels.shape[1]
    line = np.empty(length, np.float32)
    scales, shifts = np.empty(length, np.float32), np.empty(length, np.float32)
    for i in range(length):
        scales[i], shifts[i] = scale[i % 3], shift[i % 3]
    left, right = np.empty(size, np.uint32), np.empty(size, np.uint32)
    resized = np.empty((size, 3, size), np.float32)
    for n in range(count):
        columns = np.flatnonzero(x_valid[n])  # of the crop, that show the image: an interval
        rows = np.flatnonzero(y_valid[n])
        if len(columns) == 0 or len(rows) == 0:
            out[n] = 0
            continue
        begin, end = columns[0], columns[-1] + 1
        out[n, :, : rows[0]] = 0
        out[n, :, rows[-1] + 1 :] = 0
        for column in range(size):
            left[column] = 3 * x_low[n, column]
            right[column] = 3 * x_high[n, column]
        first, last = left[begin], right[end - 1] + np.uint32(3)
        factor, offset = scales[first:last], shifts[first:last]
        top, bottom = y_low[n, rows[0]], y_high[n, rows[-1]]
        # Along the columns is the slow part: it is done for the rows of the image or of the crop, whichever are fewer.
        if bottom - top + 1 < len(rows):
            for y in range(top, bottom + 1):
                source, between = pixels[y, first:last], line[first:last]
                for i in range(len(between)):
                    between[i] = np.float32(source[i]) * factor[i] + offset[i]
                _resize_line(line, left, right, x_weight[n], begin, end, resized[y - top])
            for row in rows:
                v = y_weight[n, row]
                for channel in range(3):
                    upper, lower = resized[y_low[n, row] - top, channel], resized[y_high[n, row] - top, channel]
                    target = out[n, channel, row]
                    for column in range(size):
                        target[column] = upper[column] + v * (lower[column] - upper[column])
        else:
            for row in rows:
                upper, lower = pixels[y_low[n, row], first:last], pixels[y_high[n, row], first:last]
                between, v = line[first:last], y_weight[n, row]
                for i in range(len(between)):
                    value = np.float32(upper[i])
                    between[i] = (value + v * (np.float32(lower[i]) - value)) * factor[i] + offset[i]
                _resize_line(line, left, right, x_weight[n], begin, end, out[n, :, row])


@compiled(fastmath=True)
def _resize_line(line, left, right, weight, begin, end, out):
    """Sample columns `begin` to `end` of a line of (W * 3) pixels into (3, S), with zeros beyond them."""
    one, two = np.uint32(1), np.uint32(2)
    red, green, blue = out[0], out[1], out[2]
    for channel in (red, green, blue):
        channel[:begin] = 0
        channel[end:] = 0
    for column in range(begin, end):
        a, b, w = left[column], right[column], weight[column]
        red[column] = line[a] + w * (line[b] - line[a])
        green[column] = line[a + one] + w * (line[b + one] - line[a + one])
        blue[column] = line[a + two] + w * (line[b + two] - line[a + two])


def sample_crops_torch(
    image: torch.Tensor, plan: CropPlan, mean: Sequence[float], std: Sequence[float], out: torch.Tensor
) -> None:
    """Sample planned crops on the device of `image` and `out`.

    Args:
        image: (H, W, 3) uint8 RGB, the size that the plan was made for.
        plan: N crops.
        mean, std: 3 numbers each, RGB in 0..255.
        out: (N, 3, S, S) float32, written: (pixel - mean) / std; 0 beyond the image.
    """
    import torch  # here, for an exported detector warps without it

    def on_device(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(out.device)

    source = image.permute(2, 0, 1)  # (3, H, W)
    x_low, x_high = on_device(plan.x.low)[:, None, :], on_device(plan.x.high)[:, None, :]  # (N, 1, S)
    x_weight, y_weight = on_device(plan.x.weight)[:, None, :], on_device(plan.y.weight)[:, :, None]

    def blend_columns(rows: torch.Tensor) -> torch.Tensor:
        left = source[:, rows, x_low].float()  # (3, N, S, S)
        return left + x_weight * (source[:, rows, x_high].float() - left)

    top = blend_columns(on_device(plan.y.low)[:, :, None])
    bottom = blend_columns(on_device(plan.y.high)[:, :, None])
    colour = (top + y_weight * (bottom - top)).permute(1, 0, 2, 3)  # (N, 3, S, S)
    middle, spread = (torch.tensor(v, dtype=torch.float32, device=out.device)[:, None, None] for v in (mean, std))
    out[...] = torch.where(on_device(plan.valid)[:, None], (colour - middle) / spread, 0)
