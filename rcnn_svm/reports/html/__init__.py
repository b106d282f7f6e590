"""The report that people open: one page with the film of mining, the hardest negatives and what was found.

Report          what was hard for a detector, as a page
PAGE            the name of the page
made_by         how an artefact was made, as a report tells it
read_made_from  what a page was made from
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.reports.html.facts import made_by
    from rcnn_svm.reports.html.page import PAGE, read_made_from
    from rcnn_svm.reports.html.report import Report
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = ["PAGE", "Report", "made_by", "read_made_from"]
