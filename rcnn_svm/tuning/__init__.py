"""What is chosen or fitted around a miner: the SVM's C, and probabilities of scores.

SvmCSearch        a search around a miner: mines, chooses the SVM's C, mines again
cross_validate_C  the SVM's C, cross-validated by images
fit_calibration   sigmoids from scores to probabilities
calibrate_model   adds them to the file of a detector
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.tuning.calibration import calibrate_model, fit_calibration
    from rcnn_svm.tuning.svm_C import SvmCSearch, cross_validate_C
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "SvmCSearch",
    "calibrate_model",
    "cross_validate_C",
    "fit_calibration",
]
