"""Every hyper-parameter has a check, and every check says in one sentence what was expected."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.svm import LinearSVC

import rcnn_svm
from rcnn_svm import BootstrapClassifier, Detections, FeatureCache, HardNegativeMiner, ImageDatabase, load_backbone
from rcnn_svm.boxes import nms
from rcnn_svm.descent import Schedule
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.samplers import make_sampler
from rcnn_svm.features.runtime import find_device
from rcnn_svm.mining import (
    HardNegativeRatio,
    OnlineHardExampleMiner,
    RandomNegativeTrainer,
    RoISampler,
    cache_batches,
)
from rcnn_svm.parameters import FLAG, NAMES, NONE, SEED, Check, check_values, list_of, one_of, real, whole
from rcnn_svm.proposals.methods import make_proposer

MODULES = [importlib.import_module(module.name) for module in pkgutil.walk_packages(rcnn_svm.__path__, "rcnn_svm.")]
CLASSES = {
    value.__name__: value
    for module in MODULES
    for value in vars(module).values()
    if inspect.isclass(value) and value.__module__.startswith("rcnn_svm.")
}
CHECKED = [
    cls
    for cls in CLASSES.values()
    if issubclass(cls, BaseEstimator) or getattr(cls, "PARAMETER_CHECKS", None) is not None
]

CHECKED_ELSEWHERE = {
    ("BootstrapClassifier", "negative_label"): "`fit` knows the labels",
    ("FastRCNNTrainer", "device"): "`find_device` knows the devices of this machine",
    ("FastRCNNTrainer", "schedule"): "a `Schedule` checks itself",
    ("FineTuner", "device"): "`find_device` knows the devices of this machine",
    **{
        ("FineTuner", name): "a `Schedule` checks itself"
        for name in ("iterations", "lr", "momentum", "weight_decay", "step")
    },
}


def parameters(cls):
    """Return the parameters of a class's constructor, by name."""
    return dict(inspect.signature(cls).parameters)


def test_the_classes_with_hyper_parameters_are_found():
    names = {cls.__name__ for cls in CHECKED}
    assert names >= {
        *("HardNegativeMiner", "RandomNegativeTrainer", "BootstrapClassifier", "BoxRegressorTrainer", "RoIHeadTrainer"),
        *("FastRCNNTrainer", "FineTuner", "Schedule"),
        *("RoISampler", "OnlineHardExampleMiner", "HardNegativeRatio", "HardNegativeRatioLoss"),
    }


@pytest.mark.parametrize("cls", CHECKED, ids=lambda cls: cls.__name__)
def test_every_parameter_has_a_check_that_its_default_passes(cls):
    elsewhere = {name for owner, name in CHECKED_ELSEWHERE if owner == cls.__name__}
    assert set(cls.PARAMETER_CHECKS) == set(parameters(cls)) - elsewhere
    for name, check in cls.PARAMETER_CHECKS.items():
        default = parameters(cls)[name].default
        assert default is inspect.Parameter.empty or check.accepts(default), name


@pytest.mark.parametrize("cls", [cls for cls in CHECKED if hasattr(cls, "save")], ids=lambda cls: cls.__name__)
def test_what_was_not_fitted_is_not_saved(cls, tmp_path):
    required = [name for name, parameter in parameters(cls).items() if parameter.default is parameter.empty]
    with pytest.raises(NotFittedError, match=f"This {cls.__name__} instance is not fitted yet"):
        cls(**dict.fromkeys(required)).save(tmp_path / "file.h5")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("cls", CHECKED, ids=lambda cls: cls.__name__)
def test_no_parameter_takes_a_value_of_another_kind(cls):
    for name, check in cls.PARAMETER_CHECKS.items():
        for value in (math.nan, -math.inf, 1j, object(), b"auto", {}, [], [None], np.zeros(2), np.bool_(True)):
            assert not check.accepts(value), (name, value)
        assert check.accepts(True) == (name == "verbose"), name
        assert check.accepts("no such word") == (name == "scoring"), name


