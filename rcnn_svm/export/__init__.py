"""Detectors exported as ONNX: found objects where neither torch nor scikit-learn, numba or h5py is installed.

export_detector   writes a detector as a folder: networks with all linear layers, and JSON of the rest
ExportedDetector  finds objects with such a folder, by numpy, OpenCV and ONNX Runtime alone
draw_detections   draws what it found, by OpenCV
"""

from __future__ import annotations

from rcnn_svm.lazy import lazy_names

# What type checkers take for true, without loading `typing`: see `__main__.py`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from rcnn_svm.export.exported import ExportedDetector
    from rcnn_svm.export.pictures import draw_detections
    from rcnn_svm.export.writing import export_detector
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = ["ExportedDetector", "draw_detections", "export_detector"]
