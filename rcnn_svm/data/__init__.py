"""The user's images and boxes, whatever their format, as one `ImageDatabase`.

load_voc              reads PASCAL VOC's devkit, or own data in its layout
load_coco             reads COCO's JSON and a folder of images
load_xml_folder       reads a folder of annotation files in VOC's XML
load_csv              reads one object a row, and a folder of images
load_yolo             reads YOLO's text files, with data.yaml or a list of names
yolo_splits           the splits that YOLO's data.yaml defines
ImageDatabase         images, classes and ground truth
Annotation            the ground truth of one image
load_image            reads an image file, upright and in RGB
as_image              the same pixels from a path, a PIL image or an array
read_frames           goes through a video or what a camera sees, frame after frame
split_database        splits own images into those to train on and those to test on
require_annotations   reads all ground truth and refuses what is wrong with it, all at once
require_usable        the same for several image sets, and their image files with it
require_ground_truth  refuses a database in which a class has no object
require_two_images    refuses a database of fewer than two images
VOC_CLASSES           the 20 classes of PASCAL VOC
image_size            height and width of an image file; this and the rest is for readers of other formats
IMAGE_SUFFIXES        the names that image files end with
VIDEO_SUFFIXES        the names that videos end with
check_folder          refuses a folder that is not there
set_name              the name of an image set, from its path
Notes                 counts what a reader mends or leaves out
mend_boxes            puts corners in order, cuts boxes to their image, and says which are outside
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.data.box_table import mend_boxes
    from rcnn_svm.data.checks import (
        require_annotations,
        require_ground_truth,
        require_two_images,
        require_usable,
    )
    from rcnn_svm.data.coco import load_coco
    from rcnn_svm.data.csv_boxes import load_csv
    from rcnn_svm.data.database import Annotation, ImageDatabase
    from rcnn_svm.data.image_folder import IMAGE_SUFFIXES, check_folder, set_name
    from rcnn_svm.data.images import as_image, image_size, load_image
    from rcnn_svm.data.mended import Notes
    from rcnn_svm.data.splits import split_database
    from rcnn_svm.data.video import VIDEO_SUFFIXES, read_frames
    from rcnn_svm.data.voc import VOC_CLASSES, load_voc
    from rcnn_svm.data.xml_folder import load_xml_folder
    from rcnn_svm.data.yolo import load_yolo, yolo_splits
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "VOC_CLASSES",
    "Annotation",
    "ImageDatabase",
    "Notes",
    "as_image",
    "check_folder",
    "image_size",
    "load_coco",
    "load_csv",
    "load_image",
    "load_voc",
    "load_xml_folder",
    "load_yolo",
    "mend_boxes",
    "read_frames",
    "require_annotations",
    "require_ground_truth",
    "require_two_images",
    "require_usable",
    "set_name",
    "split_database",
    "yolo_splits",
]
