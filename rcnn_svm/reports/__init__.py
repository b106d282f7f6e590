"""Results for people: tables, curves and pictures.

voc_text               average precision as text
voc_markdown           the same in Markdown
coco_text              COCO's measures as text
coco_markdown          the same in Markdown
mining_table           what a mining did, class by class
bbox_table             what box regression is worth, class by class
file_summary           what any artefact holds and what made it
save_precision_recall  precision over recall of every class
save_imbalance         how unequal examples are
save_finetuning        loss and accuracy of a fine-tuning
save_head_figure       losses of the training of a RoI head
draw_detections        boxes drawn into an image
contact_sheet          several pictures on one sheet
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.reports.bbox import bbox_table
    from rcnn_svm.reports.coco_tables import coco_markdown, coco_text
    from rcnn_svm.reports.curves import save_precision_recall
    from rcnn_svm.reports.finetuning import save_finetuning
    from rcnn_svm.reports.heads import save_head_figure
    from rcnn_svm.reports.imbalance import save_imbalance
    from rcnn_svm.reports.inspection import file_summary
    from rcnn_svm.reports.mining import mining_table
    from rcnn_svm.reports.pictures import contact_sheet, draw_detections
    from rcnn_svm.reports.tables import voc_markdown, voc_text

__all__ = [
    "bbox_table",
    "coco_markdown",
    "coco_text",
    "contact_sheet",
    "draw_detections",
    "file_summary",
    "mining_table",
    "save_finetuning",
    "save_head_figure",
    "save_imbalance",
    "save_precision_recall",
    "voc_markdown",
    "voc_text",
]

__getattr__, __dir__ = lazy_names(__name__)
