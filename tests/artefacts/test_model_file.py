"""The one base of all model files: what earlier versions wrote opens, and what is saved comes back."""

from __future__ import annotations

import dataclasses
import json

import h5py
import numpy as np
import pytest

from rcnn_svm.artefacts.files import create_h5
from rcnn_svm.artefacts.model_file import MODELS, load_model
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.roi_head import RoIHead

CLASSES = ("cat", "dog")
FEATURES = {"backbone": {"name": "lite0"}}
TRAINING = {"identity": {"cache": "0123"}}
SETTINGS = {"classes": list(CLASSES), "feat_norm_mean": 2.5, "features": FEATURES, "training": TRAINING}


def numbers(*shape):
    return (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 3) / 8


SHARED = {"classes": CLASSES, "feat_norm_mean": 2.5, "feature_settings": FEATURES, "training": TRAINING}
DETECTOR = {"W": numbers(3, 2), "B": numbers(2), "calibration": np.array([[1, 0.5], [2, 0]])}
REGRESSOR = {"mu": numbers(2, 4), "T": numbers(2, 4, 4), "T_inv": numbers(2, 4, 4), "Beta": numbers(2, 4, 4)}
HEAD = {
    "W": numbers(4, 3),
    "B": numbers(3),
    "box_W": numbers(4, 12),
    "box_B": numbers(12),
    "hidden_W": numbers(3, 4),
    "hidden_B": numbers(4),
}
STDS = (0.1, 0.1, 0.2, 0.2)
# What commit 78a98d6, before this module was, wrote for these models; the digests are those that it computed.
WRITTEN_BEFORE = [
    (Detector(**SHARED, **DETECTOR), "detector", SETTINGS, DETECTOR, "cadc779788ffa9bd"),
    (BoxRegressor(**SHARED, **REGRESSOR), "box regressor", SETTINGS, REGRESSOR, "60e6a19993aeb964"),
    (
        RoIHead(**SHARED, **HEAD, box_stds=STDS),
        "RoI head",
        {**SETTINGS, "box_stds": list(STDS)},
        HEAD,
        "46f01035248425f1",
    ),
]


def test_two_weights_come_back(tmp_path):
    weights, bias = np.array([[1], [-2]], np.float32), np.array([0.5], np.float32)
    Detector(("cat",), weights, bias, 20.0, FEATURES).save(tmp_path / "model.h5")
    loaded = load_model(tmp_path / "model.h5")
    assert type(loaded) is Detector and loaded.classes == ("cat",) and loaded.feature_settings == FEATURES
    assert (loaded.W.tolist(), loaded.B.tolist(), loaded.feat_norm_mean) == ([[1], [-2]], [0.5], 20)
    assert loaded.calibration is None


@pytest.mark.parametrize(("model", "kind", "settings", "arrays", "digest"), WRITTEN_BEFORE)
def test_files_of_earlier_versions_open(tmp_path, model, kind, settings, arrays, digest):
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as handle:
        handle.attrs.update({"kind": kind, "schema": 1, "settings": json.dumps(settings)})
        for name, array in arrays.items():
            handle.create_dataset(name, data=array)
        handle.create_dataset("history/steps", data=np.arange(6))
        handle.create_dataset("history/image_ids", data=["a", "b"], dtype=h5py.string_dtype())
    loaded = load_model(path)
    assert type(loaded) is type(model)
    assert loaded.digest == model.digest == digest
    assert (loaded.classes, loaded.feature_settings, loaded.training) == (CLASSES, FEATURES, TRAINING)
    history = type(model).load_history(path)
    assert history["steps"].tolist() == [0, 1, 2, 3, 4, 5] and history["image_ids"].tolist() == ["a", "b"]


