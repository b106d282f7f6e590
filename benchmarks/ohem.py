#!/usr/bin/env python3
"""What online hard example mining costs in a training step of torchvision's Faster R-CNN.

  python -m benchmarks.ohem                                 MobileNetV3, on the CPU or GPU
  python -m benchmarks.ohem --model fasterrcnn_resnet50_fpn --image-size 600 1000

Random weights and images: as fast as trained ones. Steps of all cases take turns, and ratios are medians over the
rounds: so they hold on a machine whose speed wavers. Peak memory is of a process of its own: on a GPU what torch has
allocated, on a CPU the growth of the process from the finished model on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torchvision

from rcnn_svm.mining.ohem import OnlineHardExampleMiner
from rcnn_svm.mining.ohem_torchvision import add_ohem
from rcnn_svm.reports.table import Table

NUM_CLASSES = 21
OBJECTS = 3  # an image
MEMORY_STEPS = 3
SEED = 0
REFERENCE = "random"


@dataclass(frozen=True)
class Case:
    """A way to choose RoIs: the first of the names, and the read-only pass of OHEM or none."""

    name: str
    read_only_mode: str | None


CASES = (Case(REFERENCE, None), Case("OHEM", "train"), Case("OHEM, same dropout", "same_dropout"))


class Training:
    """A detector with its optimiser and one mini-batch."""

    def __init__(self, case: Case, args: argparse.Namespace, device: str):
        torch.manual_seed(SEED)
        height, width = args.image_size
        self.model = torchvision.models.get_model(
            args.model,
            weights=None,
            weights_backbone=None,
            num_classes=NUM_CLASSES,
            min_size=min(height, width),
            max_size=max(height, width),
            box_batch_size_per_image=args.batch_size // args.images,
            rpn_post_nms_top_n_train=args.proposals,
        )
        if case.read_only_mode:
            options = {"batch_size": args.batch_size, "num_images": args.images, "read_only_mode": case.read_only_mode}
            add_ohem(self.model, OnlineHardExampleMiner(**options))
        self.model.to(device).train()
        # No change of the weights: the same work in every step.
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0, momentum=0.9)
        self.images = [torch.rand(3, height, width, device=device) for _ in range(args.images)]
        corner = torch.rand(args.images, OBJECTS, 2) * torch.tensor([width, height]) / 2
        extent = torch.rand(args.images, OBJECTS, 2) * torch.tensor([width, height]) / 3 + 16
        boxes = torch.cat([corner, corner + extent], dim=2).to(device)
        labels = torch.randint(1, NUM_CLASSES, (args.images, OBJECTS), device=device)
        self.targets = [{"boxes": b, "labels": c} for b, c in zip(boxes, labels, strict=True)]
        self.device = device

    def step(self) -> float:
        """Train once and return the seconds it took."""
        start = time.perf_counter()
        loss = sum(self.model(self.images, self.targets).values())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def peak_memory(case: Case, args: argparse.Namespace, device: str) -> int:
    """Return the peak memory of some steps, bytes."""
    training = Training(case, args, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = resident_peak()
    for _ in range(MEMORY_STEPS):
        training.step()
    return torch.cuda.max_memory_allocated() if device == "cuda" else resident_peak() - before


def resident_peak() -> int:
    """Return the largest resident size of this process so far, bytes."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else 1024 * kilobytes


def in_own_process(case: Case, args: argparse.Namespace, device: str) -> int:
    """Return the peak memory, measured by a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peak_memory, case, args, device).result()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="fasterrcnn_mobilenet_v3_large_fpn", help="a Faster R-CNN of torchvision (%(default)s)"
    )
    parser.add_argument(
        "--image-size", type=int, nargs=2, metavar=("H", "W"), default=(320, 480), help="pixels (default: 320 480)"
    )
    parser.add_argument("--images", type=int, default=2, help="N, in a mini-batch (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="B, RoIs with gradient (default: %(default)s)")
    parser.add_argument("--proposals", type=int, default=2000, help="at most, an image (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="default: %(default)s")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"

    memory = {case.name: in_own_process(case, args, device) for case in CASES}
    trainings = {case.name: Training(case, args, device) for case in CASES}
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for training in trainings.values():
        training.step()
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
        for name, training in trainings.items():
            seconds[name].append(training.step())

    reference = np.array(seconds[REFERENCE])
    rows = []
    for name, taken in seconds.items():
        ratio = np.median(np.array(taken) / reference)
        figures = [f"{1000 * np.median(taken):.0f}", f"{ratio:.2f}"]
        rows.append([name, *figures, f"{memory[name] / 1e6:.0f}", f"{memory[name] / memory[REFERENCE]:.2f}"])
    rois = [len(loss) for loss in trainings["OHEM"].model.roi_heads.selection.loss]
    taken = [len(row) for row in trainings["OHEM"].model.roi_heads.selection.rows]
    print(f"{args.model}, {args.images} images of {args.image_size[0]} x {args.image_size[1]} pixels, {where}")
    print(f"OHEM: {rois} RoIs in the images, {taken} of them taken")
    print(Table(("RoIs chosen by", "ms a step", "of random", "peak MB", "of random"), rows).text())


if __name__ == "__main__":
    main()
