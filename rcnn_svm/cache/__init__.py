"""The feature cache: regions and features of an image set in HDF5 shards."""

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.plan import CachePlan, plan_cache, read_plan
from rcnn_svm.cache.regions import RegionSet, build_regions

__all__ = ["CachePlan", "FeatureCache", "RegionSet", "build_regions", "plan_cache", "read_plan"]