@pytest.mark.parametrize(("model", "kind", "settings", "arrays", "digest"), WRITTEN_BEFORE)
def test_files_are_laid_out_as_before(tmp_path, model, kind, settings, arrays, digest):
    path = tmp_path / "model.h5"
    model.save(path, {"steps": np.arange(6), "image_ids": np.array(["a", "b"], object)})
    with h5py.File(path) as handle:
        assert (handle.attrs["kind"], handle.attrs["schema"]) == (kind, 1)
        assert json.loads(handle.attrs["settings"]) == settings
        assert handle.keys() == {*arrays, "history"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(handle[name][...], array)
            assert handle[name].dtype == array.dtype
        assert h5py.check_string_dtype(handle["history/image_ids"].dtype)
    assert load_model(path).digest == digest


def test_what_is_not_there_is_not_written(tmp_path):
    plain = Detector(CLASSES, numbers(3, 2), numbers(2), 2.5)
    plain.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as handle:
        assert handle.keys() == {"W", "B"}
    assert Detector.load(tmp_path / "model.h5").calibration is None
    assert Detector.load_history(tmp_path / "model.h5") == {}


def test_every_kind_has_its_class():
    for kind, home in MODELS.items():
        module, name = home.split(":")
        cls = getattr(pytest.importorskip(module), name)
        assert kind == cls.KIND


def test_a_file_of_another_kind_is_one_sentence(tmp_path):
    path = tmp_path / "model.h5"
    BoxRegressor(**SHARED, **REGRESSOR).save(path)
    with pytest.raises(InputError, match=r"model\.h5 holds box regressor, expected detector or RoI head"):
        load_model(path, ["detector", "RoI head"])
    with pytest.raises(InputError, match=r"model\.h5 holds box regressor, expected detector"):
        Detector.load(path)
    with create_h5(path, "detections", 1, {}):
        pass
    with pytest.raises(InputError, match=r"holds detections, expected detector or box regressor or proposal"):
        load_model(path)
    with pytest.raises(InputError, match=r"none\.h5 does not exist"):
        load_model(tmp_path / "none.h5")
    path.write_text("not HDF5")
    with pytest.raises(InputError, match="is no HDF5 file but something else"):
        load_model(path)


@pytest.mark.parametrize("damage", ["array", "settings", "text", "schema"])
def test_a_damaged_file_is_one_sentence(tmp_path, damage):
    path = tmp_path / "model.h5"
    with create_h5(path, "detector", 1, SETTINGS) as handle:
        for name, array in DETECTOR.items():
            handle.create_dataset(name, data=array)
        if damage == "array":
            del handle["W"]
        elif damage == "settings":
            handle.attrs["settings"] = json.dumps({"classes": ["cat"]})
        elif damage == "text":
            handle.attrs["settings"] = json.dumps({**SETTINGS, "classes": ["\udcff", "dog"]})
        else:
            handle.attrs["schema"] = 2
    with pytest.raises(InputError, match=r"is damaged|schema 2, this version of rcnn-svm reads 1"):
        load_model(path)


def test_a_class_that_a_model_lacks_is_named():
    regressor = BoxRegressor(**SHARED, **REGRESSOR)
    assert regressor.columns(("dog", "cat", "dog")).tolist() == [1, 0, 1]
    with pytest.raises(InputError, match="the box regressor has no class 'cow', it has cat, dog; train one on a cache"):
        regressor.columns(("dog", "cow"))


def changed(model, **changes):
    return dataclasses.replace(model, **changes)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (changed(WRITTEN_BEFORE[0][0], B=numbers(1)), r"its B have shape \(1,\), expected \(2,\)"),
        (changed(WRITTEN_BEFORE[0][0], W=numbers(3, 3)), r"its W have shape \(3, 3\), expected \(3, 2\)"),
        (changed(WRITTEN_BEFORE[0][0], calibration=np.ones(2)), "its calibration have shape"),
        (changed(WRITTEN_BEFORE[0][0], W=np.full((3, 2), np.nan)), "its W are not finite"),
        (changed(WRITTEN_BEFORE[0][0], B=np.array([b"x", b"y"])), "its B are not finite numbers"),
        (changed(WRITTEN_BEFORE[0][0], classes=("dog", "dog")), "it has class 'dog' more than once"),
        (changed(WRITTEN_BEFORE[0][0], feature_settings="lite0"), "its settings of features are 'lite0'"),
        *(
            (changed(written[0], feat_norm_mean=mean), f"feat_norm_mean is {mean}")
            for mean in (0, -3, np.nan, "x")
            for written in WRITTEN_BEFORE
        ),
        (changed(WRITTEN_BEFORE[1][0], Beta=np.full((2, 4, 4), np.inf)), "its Beta are not finite"),
        (changed(WRITTEN_BEFORE[2][0], box_B=numbers(3)), "its box_B have shape"),
        (changed(WRITTEN_BEFORE[2][0], hidden_B=numbers(1)), "its hidden_B have shape"),
        (changed(WRITTEN_BEFORE[2][0], box_stds=(0.1, 0, 1, 1)), "box_stds are"),
    ],
)
def test_a_file_whose_results_would_be_nonsense_is_refused(tmp_path, model, message):
    """These opened: one bias served five classes, and a mean norm of 0 made every score infinite."""
    model.save(tmp_path / "m.h5")
    with pytest.raises(InputError, match=rf"m\.h5 cannot be used: {message}"):
        load_model(tmp_path / "m.h5")


def test_a_model_within_a_model_comes_back(tmp_path):
    inner = BoxRegressor(**SHARED, **REGRESSOR)
    Detector(**SHARED, **DETECTOR, bbox_regressor=inner, recipe=Recipe(vote=True, again=9)).save(tmp_path / "model.h5")
    found = Detector.load(tmp_path / "model.h5")
    assert found.recipe == Recipe(vote=True, again=9)
    assert found.bbox_regressor.digest == inner.digest and found.bbox_regressor.settings() == inner.settings()
    plain = Detector(**SHARED, **DETECTOR)
    assert found.digest == plain.digest
    assert "recipe" not in plain.settings() and not plain.parts()


def damaged_part(tmp_path, damage):
    """Save a detector with a part that something is wrong with, without a checksum."""
    path = tmp_path / "model.h5"
    Detector(**SHARED, **DETECTOR, bbox_regressor=BoxRegressor(**SHARED, **REGRESSOR)).save(path)
    with h5py.File(path, "r+") as handle:
        del handle.attrs["content"]
        damage(handle)
    return path


def of_another_kind(handle):
    handle["parts/bbox_regressor"].attrs["kind"] = "detector"


def of_a_later_schema(handle):
    handle["parts/bbox_regressor"].attrs["schema"] = 7


def not_finite(handle):
    handle["parts/bbox_regressor/mu"][0] = np.nan


def with_a_later_recipe(handle):
    handle.attrs["settings"] = json.dumps({**json.loads(handle.attrs["settings"]), "recipe": {"twice": True}})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (of_another_kind, "its part bbox_regressor is a detector of schema 1, which is not known"),
        (of_a_later_schema, "its part bbox_regressor has box regressor schema 7, .* install that version"),
        (not_finite, "its mu are not finite numbers"),
        (with_a_later_recipe, "recipe has 'twice', which this version of rcnn-svm does not know"),
    ],
)
def test_a_part_that_makes_no_sense_is_one_sentence(tmp_path, damage, message):
    with pytest.raises(InputError, match=rf"model\.h5 cannot be used: .*{message}.*; train the model again"):
        Detector.load(damaged_part(tmp_path, damage))
