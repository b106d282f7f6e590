"""The feature cache: regions and features of an image set, in HDF5 shards that are opened as one.

FeatureCache           opens a cache, or makes one of arrays; reads blocks, keys and rows
Block                  consecutive images of a cache
RegionSet              the regions of one image, ground truth first
build_regions          joins ground truth and proposals of an image to a `RegionSet`
CachePlan              what a cache will hold, and which shards are missing
plan_cache             begins a cache, or goes on with one
read_plan              reads the plan of a cache
join_caches            several caches as one, that of more images
as_background          a cache of images without objects, whose regions are negatives
write_cache            writes a cache of arrays as shards
import_girshick_cache  turns the original's .mat files into a cache
mean_feature_norm      the mean length of a cache's features
feature_scale          the factor that gives features the mean length 20
split_folds            cuts images into folds
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.cache.blocks import Block
    from rcnn_svm.cache.feature_cache import FeatureCache
    from rcnn_svm.cache.feature_norm import feature_scale, mean_feature_norm
    from rcnn_svm.cache.folds import split_folds
    from rcnn_svm.cache.importers import import_girshick_cache, write_cache
    from rcnn_svm.cache.joined import as_background, join_caches
    from rcnn_svm.cache.plan import CachePlan, plan_cache, read_plan
    from rcnn_svm.cache.regions import RegionSet, build_regions
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "Block",
    "CachePlan",
    "FeatureCache",
    "RegionSet",
    "as_background",
    "build_regions",
    "feature_scale",
    "import_girshick_cache",
    "join_caches",
    "mean_feature_norm",
    "plan_cache",
    "read_plan",
    "split_folds",
    "write_cache",
]
