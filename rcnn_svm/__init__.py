"""R-CNN with SVM hard negative mining, and the family of hard example mining methods around it.

The public names, in the order of the pipeline; each room (`rcnn_svm.mining`, `rcnn_svm.cache`, ...) has more.

Images and boxes: ImageDatabase, load_voc, load_coco, load_xml_folder, load_csv, load_yolo, load_image, split_database
Proposals: make_proposer, propose_database, ProposalSet
Networks and features: FineTuner, load_backbone, make_runtime, FeatureExtractor, extract_database, FeatureCache,
    RegionSet
Mining: HardNegativeMiner, ReferenceMiner, RandomNegativeTrainer, BootstrapClassifier, cache_batches, RoISampler,
    OnlineHardExampleMiner, add_ohem, HardNegativeRatioLoss
Models: Detector, BoxRegressor, BoxRegressorTrainer, RoIHead, RoIHeadTrainer, FastRCNN, FastRCNNTrainer, load_model
In one call: train_detector
Detection: ImageDetector, detect_in_cache, correct_detections, Detections
Evaluation: evaluate_detections, evaluate_coco, Report
Errors: InputError
"""

from __future__ import annotations

from rcnn_svm.lazy import lazy_names

# What type checkers take for true, without loading `typing`: see `__main__.py`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from rcnn_svm.artefacts import load_model
    from rcnn_svm.cache import FeatureCache, RegionSet
    from rcnn_svm.cli.train_detector import train_detector
    from rcnn_svm.data import (
        ImageDatabase,
        load_coco,
        load_csv,
        load_image,
        load_voc,
        load_xml_folder,
        load_yolo,
        split_database,
    )
    from rcnn_svm.detection import (
        BoxRegressor,
        BoxRegressorTrainer,
        Detections,
        Detector,
        ImageDetector,
        correct_detections,
        detect_in_cache,
    )
    from rcnn_svm.errors import InputError
    from rcnn_svm.evaluation import evaluate_coco, evaluate_detections
    from rcnn_svm.fast_rcnn import FastRCNN, FastRCNNTrainer, RoIHead, RoIHeadTrainer
    from rcnn_svm.features import FeatureExtractor, extract_database, load_backbone, make_runtime
    from rcnn_svm.finetune import FineTuner
    from rcnn_svm.mining import (
        BootstrapClassifier,
        HardNegativeMiner,
        HardNegativeRatioLoss,
        OnlineHardExampleMiner,
        RandomNegativeTrainer,
        ReferenceMiner,
        RoISampler,
        add_ohem,
        cache_batches,
    )
    from rcnn_svm.proposals import ProposalSet, make_proposer, propose_database
    from rcnn_svm.reports import Report
else:
    __getattr__, __dir__ = lazy_names(__name__)

__version__ = "0.1.0"

__all__ = [
    "BootstrapClassifier",
    "BoxRegressor",
    "BoxRegressorTrainer",
    "Detections",
    "Detector",
    "FastRCNN",
    "FastRCNNTrainer",
    "FeatureCache",
    "FeatureExtractor",
    "FineTuner",
    "HardNegativeMiner",
    "HardNegativeRatioLoss",
    "ImageDatabase",
    "ImageDetector",
    "InputError",
    "OnlineHardExampleMiner",
    "ProposalSet",
    "RandomNegativeTrainer",
    "ReferenceMiner",
    "RegionSet",
    "Report",
    "RoIHead",
    "RoIHeadTrainer",
    "RoISampler",
    "__version__",
    "add_ohem",
    "cache_batches",
    "correct_detections",
    "detect_in_cache",
    "evaluate_coco",
    "evaluate_detections",
    "extract_database",
    "load_backbone",
    "load_coco",
    "load_csv",
    "load_image",
    "load_model",
    "load_voc",
    "load_xml_folder",
    "load_yolo",
    "make_proposer",
    "make_runtime",
    "propose_database",
    "split_database",
    "train_detector",
]