@pytest.mark.parametrize(
    ("check", "good", "bad", "sentence"),
    [
        (real(above=0), [1e-9, 3, np.float32(2)], [0, math.inf], "a number above 0"),
        (real(at_least=0, below=1), [0, 0.5], [1, -1e-9], "a number of at least 0 and below 1"),
        (real(at_least=0, at_most=1), [0, 1], [-1, 2], "a number between 0 and 1"),
        (real(above=1, hint=", such as 1.05") | NONE, [1.05, None], [1], "a number above 1, such as 1.05, or None"),
        (whole(at_least=1), [1, np.int64(7), 10**400], [0, 1.0, "1"], "a whole number of at least 1"),
        (whole(), [-3, 0], [0.5], "a whole number"),
        (SEED, [0, 2**31 - 1], [-1, 2**31], "a whole number between 0 and 2147483647"),
        (one_of(["auto"]), ["auto"], ["Auto", None], "the word auto"),
        (one_of({"dcd": 1, "liblinear": 2}), ["dcd"], ["sgd", 1], "one of dcd, liblinear"),
        (NAMES, [["cat"], ("cat", "dog"), np.array(["cat"])], ["cat", [], [1], {"cat": 1}], "a list of names"),
        (list_of(whole(at_least=1), "a list of counts"), [[1, 2]], [[1, 0], 1], "a list of counts"),
        (FLAG, [True, False], [1, None], "True or False"),
    ],
)
def test_checks(check, good, bad, sentence):
    assert check.expected == sentence
    assert all(map(check.accepts, good)) and not any(map(check.accepts, bad))


def test_the_sentence():
    check_values({"seed": 3}, {"seed": SEED})
    with pytest.raises(InputError) as caught:
        check_values({"seed": "three"}, {"seed": SEED})
    assert str(caught.value) == "seed = 'three' must be a whole number between 0 and 2147483647"


@pytest.mark.parametrize(
    "wrong",
    [
        *({"feat_norm_mean": value} for value in (0, -1.0, math.nan, "auto", True)),
        *({"retrain_limit": value} for value in (-1, 2.5, None, "many")),
        *({"block_bytes": value} for value in (0, 1.5, None)),
        *({"k_folds": value} for value in (2.0, None)),
        *({"memory_budget": value} for value in (-1, 1e9, "all")),
        *({"svm_C": value} for value in (True, None, math.nan, math.inf)),
        *({"classes": value} for value in ("cat", [], [0])),
        *({"max_epochs": 1.5}, {"n_jobs": None}, {"seed": 3.0}, {"solver": None}, {"neg_overlap": "0.3"}),
    ],
    ids=str,
)
def test_mining_refuses_them_before_it_reads_anything(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"^{name} = .* must be "):
        HardNegativeMiner(**wrong).fit(None)


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.int64(2), "= 2 must"), (np.float32(0.5), "= 0.5 must"), ([np.int64(2), "a"], r"= \[2, 'a'\] must")],
)
def test_sentences_show_numbers_and_not_their_types(value, said):
    with pytest.raises(InputError, match=said):
        check_values({"mode": value}, {"mode": one_of(("fast", "slow"))})


NUMPYS = (
    np.int64(-7),
    np.float32(-0.5),
    np.str_("no such word"),
    [np.int64(-7)],
    (np.str_("x"),),
    {"a": np.float64(1)},
)


@pytest.mark.parametrize("cls", CHECKED, ids=lambda cls: cls.__name__)
def test_no_sentence_on_a_parameter_shows_a_type_of_numpy(cls):
    for name, check in cls.PARAMETER_CHECKS.items():
        for value in (*NUMPYS, np.array([np.str_("x"), np.int64(3)], object), {np.int64(4)}):
            with pytest.raises(InputError) as caught:
                check_values({name: value}, {name: Check(lambda value: False, check.expected)})
            assert "np." not in str(caught.value)


