"""The linear SVM of R-CNN: its objective, two solvers, and every compiled loop of scoring and solving.

SvmProblem             examples and objective of one class
SvmSolution            weights with loss and duality gap
SvmSolver              what a solver is
losses                 the objective, part by part
DualCoordinateDescent  our solver: warm start, and a gap that certifies the result
Liblinear              the published solver, through scikit-learn
score_regions          scores of regions by all detectors
balanced_weight        how much more a positive counts than a negative
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.svm.class_weights import balanced_weight
    from rcnn_svm.svm.dual_coordinate_descent import DualCoordinateDescent
    from rcnn_svm.svm.kernels import score_regions
    from rcnn_svm.svm.liblinear import Liblinear
    from rcnn_svm.svm.problem import SvmProblem, SvmSolution, SvmSolver, losses
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "DualCoordinateDescent",
    "Liblinear",
    "SvmProblem",
    "SvmSolution",
    "SvmSolver",
    "balanced_weight",
    "losses",
    "score_regions",
]
