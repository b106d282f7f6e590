"""Which examples to train on: R-CNN's hard negative mining, and the family of methods around it.

ReferenceMiner          rcnn_train.m's loop, written down literally: read this first
MiningRules             its four rules: negative, hard, retrain, easy
HardNegativeMiner       the same keys and weights, fast
RandomNegativeTrainer   the same SVMs on negatives drawn at random
replay_mining           a recorded mining once more, with its scores
Replay                  what it returns
cache_batches           the examples of a class, in batches, for any classifier
cache_keys              the keys of these examples
BootstrapClassifier     Sung and Poggio's bootstrapping around any classifier
BootstrapRound          what one of its rounds did
sampled_loss            the loss of the RoIs that a sampler takes: a training step with any sampler
RoIs                    what samplers choose from
Selection               what a step took
Sampler                 what a sampler is
total_loss              the losses that a sampler is given, their parts summed
RoISampler              the mini-batch of Fast R-CNN, drawn at random
assign_labels           the label of every RoI by its IoU
fast_rcnn_loss_per_roi  Fast R-CNN's loss, equation 1, RoI by RoI
OnlineHardExampleMiner  online hard example mining: the RoIs of highest loss
select_hard_rois        this choice as a function of losses
add_ohem                puts it into torchvision's Faster R-CNN
HardNegativeRatio       SSD's choice: the worst negatives, a few per positive
select_hard_negatives   this choice as a function of losses
HardNegativeRatioLoss   SSD's loss over this choice
AllRoIs                 no choice
negative_kinds          what hard negatives show: which objects they overlap
NegativeKind            the three kinds
Guards                  which regions of an image that nobody has labelled are taken as negatives
RepeatMerger            which of a video's regions show the same thing again
with_negatives          a training set with background and mined regions
mined_negatives         what a person left of them, as a feature cache
find_suspects           hard negatives that look like objects nobody labelled
Suspects                these, ranked
measure_cache           measures how many examples of a cache are easy or hard
measure_scores          the same from scores
Imbalance               what they measure
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.mining.background import with_negatives
    from rcnn_svm.mining.bootstrap import BootstrapClassifier, BootstrapRound
    from rcnn_svm.mining.examples import cache_batches, cache_keys
    from rcnn_svm.mining.fast_rcnn import RoISampler, assign_labels
    from rcnn_svm.mining.hard_negatives import HardNegativeMiner
    from rcnn_svm.mining.imbalance import Imbalance, measure_cache, measure_scores
    from rcnn_svm.mining.kinds_of_negatives import NegativeKind, negative_kinds
    from rcnn_svm.mining.mined_regions import mined_negatives
    from rcnn_svm.mining.multi_task_loss import fast_rcnn_loss_per_roi
    from rcnn_svm.mining.ohem import OnlineHardExampleMiner, select_hard_rois
    from rcnn_svm.mining.ohem_torchvision import add_ohem
    from rcnn_svm.mining.random_negatives import RandomNegativeTrainer
    from rcnn_svm.mining.reference import ReferenceMiner
    from rcnn_svm.mining.replay import Replay, replay_mining
    from rcnn_svm.mining.rules import MiningRules
    from rcnn_svm.mining.sampling import AllRoIs, RoIs, Sampler, Selection, sampled_loss, total_loss
    from rcnn_svm.mining.ssd import HardNegativeRatio, HardNegativeRatioLoss, select_hard_negatives
    from rcnn_svm.mining.suspects import Suspects, find_suspects
    from rcnn_svm.mining.unlabelled import Guards, RepeatMerger
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "AllRoIs",
    "BootstrapClassifier",
    "BootstrapRound",
    "Guards",
    "HardNegativeMiner",
    "HardNegativeRatio",
    "HardNegativeRatioLoss",
    "Imbalance",
    "MiningRules",
    "NegativeKind",
    "OnlineHardExampleMiner",
    "RandomNegativeTrainer",
    "ReferenceMiner",
    "RepeatMerger",
    "Replay",
    "RoISampler",
    "RoIs",
    "Sampler",
    "Selection",
    "Suspects",
    "add_ohem",
    "assign_labels",
    "cache_batches",
    "cache_keys",
    "fast_rcnn_loss_per_roi",
    "find_suspects",
    "measure_cache",
    "measure_scores",
    "mined_negatives",
    "negative_kinds",
    "replay_mining",
    "sampled_loss",
    "select_hard_negatives",
    "select_hard_rois",
    "total_loss",
    "with_negatives",
]
