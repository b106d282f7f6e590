"""The solvers by the names that estimators and commands take."""

from __future__ import annotations

from rcnn_svm.svm.dual_coordinate_descent import DualCoordinateDescent
from rcnn_svm.svm.liblinear import Liblinear
from rcnn_svm.svm.problem import SvmSolver

SOLVERS: dict[str, type[DualCoordinateDescent] | type[Liblinear]] = {
    "dcd": DualCoordinateDescent,
    "liblinear": Liblinear,
}


def make_solver(name: str, tolerance: float | None) -> SvmSolver:
    """Return the solver of a name, with a tolerance in its own measure, its default where None."""
    return SOLVERS[name]() if tolerance is None else SOLVERS[name](tolerance=tolerance)
