"""One step of one of several processes, started by torchrun; writes the weights and what was drawn."""

import importlib.util
import sys
from pathlib import Path

import torch

from rcnn_svm.data.voc import load_voc
from rcnn_svm.descent import Schedule
from rcnn_svm.fast_rcnn import roi_pool
from rcnn_svm.fast_rcnn.image_training import FastRCNNTrainer, process_group, rank, step_seed
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES

spec = importlib.util.spec_from_file_location("test_images", Path(__file__).with_name("test_images.py"))
test_images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_images)


def main(root: Path, out: Path, sampler: str) -> None:
    """Train for a step without dropout on the devkit below `root`."""
    roi_pool.load_trunk = test_images.small_trunk
    network = test_images.network()
    for part in network.after.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    database = load_voc(root / "VOCdevkit", "2007", "trainval", classes=SYNTHETIC_CLASSES)
    with process_group("cpu"):
        trainer = FastRCNNTrainer(
            sampler=sampler,
            schedule=Schedule(iterations=1, lr=0.01, weight_decay=0.0, step=9),
            images_per_batch=1,
            rois_per_image=16,
            device="cpu",
            workers=0,
        )
        (drawn,) = trainer._draws(len(database), 0)
        trainer.fit(network, database, ProposalSet.load(root / "trainval.h5"))
        images = [(index, mirrored, step_seed(3, 0, rank())) for index, mirrored in drawn]
        torch.save({"images": images, **network.state_dict()}, out / f"{rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
