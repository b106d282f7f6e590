"""Results for people: tables, curves and pictures; one `Table` and one style for all of them.

Table                    cells under a header, as text and in Markdown
voc_table                average precision by VOC, class by class
voc_csv                  the same in full
voc_json                 the same with what was evaluated
coco_table               COCO's measures, class by class
coco_csv                 the same in full
coco_json                the same with what was evaluated
cost_table               what each kind of error costs in average precision
work_table               what is found and wrong at the working threshold
save_suspects            writes suspects as CSV, for review
mining_table             what a mining did, class by class
bbox_table               what box regression is worth, class by class
imbalance_text           how unequal examples are
compare_artefacts        where two artefacts differ first, by how much, and why
Comparison               the same, as text of a terminal and as JSON
inspect_artefact         what any artefact holds and what made it
Inspection               the same, as text of a screen and as JSON
precision_recall_figure  precision over recall of every class
imbalance_figure         easy and hard examples, and their loss
finetuning_figure        loss and accuracy of a fine-tuning
head_figure              losses of the training of a RoI head
draw_detections          boxes drawn into an image
proposals_sheet          images with their first proposals, as a figure
detections_sheet         images with what was found in them, as a figure
negatives_sheet          the hardest negatives of classes as crops, as a figure
film_sheet               how a class was mined, training by training, as a figure
contact_sheet            several pictures on one sheet
bootstrap_toy            a page in which mining runs step by step
Report                   a page that shows what was hard
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.reports.bbox import bbox_table
    from rcnn_svm.reports.coco_tables import coco_csv, coco_json, coco_table
    from rcnn_svm.reports.curves import precision_recall_figure
    from rcnn_svm.reports.difference.artefact import compare_artefacts
    from rcnn_svm.reports.difference.result import Comparison
    from rcnn_svm.reports.error_tables import cost_table, work_table
    from rcnn_svm.reports.film_figure import film_sheet
    from rcnn_svm.reports.finetuning import finetuning_figure
    from rcnn_svm.reports.heads import head_figure
    from rcnn_svm.reports.html import Report
    from rcnn_svm.reports.imbalance import imbalance_figure, imbalance_text
    from rcnn_svm.reports.inspection.artefact import inspect_artefact
    from rcnn_svm.reports.inspection.result import Inspection
    from rcnn_svm.reports.mining import mining_table
    from rcnn_svm.reports.pictures import contact_sheet, draw_detections
    from rcnn_svm.reports.sheets import detections_sheet, negatives_sheet, proposals_sheet
    from rcnn_svm.reports.suspects import save_suspects
    from rcnn_svm.reports.table import Table
    from rcnn_svm.reports.toy import bootstrap_toy
    from rcnn_svm.reports.voc_tables import voc_csv, voc_json, voc_table
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "Comparison",
    "Inspection",
    "Report",
    "Table",
    "bbox_table",
    "bootstrap_toy",
    "coco_csv",
    "coco_json",
    "coco_table",
    "compare_artefacts",
    "contact_sheet",
    "cost_table",
    "detections_sheet",
    "draw_detections",
    "film_sheet",
    "finetuning_figure",
    "head_figure",
    "imbalance_figure",
    "imbalance_text",
    "inspect_artefact",
    "mining_table",
    "negatives_sheet",
    "precision_recall_figure",
    "proposals_sheet",
    "save_suspects",
    "voc_csv",
    "voc_json",
    "voc_table",
    "work_table",
]
