"""Two detectors that differ in one thing: it is the first difference, and the setting that decides it is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcnn_svm.artefacts.header import read_header
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.reports.difference import Comparison, compare_artefacts
from tests.toys import toy_cache

ROWS = [30, 20, 25]
STEPS = ["images", "classes", "features", "scale", "keys", "updates", "evictions", "cached negatives", "weights"]
STEPS += ["calibration", "parts", "recipe", "settings"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A detector of three classes; not to be changed."""
    folder = tmp_path_factory.mktemp("detectors")
    miner(toy_cache(ROWS)).save(folder / "a.h5")
    return folder / "a.h5"


def miner(cache: Any, **parameters: Any) -> HardNegativeMiner:
    return HardNegativeMiner(**{"svm_C": 0.1, "retrain_limit": 15, "n_jobs": 1, **parameters}).fit(cache)


@pytest.fixture
def compare(trained, tmp_path):
    """The comparison with a detector whose file has other values; `history` are other tables of its record."""

    def run(history: dict[str, np.ndarray] | None = None, **changed: Any) -> Comparison:
        text = {"image_ids": Detector.load_history(trained)["image_ids"].astype(object)}
        record = {**Detector.load_history(trained), **text, **(history or {})}
        replace(Detector.load(trained), **changed).save(tmp_path / "b.h5", record)
        return compare_artefacts(trained, tmp_path / "b.h5")

    return run


def first_of(found: Comparison) -> str:
    """Return the first step that differs, after a check that all before it are equal."""
    names = [step.name for step in found.steps]
    assert names == STEPS and max(map(len, found.text().splitlines()[2:])) <= 80
    assert all(step.equal for step in found.steps[: names.index(found.first.name)])
    return found.first.name


def test_the_same(compare, trained):
    assert compare_artefacts(trained, trained).equal and compare().equal


def test_other_images(compare, trained):
    found = compare(history={"image_ids": np.array(["0", "1", "x"], object)})
    assert first_of(found) == "images" and "1 only in A (the first is 2)" in found.first.says


def test_other_classes(compare):
    found = compare(classes=("cat", "dog", "cow"))
    assert first_of(found) == "classes"


def test_other_features(compare, trained):
    training = read_header(trained).settings["training"]
    digest = training["identity"]["cache"]
    found = compare(training={**training, "identity": {**training["identity"], "cache": "ab" * 8}})
    assert first_of(found) == "features" and f"digest {digest} in A, {'ab' * 8} in B" in found.first.says
    made = {"backbone": {"name": "vgg16", "layer": "fc7"}}
    found = compare(feature_settings=made, training={**training, "identity": {**training["identity"], "cache": "cd"}})
    assert first_of(found) == "features" and "made with other settings" in found.first.says
    assert {setting.path for setting in found.explains} == {"features.backbone", "features.source"}


def test_another_scale(compare, trained):
    found = compare(feat_norm_mean=Detector.load(trained).feat_norm_mean * 1.5)
    assert first_of(found) == "scale"


def test_a_key_that_is_another(compare, trained):
    added = Detector.load_history(trained)["added"].copy()
    added[5, 3] += 1
    found = compare(history={"added": added})
    assert first_of(found) == "keys" and found.first.figures["first"] == 5
    cls, _, image, row = added[5].tolist()
    name = Detector.load(trained).classes[cls]
    assert f"{name}, image {image}, row {row - 1} in A, {name}, image {image}, row {row} in B" in found.first.says


def test_keys_in_another_order_and_one_key_less(compare, trained):
    added = Detector.load_history(trained)["added"]
    assert "in another order; the first that differs is number 0" in compare(history={"added": added[::-1]}).first.says
    found = compare(history={"added": added[:-1]})
    number = len(added) - 1
    assert first_of(found) == "keys" and f"{number + 1} hard negatives in A, {number} in B" in found.first.says
    assert f"the first that differs is number {number}: " in found.first.says and "none in B" in found.first.says


def test_another_schedule_or_other_negatives(compare, trained):
    history = Detector.load_history(trained)
    updates = history["updates"].copy()
    updates[2, 4] += 1
    assert first_of(compare(history={"updates": updates})) == "updates"
    assert first_of(compare(history={"evicted": history["evicted"][1:]})) == "evictions"
    assert first_of(compare(history={"negatives": history["negatives"][1:]})) == "cached negatives"


def test_the_solver_may_pass_more_often(compare, trained):
    updates = Detector.load_history(trained)["updates"].copy()
    updates[:, 7] += 5
    assert compare(history={"updates": updates}).equal


def test_a_weight_and_a_bias(compare, trained):
    model = Detector.load(trained)
    W = model.W.copy()
    W[4, 1] += 0.25
    found = compare(W=W)
    assert first_of(found) == "weights" and "is weight 4 of cow" in found.first.says
    assert found.first.figures["differing"] == 1 and found.first.figures["largest"] == pytest.approx(0.25, rel=1e-5)
    length = np.linalg.norm([*model.W[:, 1], model.B[1]])
    assert found.first.figures["relative_by_class"]["cow"] == pytest.approx(0.25 / length, rel=1e-5)
    found = compare(B=model.B + np.float32([0, 0, 1]))
    assert first_of(found) == "weights" and "is the bias of dog" in found.first.says


def test_what_was_added_to_a_detector(compare, trained):
    found = compare(calibration=np.ones((3, 2)))
    assert first_of(found) == "calibration"
    dim = Detector.load(trained).dim
    found = compare(bbox_regressor=BoxRegressor.identity(("cat", "cow", "dog"), dim, 2.0))
    assert first_of(found) == "parts" and "box regressor none in A" in found.first.says
    found = compare(recipe=Recipe(vote=True))
    assert first_of(found) == "recipe" and [setting.path for setting in found.explains] == ["recipe"]


@pytest.mark.parametrize(
    ("parameters", "first", "path"),
    [
        ({"svm_C": 1.0}, ("updates",), "svm_C"),
        ({"neg_overlap": 0.2}, ("keys",), "neg_overlap"),
        ({"feat_norm_mean": 4.0}, ("scale",), "feat_norm_mean"),
    ],
)
def test_a_parameter_explains_what_it_does(trained, tmp_path, parameters, first, path):
    miner(toy_cache(ROWS), **parameters).save(tmp_path / "b.h5")
    found = compare_artefacts(trained, tmp_path / "b.h5")
    assert first_of(found) in first
    assert [setting.path for setting in found.explains] == [f"training.identity.parameters.{path}"]


def test_a_threshold_that_changes_nothing_is_a_setting(trained, tmp_path):
    miner(toy_cache(ROWS), retrain_limit=15, memory_budget=10**9).save(tmp_path / "b.h5")
    found = compare_artefacts(trained, tmp_path / "b.h5")
    assert first_of(found) == "settings" and [s.path.rpartition(".")[2] for s in found.explains] == ["memory_budget"]


def test_without_a_record(trained, tmp_path):
    Detector.load(trained).save(tmp_path / "b.h5")
    found = compare_artefacts(trained, tmp_path / "b.h5")
    assert found.equal and [step.equal for step in found.steps[4:8]] == [None] * 4
