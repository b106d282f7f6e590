"""Image sets and their ground truth."""

from rcnn_svm.data.database import Annotation, ImageDatabase

__all__ = ["Annotation", "ImageDatabase"]
