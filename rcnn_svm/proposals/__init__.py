"""Where an image may hold objects: proposers, the order of their boxes, files of proposals, and their recall.

A proposer is a callable, image -> boxes in the order in which a limit keeps them, with a JSON-able `settings`
from which `make_proposer` builds it again.

    SelectiveSearch    a proposer: segments that are merged step by step
    SlidingWindow      a proposer: a regular grid of boxes
    make_proposer      a proposer by name, or by recorded settings
    propose_database   runs a proposer over an image set
    ProposalRanker     learnt: windows moved and ordered by a network's maps of the whole image
    RankerTrainer      trains it
    ProposalSet        the proposals of an image set, with their file
    import_proposals   takes proposals that were computed elsewhere
    load_girshick_mat  reads the original's selective_search_data/*.mat
    rank_boxes         the order in which boxes are kept
    limit_boxes        keeps the first boxes of this order
    recall_report      how much of the ground truth proposals cover
    format_recall      this report as text
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.proposals.methods import make_proposer
    from rcnn_svm.proposals.precomputed import import_proposals, load_girshick_mat
    from rcnn_svm.proposals.propose import propose_database
    from rcnn_svm.proposals.ranker import ProposalRanker
    from rcnn_svm.proposals.ranker_training import RankerTrainer
    from rcnn_svm.proposals.ranking import limit_boxes, rank_boxes
    from rcnn_svm.proposals.recall import format_recall, recall_report
    from rcnn_svm.proposals.selective_search import SelectiveSearch
    from rcnn_svm.proposals.sliding_window import SlidingWindow
    from rcnn_svm.proposals.store import ProposalSet
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "ProposalRanker",
    "ProposalSet",
    "RankerTrainer",
    "SelectiveSearch",
    "SlidingWindow",
    "format_recall",
    "import_proposals",
    "limit_boxes",
    "load_girshick_mat",
    "make_proposer",
    "propose_database",
    "rank_boxes",
    "recall_report",
]
