"""What trained models find: in one image, and in all regions of a feature cache.

Detector             one linear SVM per class
SoftmaxClassifier    the last layer of a fine-tuned network
BoxRegressor         corrects boxes by their features
BoxRegressorTrainer  trains it on a feature cache
ImageDetector        finds objects in images
detect_in_cache      finds objects in every image of a feature cache
correct_detections   corrects the boxes found there
Detections           what was found in an image set, with its file
ImageDetections      what was found in one image
RegionScorer         what a model offers that scores regions
BoxCorrector         what a model offers that corrects boxes
proposals_to_score_again  the best boxes that were found, as proposals for their images
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.detection.again import proposals_to_score_again
    from rcnn_svm.detection.bbox_correction import correct_detections
    from rcnn_svm.detection.bbox_regression import BoxRegressor
    from rcnn_svm.detection.bbox_training import BoxRegressorTrainer
    from rcnn_svm.detection.detect import ImageDetector
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.detection.image_detections import ImageDetections
    from rcnn_svm.detection.image_set import detect_in_cache
    from rcnn_svm.detection.interfaces import BoxCorrector, RegionScorer
    from rcnn_svm.detection.softmax import SoftmaxClassifier
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "BoxCorrector",
    "BoxRegressor",
    "BoxRegressorTrainer",
    "Detections",
    "Detector",
    "ImageDetections",
    "ImageDetector",
    "RegionScorer",
    "SoftmaxClassifier",
    "correct_detections",
    "detect_in_cache",
    "proposals_to_score_again",
]
