"""Image sets and their ground truth."""

from rcnn_svm.data.checks import require_ground_truth, require_two_images
from rcnn_svm.data.coco import load_coco
from rcnn_svm.data.csv_boxes import load_csv
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.data.images import load_image
from rcnn_svm.data.splits import split_database
from rcnn_svm.data.voc import VOC_CLASSES, load_voc
from rcnn_svm.data.xml_folder import load_xml_folder

__all__ = [
    "VOC_CLASSES",
    "Annotation",
    "ImageDatabase",
    "load_coco",
    "load_csv",
    "load_image",
    "load_voc",
    "load_xml_folder",
    "require_ground_truth",
    "require_two_images",
    "split_database",
]
