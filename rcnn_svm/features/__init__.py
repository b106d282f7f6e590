"""From regions to features: networks, the runtimes that run them, crops, and the extraction of whole image sets.

load_backbone     a network by name, cut after the layer of the features
backbone_names    the names it knows
Backbone          such a network with its preprocessing
SOURCES           where the networks come from; an entry adds one of your own
Source            such an entry
read_state_dict   the weights in a file
make_runtime      what runs a network: torch, ONNX Runtime or OpenVINO
to_onnx           a network as an ONNX file
warp_regions      the crops of regions, with context, in the network's size
FeatureSettings   what made features, as caches and models record it
FeatureExtractor  features of boxes of one image
make_extractor    an extractor of the kind that a cache records
ImageMaps         maps of a whole image from one pass
load_image_maps   a network by name as a source of such maps
RankedProposer    proposals of a learnt ranker, from these maps
extract_database  writes the feature cache of an image set
layer_cache       fc6 or fc7 computed from a cache of pool5
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.features.backbones import SOURCES, Backbone, Source, backbone_names, load_backbone, read_state_dict
    from rcnn_svm.features.extract import FeatureExtractor, extract_database, make_extractor
    from rcnn_svm.features.fc_from_pool5 import layer_cache
    from rcnn_svm.features.image_maps import ImageMaps
    from rcnn_svm.features.map_network import load_image_maps
    from rcnn_svm.features.ranked_proposer import RankedProposer
    from rcnn_svm.features.runtime import make_runtime, to_onnx
    from rcnn_svm.features.settings import FeatureSettings
    from rcnn_svm.features.warp import warp_regions
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "SOURCES",
    "Backbone",
    "FeatureExtractor",
    "FeatureSettings",
    "ImageMaps",
    "RankedProposer",
    "Source",
    "backbone_names",
    "extract_database",
    "layer_cache",
    "load_backbone",
    "load_image_maps",
    "make_extractor",
    "make_runtime",
    "read_state_dict",
    "to_onnx",
    "warp_regions",
]
