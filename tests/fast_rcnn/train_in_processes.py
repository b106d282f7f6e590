"""One of several processes, started by torchrun: takes a step with every sampler named, then many until a Ctrl-C."""

import importlib.util
import os
import sys
from pathlib import Path

import torch

from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.data.voc import load_voc
from rcnn_svm.descent import Schedule, step_seed
from rcnn_svm.fast_rcnn.image_training import FastRCNNTrainer, process_group, rank
from rcnn_svm.fast_rcnn.network import RoIPredictor
from rcnn_svm.features.backbones import SOURCES
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES
from tests.interrupt import ctrl_c_at
from tests.small_networks import small_roi_source

spec = importlib.util.spec_from_file_location("test_images", Path(__file__).with_name("test_images.py"))
test_images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_images)


def main(root: Path, out: Path, samplers: list[str]) -> None:
    """Take a step with every sampler, then train until torchrun is told to stop, on the devkit below `root`."""
    SOURCES["alexnet"] = small_roi_source
    database = load_voc(root / "VOCdevkit", "2007", "trainval", classes=SYNTHETIC_CLASSES)
    proposals = ProposalSet.load(root / "trainval.h5")
    with process_group("cpu"):
        for sampler in samplers:
            take_step(database, proposals, out, sampler)
        train_until_interrupted(database, proposals, out)


def take_step(database: ImageDatabase, proposals: ProposalSet, out: Path, sampler: str) -> None:
    """Train for a step without dropout; write the weights and what was drawn."""
    network = test_images.network()
    for part in network.after.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    trainer = FastRCNNTrainer(
        sampler=sampler,
        schedule=Schedule(iterations=1, lr=0.01, weight_decay=0.0, step=9),
        images_per_batch=1,
        rois_per_image=16,
        device="cpu",
        workers=0,
    )
    (drawn,) = trainer._draws(len(database), range(1))
    trainer.fit(network, database, proposals)
    images = [(index, mirrored, step_seed(3, 0, rank())) for index, mirrored in drawn]
    torch.save({"images": images, **network.state_dict()}, out / f"{sampler}.{rank()}.pt")


def train_until_interrupted(database: ImageDatabase, proposals: ProposalSet, out: Path) -> None:
    """Train until torchrun gets a Ctrl-C, at the third step of the first process."""
    trainer = FastRCNNTrainer(schedule=Schedule(iterations=2000, lr=1e-4), device="cpu", workers=1)
    with ctrl_c_at(2 if rank() == 0 else -1, RoIPredictor, os.getppid()):
        try:
            trainer.fit(test_images.network(), database, proposals, checkpoint=out / "checkpoint")
        except KeyboardInterrupt:
            (out / f"{rank()}.stopped").touch()
            raise SystemExit(130) from None


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
