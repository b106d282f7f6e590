"""What stages leave on disk: files written whole or not at all, which say what made them.

Model             the base of every trained model that has a file
load_model        opens any of them; the class follows from the file
Checkpoint        the progress of a training
claimed           keeps other processes from an output while it is made
already_done      whether a stage's file is there: the same, another, or none
first_difference  where two settings differ first, in words
differences       everywhere they differ
read_header       what an artefact of any kind says of itself
fingerprint       16 hex digits of settings
provenance        the versions that wrote an artefact
check_writable    refuses an output that cannot be written, before hours are spent on it
write_text        writes a text file whole or not at all
reading           turns what a damaged file raises into one sentence
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.artefacts.checkpoint import Checkpoint
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable, fingerprint, provenance, reading, write_text
    from rcnn_svm.artefacts.header import read_header
    from rcnn_svm.artefacts.identity import already_done, differences, first_difference
    from rcnn_svm.artefacts.model_file import Model, load_model
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "Checkpoint",
    "Model",
    "already_done",
    "check_writable",
    "claimed",
    "differences",
    "fingerprint",
    "first_difference",
    "load_model",
    "provenance",
    "read_header",
    "reading",
    "write_text",
]
