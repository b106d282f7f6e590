"""One class of a small feature cache, mined without threads."""

from __future__ import annotations

import numpy as np

from rcnn_svm.cache import FeatureCache
from rcnn_svm.mining.engine.block import ScanBlock
from rcnn_svm.mining.engine.budget import MemoryBudget
from rcnn_svm.mining.engine.class_miner import ClassMiner, Setting
from rcnn_svm.mining.engine.feature_pool import FeaturePool
from rcnn_svm.mining.examples import class_positives
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.svm.dual_coordinate_descent import DualCoordinateDescent


def make_miner(cache: FeatureCache, column: int = 0, **changed) -> ClassMiner:
    """Return a class before its first image; its features are not scaled."""
    options = {"rules": MiningRules(), "svm_C": 100, "bias_mult": 1000, "budget": MemoryBudget()}
    setting = Setting(solver=DualCoordinateDescent(), seed=3, image_start=cache.image_start, **{**options, **changed})
    pool = FeaturePool(cache.dim, np.float32(1), cache.num_rows)
    (positives,) = class_positives(cache, [column])
    miner = ClassMiner(column, column, cache.classes[column], positives, pos_loss_weight=2, setting=setting, pool=pool)
    load(miner, cache)
    return miner


def load(miner: ClassMiner, cache: FeatureCache) -> None:
    """Let the class find the features of its examples."""
    for block in cache.blocks():
        miner.cache.pool.open_block(block.first_region, len(block))
        miner.cache.load(block)


def scan_blocks(cache: FeatureCache, max_bytes: int | None, epochs: int = 1) -> list[ScanBlock]:
    """Return the blocks of some passes."""
    names = ("images", "first_region", "image_start", "overlap")
    return [
        ScanBlock(
            epoch=epoch,
            features=block.features(),
            last=epoch == epochs - 1 and block.images.stop == cache.num_images,
            **{name: getattr(block, name) for name in names},
        )
        for epoch in range(epochs)
        for block in cache.blocks(max_bytes)
    ]


def scan(miner: ClassMiner, block: ScanBlock) -> int:
    """Score a block and let the class take from it."""
    miner.cache.pool.open_block(block.first_region, len(block))
    return miner.take(block, block.features @ (miner.weights * miner.cache.pool.scale) + miner.bias)
