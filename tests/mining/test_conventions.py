"""The trainers keep scikit-learn's conventions, by scikit-learn's own checks, and the paper's constants."""

from __future__ import annotations

import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks

from rcnn_svm import BoxRegressorTrainer, HardNegativeMiner
from rcnn_svm.mining.random_negatives import RandomNegativeTrainer

TRAINERS = [
    HardNegativeMiner(n_jobs=1, retrain_limit=300),
    RandomNegativeTrainer(num_negatives=50, n_jobs=1),
    BoxRegressorTrainer(min_overlap=0.5),
]


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: type(trainer).__name__)
@pytest.mark.parametrize(
    "check",
    ["check_no_attributes_set_in_init", "check_get_params_invariance", "check_set_params", "check_estimator_cloneable"],
)
def test_parameters(trainer, check):
    getattr(estimator_checks, check)(type(trainer).__name__, clone(trainer))


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: type(trainer).__name__)
def test_fit_sets_attributes_with_an_underscore_and_nothing_else(few, trainer):
    trainer = clone(trainer)
    before = trainer.get_params()
    assert trainer.fit(few) is trainer
    assert trainer.get_params() == before
    fitted = vars(trainer).keys() - before.keys()
    assert fitted and all(name.endswith("_") and not name.startswith("_") for name in fitted)
    assert not any(hasattr(clone(trainer), name) for name in fitted)


def test_the_defaults_are_the_papers():
    expected = {
        **{"svm_C": 1e-3, "pos_loss_weight": 2, "bias_mult": 10, "neg_overlap": 0.3, "max_epochs": 1},
        **{"hard_thresh": -1.0001, "evict_thresh": -1.2, "retrain_limit": 2000, "k_folds": 0},
    }
    found = HardNegativeMiner().get_params()
    assert {name: found[name] for name in expected} == expected
    found = BoxRegressorTrainer().get_params()
    assert (found["ridge_lambda"], found["min_overlap"]) == (1000, 0.6)
