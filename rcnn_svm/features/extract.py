"""From regions to features: one image for detection, a whole image set into a feature cache."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rcnn_svm.artefacts.claims import WHOLE
from rcnn_svm.artefacts.files import array_digest, fingerprint
from rcnn_svm.cache.earlier import EarlierFeatures
from rcnn_svm.cache.plan import CachePlan, plan_cache
from rcnn_svm.cache.regions import RegionSet, build_regions
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.pixels import check_image
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import Backbone, load_recorded
from rcnn_svm.features.prefetch import parallel_map, prefetch
from rcnn_svm.features.runtime import Runtime, make_runtime
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.features.warp import CropPlan, plan_regions, sample_crops, sample_crops_torch
from rcnn_svm.progress import progress_bar

if TYPE_CHECKING:
    from rcnn_svm.proposals.store import ProposalSet

# Work handed to each thread ahead of the first result that is still wanted, in batches: what the caller may take for
# other things before the network stands still. They hold boxes and images, no crops.
BATCHES_AHEAD = 8


class Segment(NamedTuple):
    """The crops of an image that fall into one batch.

    Attributes:
        image: (H, W, 3) uint8 RGB, on the device of the runtime's crops.
        plan: the crops.
        ends_image: no crops of this image follow.
    """

    image: np.ndarray | torch.Tensor
    plan: CropPlan
    ends_image: bool


class FeatureExtractor:
    """Boxes of an image in, features out.

    Args:
        backbone: the network with its preprocessing, crop size and padding.
        runtime: what runs it.
        crop_mode: `warp` or `square`.
        batch_size: crops per call of the network; what is fastest for the runtime where None.
        context: padding of a second crop of every box, pixels, such as `context_padding`; the last part of what the
            network makes of it follows the box's features. None for no such crop. Layer `multi` only, as `scene`.
        scene: the last part of what the network makes of the whole image follows, the same for all boxes of an image.

    Raises:
        InputError: a crop size, padding, mode or context without meaning; `context` or `scene` with another layer.

    Attributes:
        dim: D, the length of a feature vector: of the box, of its context, of the scene.
        settings: JSON-able, everything that decides the features of given boxes.

    Source: `rcnn_extract_regions.m` and `rcnn_features.m`.
    """

    def __init__(
        self,
        backbone: Backbone,
        runtime: Runtime,
        *,
        crop_mode: str = "warp",
        batch_size: int | None = None,
        context: int | None = None,
        scene: bool = False,
    ):
        extra = (context is not None) + scene
        if extra and backbone.last_dim is None:
            raise InputError(
                f"context and scene are parts of length 1 beside those of layer multi, not of layer "
                f"{backbone.settings.get('layer')}; use --layer multi, or leave out --context and --scene"
            )
        self.dim = backbone.dim + extra * (backbone.last_dim or 0)
        self.settings = backbone.feature_settings(crop_mode, context=context, scene=scene).to_json()
        self._backbone = backbone
        self._runtime = runtime
        self._plan_regions = partial(
            plan_regions,
            crop_size=backbone.crop_size,
            padding=backbone.padding,
            mode=crop_mode,
            context=context,
            scene=scene,
        )
        self._context = context
        self._scene = scene
        # Refuses a geometry without meaning now, not when the first image is warped.
        self._plan_regions(np.empty((0, 4)), (1, 1))
        self._batch_size = batch_size or runtime.batch_size
        self._on_gpu = runtime.device.type != "cpu"
        self._local = threading.local()

    def extract(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return the features of boxes of one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) float, x1 y1 x2 y2, 0-based inclusive pixels.

        Returns:
            (N, D) float32.

        Raises:
            InputError: `image` is no such array.
        """
        (features,) = self.extract_many([(image, boxes)])
        return features

    def extract_many(self, items: Iterable[tuple[np.ndarray, np.ndarray]]) -> Generator[np.ndarray, None, None]:
        """Yield the features of every (image, boxes), in order.

        A background thread iterates over `items`; the runtime's workers warp a batch and run the network on it.
        Batches are filled across images, so that the network always works on full ones.
        """
        depth = BATCHES_AHEAD * self._runtime.workers
        batches = prefetch(self._batches(items), depth)
        parts: list[np.ndarray] = []
        with (
            closing(batches),
            closing(
                parallel_map(self._compute, batches, self._runtime.workers, depth, self._runtime.begin_worker)
            ) as results,
        ):
            for features, segments in results:
                first = 0
                for segment in segments:
                    count = len(segment.plan)
                    parts.append(features[first : first + count])
                    first += count
                    if segment.ends_image:
                        yield _finite(self._joined(np.concatenate(parts)))
                        parts = []

    def _batches(self, items: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[list[Segment]]:
        """Yield what each batch consists of."""
        segments: list[Segment] = []
        room = self._batch_size
        failure = None
        try:
            for given, boxes in items:
                image = check_image(given)
                plan = self._plan(image, boxes)
                pixels = self._upload(image) if self._on_gpu else image
                done = 0
                while True:
                    count = min(len(plan) - done, room)
                    segments.append(Segment(pixels, plan.part(slice(done, done + count)), done + count == len(plan)))
                    done, room = done + count, room - count
                    if room == 0:
                        yield segments
                        segments, room = [], self._batch_size
                    if done == len(plan):
                        break
        except Exception as error:
            # The images before the one that failed must not be lost with it.
            failure = error
        if segments:
            yield segments
        if failure is not None:
            raise failure

    def _plan(self, image: np.ndarray, boxes: np.ndarray) -> CropPlan:
        """Return the crops of an image: all boxes, all boxes with context, the scene."""
        height, width = image.shape[:2]
        return self._plan_regions(boxes, (height, width))

    def _joined(self, features: np.ndarray) -> np.ndarray:
        """Return the features of an image's boxes, (N, D), from those of the crops of `_plan`."""
        length = self._backbone.last_dim
        if length is None or (self._context is None and not self._scene):
            return features
        count = (len(features) - self._scene) // (1 if self._context is None else 2) if len(features) else 0
        parts = [features[:count]]
        last = features[count:, -length:]
        if self._context is not None:
            parts.append(last[:count])
        if self._scene:
            parts.append(np.broadcast_to(last[-1:], (count, last.shape[1])))
        return np.concatenate(parts, axis=1)

    def _upload(self, image: np.ndarray) -> torch.Tensor:
        # Returns when the copy is complete, so that every worker's queue may use it.
        return torch.from_numpy(image).to(self._runtime.device)

    def _compute(self, segments: list[Segment]) -> tuple[np.ndarray, list[Segment]]:
        """Return what the network makes of a batch, (crops, length of its output), and the batch."""
        count = sum(len(segment.plan) for segment in segments)
        if not count:
            return np.empty((0, self._backbone.dim), np.float32), segments
        crops = self._crops()[:count]
        first = 0
        for segment in segments:
            last = first + len(segment.plan)
            self._sample(segment, crops[first:last])
            first = last
        return self._runtime(crops), segments

    def _sample(self, segment: Segment, out: np.ndarray | torch.Tensor) -> None:
        """Write the crops of a segment, where its image and they are both on the CPU or both on the GPU."""
        image, mean, std = segment.image, self._backbone.mean, self._backbone.std
        if isinstance(image, torch.Tensor) and isinstance(out, torch.Tensor):
            sample_crops_torch(image, segment.plan, mean, std, out)
        elif isinstance(image, np.ndarray) and isinstance(out, np.ndarray):
            sample_crops(image, segment.plan, mean, std, out)
        else:
            raise TypeError(f"an image is {type(image).__name__}, its crops {type(out).__name__}, expected the same")

    def _crops(self) -> np.ndarray | torch.Tensor:
        """Return memory for a batch of crops, the calling thread's own and every time the same: it stays cached."""
        if not hasattr(self._local, "crops"):
            shape = (self._batch_size, 3, self._backbone.crop_size, self._backbone.crop_size)
            self._local.crops = (
                torch.empty(shape, device=self._runtime.device) if self._on_gpu else np.empty(shape, np.float32)
            )
        return self._local.crops


def _finite(features: np.ndarray) -> np.ndarray:
    """Return the features of an image; InputError unless all are finite."""
    wrong = ~np.isfinite(features).all(axis=1)
    if wrong.any():
        raise InputError(
            f"the network makes features that are not finite of {wrong.sum()} of the {len(wrong)} boxes of an image; "
            "look for damaged weights, or fine-tune anew with a lower learning rate"
        )
    return features


def make_extractor(
    settings: dict[str, Any],
    *,
    weights: str | os.PathLike | None = None,
    runtime: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
) -> FeatureExtractor:
    """Rebuild the extractor that a feature cache was made with.

    Args:
        settings: the settings of the cache.
        weights: the weights file, where the cache was made with one.
        runtime, device, threads: as in `make_runtime`.
        batch_size: crops per call of the network; what is fastest for the runtime where None.

    Raises:
        InputError: the settings name no backbone, or the weights at hand are not those of the cache.
    """
    backbone = load_recorded(settings, weights)
    recorded = FeatureSettings.from_json(settings)
    return FeatureExtractor(
        backbone,
        make_runtime(backbone, runtime, device, threads),
        crop_mode=settings["crop_mode"],
        batch_size=batch_size,
        context=recorded.context,
        scene=recorded.scene,
    )


@dataclass(frozen=True)
class ExtractionSummary:
    """What one call of `extract_database` did.

    Attributes:
        plan: the cache.
        images, rows: how many were computed now; complete shards found are not counted.
        kept: rows that were taken over from an earlier state of the cache, or from others.
        seconds: wall time from the first image to the last shard.
    """

    plan: CachePlan
    images: int
    rows: int
    kept: int
    seconds: float


def extract_database(
    database: ImageDatabase,
    proposals: ProposalSet | None,
    extractor: FeatureExtractor,
    out_dir: str | Path,
    *,
    shard_images: int = 20,
    dtype: str = "float16",
    part: tuple[int, int] = WHOLE,
    overwrite: bool = False,
    update: bool = False,
    reuse: Sequence[str | Path] = (),
) -> ExtractionSummary:
    """Compute the features of all regions of an image set into a feature cache.

    Complete shards are kept as they are, so that the same call goes on where it was stopped, however it was. Where
    images or labels changed, the features of boxes that are still there are taken over: they belong to an image and a
    box, not to a list of images with labels.

    Args:
        database: the image set.
        proposals: boxes of all its images; None for ground truth only.
        extractor: makes the features.
        out_dir: the cache folder.
        shard_images: images per shard.
        dtype: how features are stored, `float32` or `float16`.
        part: (i, n): only every n-th shard, beginning with the i-th; n processes or machines share the work.
        overwrite: replace a cache in `out_dir` that was made with other settings, when the new one is complete.
        update: the same for one that was made with the same settings from other images, boxes or classes.
        reuse: further caches; features of the same boxes of the same image files are taken over from them, where the
            network and the crops were the same.

    Raises:
        InputError: proposals missing for an image or not inside it, an unreadable image, a cache made with
            other settings, a full disk. What was completed before stays.

    Source: `rcnn_cache_pool5_features.m`; rows as in `rcnn_load_cached_pool5_features.m`.
    """
    index, parts = part
    if (overwrite or update) and parts > 1:
        raise InputError("one part cannot overwrite a cache that other parts are written to; give another --out")
    check_proposals(database, proposals)

    def proposals_of(i: int) -> np.ndarray:
        return np.empty((0, 4), np.float32) if proposals is None else proposals.boxes_of(database.image_ids[i])

    def digest_of(i: int, digest: Callable[[int], str]) -> str:
        """Return a digest of an image; nothing of those that another process has, so that each file is read by one."""
        return digest(i) if i // shard_images % parts == index else ""

    recorded = None if proposals is None else proposals.settings
    settings = FeatureSettings.from_json(extractor.settings).with_proposals(recorded).to_json()
    earlier = EarlierFeatures.open([out_dir, *reuse], settings, extractor.dim, dtype)
    plan = plan_cache(
        out_dir,
        name=database.name,
        classes=database.classes,
        image_ids=database.image_ids,
        rows=[len(database.annotation(i).boxes) + len(proposals_of(i)) for i in range(len(database))],
        settings=settings,
        dim=extractor.dim,
        sources=[
            digest_of(i, lambda i: fingerprint([database.source_digest(i), array_digest(proposals_of(i))]))
            for i in range(len(database))
        ],
        dtype=dtype,
        shard_images=shard_images,
        overwrite=overwrite,
        update=update,
        image_digests=[digest_of(i, database.image_digest) for i in range(len(database))],
    )

    def regions_of(i: int) -> RegionSet:
        return build_regions(database.image_ids[i], database.annotation(i), proposals_of(i), len(database.classes))

    def earlier_rows(i: int) -> np.ndarray | None:
        truth = database.annotation(i)
        boxes = np.concatenate([truth.boxes, proposals_of(i)]).astype(np.float32, copy=False)
        return earlier.rows(database.image_ids[i], database.image_digest(i), truth.image_size, boxes)

    pending = plan.pending(part)
    taken = {i: earlier_rows(i) for shard in pending for i in plan.images_of(shard)}
    images = [i for i, rows in taken.items() if rows is None or (rows < 0).any()]
    total = sum(len(plan.images_of(shard)) for shard in range(plan.num_shards)[index::parts])
    start, rows = time.perf_counter(), 0
    begun: deque[RegionSet] = deque()  # given to the extractor, features not yet there

    def items() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in images:
            begun.append(regions_of(i))
            boxes, known = begun[-1].boxes, taken[i]
            yield database.load_image(i), boxes if known is None else boxes[known < 0]

    with (
        ThreadPoolExecutor(1, thread_name_prefix="shards") as writer,
        closing(extractor.extract_many(items())) as features,
        progress_bar(total, "features", "image", initial=total - len(images)) as bar,
    ):
        written: Future | None = None
        computed = set(images)
        for shard in pending:
            regions = []
            for i in plan.images_of(shard):
                if i in computed:
                    values = next(features)
                    region = begun.popleft()
                    rows += len(values)
                    bar.set_postfix_str(f"{rows / (time.perf_counter() - start):.0f} crops/s", refresh=False)
                    bar.update()
                else:
                    values, region = np.empty((0, extractor.dim), np.float32), regions_of(i)
                region.features, known = values, taken[i]
                if known is not None:
                    old = known >= 0
                    region.features = np.empty((len(region), extractor.dim), np.float32)
                    region.features[~old] = values
                    region.features[old] = earlier.features(region.image_id, known[old])
                regions.append(region)
            # Written while the network works on; one at a time bounds the memory.
            if written is not None:
                written.result()
            written = writer.submit(plan.write_shard, shard, regions)
        if written is not None:
            written.result()
    kept = sum(int((of_image >= 0).sum()) for of_image in taken.values() if of_image is not None)
    return ExtractionSummary(plan.move_to(out_dir), len(images), rows, kept, time.perf_counter() - start)


def check_proposals(database: ImageDatabase, proposals: ProposalSet | None) -> None:
    """Check that proposals fit the image set, before hours are spent on them.

    Raises:
        InputError: an image has none, or a box is not inside its image.
    """
    if proposals is None:
        return
    known = set(proposals.image_ids)
    missing = [image_id for image_id in database.image_ids if image_id not in known]
    if missing:
        raise InputError(
            f"the proposals have no boxes for {len(missing)} of {len(database)} images of {database.name} "
            f"(the first is {missing[0]}); make proposals for the same image set"
        )
    for i, image_id in enumerate(database.image_ids):
        boxes = proposals.boxes_of(image_id)
        height, width = database.annotation(i).image_size
        x1, y1, x2, y2 = boxes.T
        inside = (x1 >= 0) & (y1 >= 0) & (x1 <= x2) & (y1 <= y2) & (x2 <= width - 1) & (y2 <= height - 1)
        if not inside.all():
            row = int(np.argmin(inside))
            raise InputError(
                f"proposal {row} of image {image_id} is {boxes[row].tolist()}, not a box inside the {width} x "
                f"{height} image (x1 y1 x2 y2, counted from 0, inclusive); clip it or check the convention"
            )
