"""The golden runs of the original MATLAB code, key by key."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.experiments.parity import case_cache, case_miner, compare, result_arrays

TIGHT = {"dcd": 1e-10, "liblinear": 1e-8}


def load(golden_dir, case):
    with np.load(golden_dir / case / "inputs.npz") as data:
        inputs = dict(data)
    with np.load(golden_dir / case / "expected.npz") as data:
        expected = {name[6:]: array for name, array in data.items() if name.startswith("tight/")}
    return inputs, expected


def test_the_first_difference_is_named():
    record = {
        "added": np.array([[0, 0, 0, 1], [0, 0, 1, 5]]),
        "scan": np.zeros((0, 5), int),
        "updates": np.zeros((0, 8), int),
        "evicted": np.zeros((0, 3), int),
        "keys_neg": np.zeros((0, 3), int),
        "W": np.ones((2, 1)),
        "B": np.ones(1),
        "update_loss": np.zeros((0, 4)),
    }
    other = {**record, "added": np.array([[0, 0, 0, 1], [0, 0, 1, 6]]), "W": np.ones((2, 1)) * 1.001}
    rows = {row.what: row for row in compare(other, record)}
    assert not rows["keys added"].equal
    assert "row 1" in rows["keys added"].detail and "[0, 0, 1, 6], expected [0, 0, 1, 5]" in rows["keys added"].detail
    assert not rows["W"].equal and "1.0e-03" in rows["W"].detail
    assert rows["B"].equal and rows["losses"].equal


@pytest.mark.golden
@pytest.mark.parametrize("case", ["tiny", "medium", "fc7", "epochs2"])
@pytest.mark.parametrize("solver", TIGHT)
def test_equals_the_original(golden_dir, case, solver):
    inputs, expected = load(golden_dir, case)
    folds = np.split(expected["fold_images"], expected["fold_start"][1:-1])
    miner = case_miner(inputs, solver=solver, tolerance=TIGHT[solver])
    found = result_arrays(miner.fit(case_cache(inputs, case), folds=folds))
    rows = compare(found, expected)
    assert [row for row in rows if not row.equal] == []
    assert len(rows) == 10
    # At the optimum the primal is minus liblinear's dual objective, which was printed with six decimals.
    np.testing.assert_allclose(found["update_loss"][:, 3], -expected["update_dual_objective"], rtol=0, atol=1e-6)


@pytest.mark.golden
def test_the_comparison_can_fail(golden_dir):
    inputs, expected = load(golden_dir, "tiny")
    miner = case_miner({**inputs, "neg_ovr_thresh": 0.31}, tolerance=1e-10).fit(case_cache(inputs, "tiny"))
    wrong = {row.what for row in compare(result_arrays(miner), expected) if not row.equal}
    assert {"keys added", "candidates and duplicates", "W"} <= wrong