ONE = {"boxes": [[0, 0, 9, 9]] * 3, "gt": [True, False, False], "image_start": [0, 3], "features": np.ones((3, 2))}
DOGS = FeatureCache.from_arrays(
    **ONE, label=[1, 0, 0], overlap=[[1, 1], [1, 1], [1, 1]], classes=np.array(["dog", "cat"]), name=np.str_("dogs")
)
WORD = np.str_("no such word")


@pytest.mark.parametrize(
    "call",
    [
        lambda: HardNegativeMiner(classes=np.array(["mouse"])).fit(DOGS),
        lambda: HardNegativeMiner(classes=np.array(["cat"])).fit(DOGS),
        lambda: RandomNegativeTrainer(num_negatives=np.int64(3), classes=["dog"]).fit(DOGS),
        lambda: RandomNegativeTrainer(num_negatives=[np.int64(3)] * 3).fit(DOGS),
        lambda: RandomNegativeTrainer(num_negatives=np.array([np.int64(0), 1])).fit(DOGS),
        lambda: cache_batches(DOGS, np.str_("mouse")),
        lambda: DOGS.subset(np.array([5])),
        lambda: DOGS.gather(np.array([7])),
        lambda: make_sampler(WORD),
        lambda: make_sampler("heuristic", np.int64(-1)),
        lambda: make_sampler("ohem", np.int64(0)),
        lambda: RoISampler(fg_thresh=np.float32(0.1)),
        lambda: OnlineHardExampleMiner(batch_size=np.int64(3), num_images=np.int64(2)),
        lambda: HardNegativeRatio(ratio=np.float64(-1)),
        lambda: BootstrapClassifier(LinearSVC(), evict_margin=np.float32(0), hard_margin=np.float64(1)).fit(
            [[0], [1]], [0, 1]
        ),
        lambda: BootstrapClassifier(LinearSVC(), negative_label=np.int64(3)).fit([[0], [1]], [0, 1]),
        lambda: BootstrapClassifier(LinearSVC(), negative_label=[np.int64(3)]).fit([[0], [1]], [0, 1]),
        lambda: BootstrapClassifier(LinearSVC()).fit([[0], [1]], np.array(["a", "b"]), initial=np.array([np.int64(8)])),
        lambda: load_backbone(WORD),
        lambda: load_backbone("lite0", layer=WORD),
        lambda: make_proposer({"method": WORD}),
        lambda: find_device(WORD),
        lambda: ImageDatabase("d", np.array(["a"]), np.array(["1", "1"]), Path, str),
        lambda: Detections(
            image_ids=("a",), classes=("b",), image=np.int64([3]), cls=np.int64([0]), box=[[0, 0, 1, 1]], score=[1]
        ),
        lambda: Detections(("a",), ("b",), [], [], np.empty((0, 4)), []).after_nms(np.float32(2)),
        lambda: nms(np.zeros((1, 4)), np.zeros(1), np.float32(3)),
        lambda: Schedule(iterations=np.int64(0)),
    ],
)
def test_sentences_of_calls_show_numbers_and_text_and_not_their_types(call):
    with warnings.catch_warnings(record=True), pytest.raises(InputError) as caught:
        call()
    assert "np." not in str(caught.value) and "array(" not in str(caught.value)


def test_names_of_numpy_are_shown_as_text():
    assert repr(DOGS) == "FeatureCache('dogs', 1 images, 3 rows, 2-d, 2 classes)"
    database = ImageDatabase(np.str_("d"), np.array(["a"]), ["1"], Path, str)
    assert {type(name) for name in (*DOGS.classes, *database.classes)} == {str}, "a digest of another type is another"
    assert repr(database) == "ImageDatabase('d', 1 images, 1 classes)"
