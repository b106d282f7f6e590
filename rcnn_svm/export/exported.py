"""An exported detector at work: numpy, OpenCV and ONNX Runtime, and nothing that takes longer to load."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm import paper
from rcnn_svm.artefacts.exported_folder import (
    CONTEXT,
    DELTAS,
    DESCRIPTION,
    MAPS,
    NETWORK,
    RANKER,
    SCENE,
    SCORES,
    read_description,
    read_part,
)
from rcnn_svm.artefacts.files import reading
from rcnn_svm.artefacts.npz import read_npz
from rcnn_svm.boxes import apply_box_deltas, clip_boxes
from rcnn_svm.data.pixels import check_image
from rcnn_svm.detection.calibrated import Calibrated
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.detection.one_image import Correct, find_objects
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.errors import InputError
from rcnn_svm.export.pictures import read_image
from rcnn_svm.features.image_maps import ImageMaps
from rcnn_svm.features.onnx_session import onnx_session, run_session
from rcnn_svm.features.ranked_proposer import RankedProposer
from rcnn_svm.features.warp import plan_regions, sample_crops
from rcnn_svm.proposals.methods import RANKED, make_proposer
from rcnn_svm.proposals.ranker import ProposalRanker
from rcnn_svm.proposals.ranking import check_limits

# Pixels of a crop's side, and crops of a batch, at most: more is damage, and would fill the memory.
_MOST = 4096


class ExportedDetector(Calibrated):
    """Finds objects in images as the detector did that was exported.

    Args:
        folder: what `export_detector` wrote.
        proposer: makes the proposals, image -> (N, 4) boxes; where None, what was exported.
        vote, again, soft_nms: as in `ImageDetector`; where None, as the recipe says.
        threads: threads that work at once; one for every core where None.

    Attributes:
        classes: K class names.
        recipe: what is done with the boxes that are found.
        calibration, thresholds, thresholds_from: as in `Detector`.

    Raises:
        InputError: the folder holds no exported detector, or a part of it is missing, damaged or of another export.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        proposer: Callable[[np.ndarray], np.ndarray] | None = None,
        vote: bool | None = None,
        again: int | None = None,
        soft_nms: bool | None = None,
        threads: int | None = None,
    ):
        folder = Path(folder)
        described = read_description(folder)
        with reading(folder / DESCRIPTION):
            self.classes = tuple(described["classes"])
            self.recipe = Recipe.from_json(described["recipe"])
            self._recipe = self.recipe.changed(vote=vote, again=again, soft_nms=soft_nms)
            self.calibration, self.thresholds = (
                None if described[name] is None else np.array(described[name], np.float64)
                for name in ("calibration", "thresholds")
            )
            self.thresholds_from = described["source"].get("thresholds_from", {})
            self._geometry, self._colours, self._batch_size = _checked_crop(**described["crop"])
            _check_classes(self.classes, self.thresholds, self.calibration)
            proposals = described["proposals"]
            ranks = proposals["method"] == RANKED
            if ranks:
                _check_ranked(**proposals)
            parts = [NETWORK, *([MAPS, RANKER] if ranks else [])]
        content = {name: read_part(folder, name, described) for name in parts}
        # Threads that share a batch wait for each other at every layer: each has batches of its own.
        count = threads or _cores()
        self._threads = ThreadPoolExecutor(count, "rcnn-svm")
        # The networks are made ready at once, beside what the caller does until the first image.
        self._network = self._threads.submit(onnx_session, content[NETWORK])
        if proposer is not None:
            self._proposer = self._threads.submit(lambda: proposer)
        elif ranks:
            self._proposer = self._threads.submit(_ranked, content[MAPS], content[RANKER], proposals, count)
        else:
            self._proposer = self._threads.submit(make_proposer, proposals)

    def detect(
        self,
        image: np.ndarray | str | os.PathLike,
        *,
        thresh: float | np.ndarray | None = None,
        nms_threshold: float = paper.NMS_THRESHOLD,
    ) -> ImageDetections:
        """Return the objects found in an image.

        Args:
            image: (H, W, 3) uint8 RGB, or a path, read by OpenCV.
            thresh, nms_threshold: as in `Detector.detect`.

        Returns:
            The detections, best first, with the names of the classes and the image.

        Raises:
            InputError: the image is no such array or cannot be read; proposals cannot be made with this OpenCV.
        """
        if thresh is None:
            thresh = paper.DETECT_THRESH if self.thresholds is None else self.thresholds
        image = read_image(image) if isinstance(image, (str, os.PathLike)) else check_image(image)
        boxes = self._proposer.result()(image)
        found = find_objects(
            boxes, lambda some: self._score(image, some), image.shape[:2], self._recipe, thresh, nms_threshold
        )
        return replace(found, classes=self.classes, image=image)

    def _score(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, Correct | None]:
        """Return the scores of boxes, (N, K), and what corrects those of some rows for a class each."""
        size = image.shape[:2]
        plan = plan_regions(boxes, size, **self._geometry)
        session = self._network.result()
        names = [output.name for output in session.get_outputs()]

        def run(first: int) -> list[np.ndarray]:
            part = plan.part(slice(first, first + self._batch_size))
            crops = np.empty((len(part), 3, plan.crop_size, plan.crop_size), np.float32)
            sample_crops(image, part, *self._colours, crops)
            return run_session(session, {"crops": crops})

        batches = list(self._threads.map(run, range(0, len(plan), self._batch_size)))
        try:
            outputs = dict(zip(names, map(np.concatenate, zip(*batches, strict=True)), strict=True))
        except (ValueError, TypeError) as error:  # what is no array, or has no axis of crops
            raise _other_network(f"outputs that are not those of crops ({error})") from error
        scores = _of_boxes(outputs, SCORES, (len(boxes), len(self.classes)))
        if not np.isfinite(scores).all():
            raise InputError("the network makes scores that are not finite numbers; export the detector again")
        if DELTAS not in outputs:
            return scores, None
        deltas = _of_boxes(outputs, DELTAS, (len(boxes), len(self.classes), 4))

        def correct(rows: np.ndarray, cls: np.ndarray) -> np.ndarray:
            return clip_boxes(apply_box_deltas(boxes[rows], deltas[rows, cls]), size)

        return scores, correct


