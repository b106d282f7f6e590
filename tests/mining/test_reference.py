"""The definition of hard negative mining, by hand and against the original."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.experiments.parity import case_cache, compare
from rcnn_svm.mining.reference import ReferenceMiner
from rcnn_svm.mining.rules import MiningRules
from tests.toys import one_feature


def test_mining_with_pencil_and_paper():
    # Features are not scaled, C is large and the bias hardly regularised: a detector is the line that is 1 at the
    # object, which is at 4, and -1 at the nearest negative.
    miner = ReferenceMiner(one_feature(), MiningRules(), feat_norm_mean=20, svm_C=100, bias_mult=1000).mine()
    tables = miner.history.tables()
    assert tables["added"].tolist() == [
        [0, 0, 0, 1],  # the first image gives what overlaps by less than 0.3, at 1 and 0,
        [0, 0, 0, 2],  # and the line through (1, -1) and (4, 1) is trained
        [0, 0, 1, 0],  # at 2 it is -1/3; at 0.5 it is below -1, and at 3 the region overlaps the object
        [0, 0, 2, 0],  # at 1.5 it is -2/3
    ]
    assert tables["evicted"].tolist() == [
        [0, 0, 2],  # at 0 the first line is -5/3
        [1, 0, 1],  # after the last image the line goes through (2, -1) and (4, 1): at 1 it is -2,
        [1, 2, 0],  # at 1.5 it is -1.5
    ]
    assert tables["updates"][:, 2:7].tolist() == [[0, 1, 2, 1, 2], [2, 1, 3, 1, 2]]
    assert tables["scan"][:, 2:].tolist() == [[0, 2, 2], [1, 1, 1], [2, 1, 1]]
    assert miner.negatives == [[(1, 0)]]
    assert (miner.W[0, 0], miner.B[0]) == pytest.approx((1, -3), abs=1e-3)
    assert tables["update_loss"][1] == pytest.approx([0, 0, 0.5, 0.5], abs=1e-3)


def test_a_second_pass_adds_no_key_twice():
    miner = ReferenceMiner(one_feature(), MiningRules(), feat_norm_mean=20, svm_C=100, bias_mult=1000, max_epochs=2)
    miner.mine()
    # Trained after the first image, and next after the last of the second pass: until then all finds are the same.
    assert miner.history.table("scan")[:, 1:].tolist() == [
        [0, 0, 2, 2],
        [0, 1, 1, 1],
        [0, 2, 1, 1],
        [1, 0, 1, 0],
        [1, 1, 1, 0],
        [1, 2, 1, 0],
    ]
    assert miner.negatives == [[(1, 0)]]


@pytest.mark.golden
@pytest.mark.parametrize("case", ["tiny", "medium", "fc7", "epochs2"])
def test_equals_the_original(golden_dir, case):
    with np.load(golden_dir / case / "inputs.npz") as data:
        inputs = dict(data)
    with np.load(golden_dir / case / "expected.npz") as data:
        expected = {name[6:]: array for name, array in data.items() if name.startswith("tight/")}
    names = ("hard_thresh", "evict_thresh", "neg_ovr_thresh", "retrain_limit")
    miner = ReferenceMiner(
        case_cache(inputs, case),
        MiningRules(*(inputs[name] for name in names)),
        feat_norm_mean=inputs["feat_norm_mean"],
        svm_C=float(inputs["svm_C"]),
        pos_loss_weight=float(inputs["pos_loss_weight"]),
        bias_mult=float(inputs["bias_mult"]),
        max_epochs=int(inputs["max_hard_epochs"]),
    ).mine()
    folds = np.split(expected["fold_images"], expected["fold_start"][1:-1])
    of_folds = [[miner.train_without(c, fold) for c in miner.classes] for fold in folds]
    found = {
        **miner.history.tables(),
        "keys_neg": np.array([(c, *key) for c, keys in enumerate(miner.negatives) for key in keys]),
        "W": miner.W,
        "B": miner.B,
        "fold_W": np.stack([np.stack([w for w, _ in detectors], axis=1) for detectors in of_folds]),
        "fold_B": np.array([[b for _, b in detectors] for detectors in of_folds]),
    }
    rows = compare(found, expected)
    assert [row for row in rows if not row.equal] == []
    assert len(rows) == 10
