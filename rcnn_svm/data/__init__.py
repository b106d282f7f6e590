"""Image sets and their ground truth."""

from rcnn_svm.data.checks import require_ground_truth
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.images import load_image
from rcnn_svm.data.voc import VOC_CLASSES, load_voc

__all__ = ["VOC_CLASSES", "Annotation", "ImageDatabase", "load_image", "load_voc", "require_ground_truth"]