def _checked_crop(
    geometry: dict[str, Any], mean: Sequence[float], std: Sequence[float], batch_size: int
) -> tuple[dict[str, Any], tuple[Sequence[float], Sequence[float]], int]:
    """Return the geometry of crops, what is done to their colours, and how many are a batch.

    Raises:
        ValueError, TypeError: no crops can be made so.
    """
    _check_input(mean, std, crop_size=geometry["crop_size"], batch_size=batch_size)
    plan_regions(np.array([[0, 0, 1, 1]]), (2, 2), **geometry)
    return geometry, (mean, std), batch_size


def _check_ranked(*, maps: dict[str, Any], max_boxes: int | None, merge_iou: float | None, **_: Any) -> None:
    """Check how the maps of an image are made, and which boxes are kept.

    Raises:
        ValueError, TypeError, KeyError, InputError: it cannot be done so.
    """
    _check_input(maps["mean"], maps["std"], long_side=maps["long_side"])
    check_limits(max_boxes, merge_iou)


def _check_input(mean: Sequence[float], std: Sequence[float], **sizes: int) -> None:
    """Check what is done to the colours that a network sees, and how much it sees.

    Raises:
        ValueError, TypeError: it makes no sense.
    """
    for what, number in sizes.items():
        if not isinstance(number, int) or not 0 < number <= _MOST:
            raise ValueError(f"{what} is {number}")
    colours = np.array([mean, std], np.float64)
    if colours.shape != (2, 3) or not np.isfinite(colours).all() or not (colours[1] > 0).all():
        raise ValueError("mean and std are not three numbers each")


def _check_classes(classes: tuple[str, ...], thresholds: np.ndarray | None, calibration: np.ndarray | None) -> None:
    """Check that classes are names, and that every one has its numbers.

    Raises:
        ValueError: it is not so.
    """
    if not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes are no names")
    if thresholds is not None and thresholds.shape != (len(classes),):
        raise ValueError("thresholds are not those of the classes")
    if calibration is not None and calibration.shape != (len(classes), 2):
        raise ValueError("calibration is not that of the classes")


def _of_boxes(outputs: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return an output for the boxes, whose crops come first, with what context and scene add to it."""
    count = shape[0]
    if name not in outputs:
        raise _other_network(f"no {name}")
    try:
        found = outputs[name][:count]
        if CONTEXT + name in outputs:
            found = found + outputs[CONTEXT + name][count : 2 * count]
        if SCENE + name in outputs:
            found = found + outputs[SCENE + name][-1:]
    except (ValueError, TypeError) as error:
        raise _other_network(f"{name} that do not fit each other") from error
    if found.shape != shape or found.dtype.kind != "f":
        raise _other_network(f"{name} of shape {found.shape} for {count} boxes, expected {shape}")
    return found


def _other_network(makes: str) -> InputError:
    return InputError(f"the network makes {makes}; it is of another detector: export this one again")


def _ranked(maps: bytes, weights: bytes, proposals: dict, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the proposer of an exported ranker."""
    session = onnx_session(maps, threads)
    try:
        arrays: dict[str, Any] = {**read_npz(io.BytesIO(weights), RANKER)}
        ranker = ProposalRanker(**arrays)
    except TypeError as error:  # arrays of other names
        raise InputError(f"{RANKER} is of another detector ({error}); export this one again") from error
    image_maps = ImageMaps(lambda seen: run_session(session, {"images": seen}), proposals["maps"])
    return RankedProposer(ranker, image_maps, max_boxes=proposals["max_boxes"], merge_iou=proposals["merge_iou"])


def _cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1
