"""The samplers of a training step by name: ways to choose RoIs, so that trainings differ in nothing else."""

from __future__ import annotations

from collections.abc import Callable

from rcnn_svm import paper
from rcnn_svm.errors import InputError
from rcnn_svm.mining.fast_rcnn import RoISampler
from rcnn_svm.mining.ohem import OnlineHardExampleMiner
from rcnn_svm.mining.sampling import AllRoIs, Sampler
from rcnn_svm.mining.ssd import HardNegativeRatio
from rcnn_svm.parameters import plain

# Name -> the sampler that takes at most so many RoIs of an image, where it has such a number.
SAMPLERS: dict[str, Callable[[int], Sampler]] = {
    "random": lambda rois_per_image: RoISampler(rois_per_image=rois_per_image, bg_thresh_lo=0.0),
    "heuristic": lambda rois_per_image: RoISampler(rois_per_image=rois_per_image),
    "ohem": lambda rois_per_image: OnlineHardExampleMiner(batch_size=rois_per_image, num_images=1),
    "ratio": lambda rois_per_image: HardNegativeRatio(),
    "all": lambda rois_per_image: AllRoIs(),
}


def make_sampler(name: str, rois_per_image: int = paper.ROIS_PER_IMAGE) -> Sampler:
    """Return a sampler by name.

    Args:
        name: `random` (a quarter foreground, any background), `heuristic` (Fast R-CNN's, background with an IoU of
            at least 0.1), `ohem`, `ratio` (SSD's three to one) or `all`.
        rois_per_image: number of RoIs, where a sampler has such a number: 128 RoIs of 2 images in both papers.

    Raises:
        InputError: an unknown name, or a number below 1.

    Source: Fast R-CNN section 2.3; Shrivastava et al. 2016, section 4 and 5.1; SSD section 2.2.
    """
    if name not in SAMPLERS:
        raise InputError(f"sampler {plain(name)!r} is unknown; choose one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name](rois_per_image)
