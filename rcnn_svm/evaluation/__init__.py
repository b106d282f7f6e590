"""Average precision by PASCAL VOC and COCO, what a detector gets wrong, and files for other people's tools.

evaluate_detections     average precision as PASCAL VOC computes it
VocResult               its result, class by class
PrecisionRecall         the curve of one class
average_precision_11    the 11-point protocol of VOC 2007
average_precision_area  the area protocol from VOC 2010 on
detection_errors        why every detection is right or wrong, and which objects are missed
DetectionErrors         its result, detection by detection
HoiemKind, TideKind     the kinds of false positives in both lists
error_costs             what each kind of error costs in average precision
MENDED                  these kinds of errors, by name
errors_at               what is found and wrong above a threshold, and which classes are confused
compare_on_background   false positives of detectors on images without objects, at equal recall
OnBackground            its result, detector by detector
bootstrap_ap            average precision on test images that are drawn again and again: how sure it is
bootstrap_map           the same of the mean
find_operating_points   thresholds of the best F1 and of 90 % precision, with precision, recall, false positives
evaluate_coco           average precision as COCO computes it
CocoResult              its result, class by class
write_comp4             writes detections as VOC's results files
read_comp4              reads such files
write_coco_results      writes detections as COCO's results JSON
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.evaluation.at_threshold import errors_at
    from rcnn_svm.evaluation.bootstrap import bootstrap_ap, bootstrap_map
    from rcnn_svm.evaluation.coco import CocoResult, evaluate_coco
    from rcnn_svm.evaluation.errors import DetectionErrors, HoiemKind, TideKind, detection_errors
    from rcnn_svm.evaluation.formats import read_comp4, write_coco_results, write_comp4
    from rcnn_svm.evaluation.on_background import OnBackground, compare_on_background
    from rcnn_svm.evaluation.operating_points import find_operating_points
    from rcnn_svm.evaluation.tide import MENDED, error_costs
    from rcnn_svm.evaluation.voc import (
        PrecisionRecall,
        VocResult,
        average_precision_11,
        average_precision_area,
        evaluate_detections,
    )
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "MENDED",
    "CocoResult",
    "DetectionErrors",
    "HoiemKind",
    "OnBackground",
    "PrecisionRecall",
    "TideKind",
    "VocResult",
    "average_precision_11",
    "average_precision_area",
    "bootstrap_ap",
    "bootstrap_map",
    "compare_on_background",
    "detection_errors",
    "error_costs",
    "errors_at",
    "evaluate_coco",
    "evaluate_detections",
    "find_operating_points",
    "read_comp4",
    "write_coco_results",
    "write_comp4",
]
