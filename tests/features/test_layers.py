"""fc6 and fc7 computed from cached pool5 equal those cached directly, in every stage."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.feature_norm import mean_feature_norm
from rcnn_svm.cli.main import main
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.parity import case_cache, case_miner, compare, result_arrays
from rcnn_svm.features import backbones, layers
from rcnn_svm.features.layers import FullyConnected, layer_cache
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc

CROP = 64


class SmallAlexNet(nn.Module):
    """AlexNet's structure with narrow layers, so that a test takes no seconds."""

    def __init__(self, _: int):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 11, stride=4), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        dropouts = nn.Dropout(), nn.Dropout()
        linears = nn.Linear(288, 48), nn.Linear(48, 32)
        hidden = [module for pair in zip(dropouts, linears, strict=True) for module in (*pair, nn.ReLU())]
        self.classifier = nn.Sequential(*hidden, nn.Linear(32, 1000))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Caches of a toy image set by layer, `train` and `test`, and the weights they were made with."""
    root = tmp_path_factory.mktemp("layers")
    with pytest.MonkeyPatch.context() as patch:
        found = backbones._find_source("alexnet")
        source = dataclasses.replace(found, build=SmallAlexNet, crop_size=CROP)
        patch.setattr(backbones, "_find_source", lambda name: source)
        write_synthetic_voc(root / "voc", num_train=8, num_test=2, seed=1)
        torch.manual_seed(5)
        # Features of random weights all look alike; these spread, as trained ones do.
        state = SmallAlexNet(CROP).state_dict()
        state |= {key: 3 * value for key, value in state.items() if key.endswith("weight")}
        torch.save(state, root / "net.pt")
        data = ["--voc", str(root / "voc"), "--classes", ",".join(SYNTHETIC_CLASSES)]
        for name, split in (("train", "trainval"), ("test", "test")):
            boxes = str(root / f"{name}.h5")
            here = [*data, "--split", split]
            assert main(["propose", *here, "--method", "sliding", "--max-boxes", "25", "--out", boxes]) == 0
            for layer in ("pool5", "fc6", "fc7"):
                argv = ["extract", *here, "--proposals", boxes, "--backbone", "alexnet", "--layer", layer]
                argv += ["--weights", str(root / "net.pt"), "--dtype", "float32", "--threads", "1"]
                assert main([*argv, "--shard-images", "3", "--out", str(root / f"{name}.{layer}")]) == 0
        yield root


@pytest.mark.parametrize("layer", ["fc6", "fc7"])
def test_equals_the_layer_cached_directly(workplace, layer):
    direct = FeatureCache.open(workplace / f"train.{layer}")
    derived = layer_cache(FeatureCache.open(workplace / "train.pool5"), layer, workplace / "net.pt")
    assert (derived.dim, derived.num_rows, derived.settings) == (direct.dim, direct.num_rows, direct.settings)
    assert derived.fingerprint not in (direct.fingerprint, FeatureCache.open(workplace / "train.pool5").fingerprint)
    for index in range(direct.num_images):
        found, expected = derived.regions(index), direct.regions(index)
        size = np.abs(expected.features).max()
        np.testing.assert_allclose(found.features, expected.features, rtol=1e-5, atol=1e-5 * size)
        np.testing.assert_array_equal(found.overlap, expected.overlap)
    assert mean_feature_norm(derived, 3) == pytest.approx(mean_feature_norm(direct, 3), rel=1e-5)
    assert derived.verify() == []


def test_only_rows_that_are_asked_for_are_computed(workplace):
    base = FeatureCache.open(workplace / "train.pool5")
    seen = []

    def transform(rows):
        seen.append(len(rows))
        return rows[:, :2].astype(np.float32)

    cache = base.derived(transform, 2, {"layer": "toy"})
    block = next(cache.blocks())
    assert not seen
    np.testing.assert_array_equal(block.features(np.array([4, 1])), base.regions(0).features[[4, 1], :2])
    mask = np.arange(len(block)) == 3
    np.testing.assert_array_equal(block.features(mask), base.regions(0).features[3:4, :2])
    assert seen == [2, 1]
    mean_feature_norm(cache, 0)
    assert sum(seen[2:]) == base.num_rows  # fewer than 200 an image: all, once


def test_batches_change_nothing(workplace, monkeypatch):
    base = FeatureCache.open(workplace / "train.pool5")
    rows = base.regions(0).features
    head, _ = layers.load_head(base.settings, "fc7", workplace / "net.pt")
    whole = head(rows)
    monkeypatch.setattr(layers, "BATCH_ROWS", 7)
    np.testing.assert_allclose(head(rows), whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max())
    assert head(rows[:0]).shape == (0, 32)
    half = rows.astype(np.float16)
    np.testing.assert_allclose(head(half), head(half.astype(np.float32)), rtol=1e-6)


def test_refuses_weights_that_differ_after_pool5_only(workplace, tmp_path):
    cache = FeatureCache.open(workplace / "train.pool5")
    state = torch.load(workplace / "net.pt", weights_only=True)
    state["classifier.4.bias"] += 1e-3
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(InputError, match="not those the features were made with"):
        layer_cache(cache, "fc7", tmp_path / "other.pt")
    assert layer_cache(cache, "fc6", tmp_path / "other.pt").dim == 48  # fc6 lies before the change


def test_refuses_what_cannot_be_computed(workplace):
    with pytest.raises(InputError, match=r"cannot be computed from .* layer fc6"):
        layer_cache(FeatureCache.open(workplace / "train.fc6"), "fc7", workplace / "net.pt")
    with pytest.raises(InputError, match="layer 'conv5' is unknown"):
        layer_cache(FeatureCache.open(workplace / "train.pool5"), "conv5")
    cache = FeatureCache.open(workplace / "train.pool5")
    without = {**cache.settings, "backbone": {**cache.settings["backbone"], "fc_digests": {}}}
    with pytest.raises(InputError, match="hold no layer fc7"):
        layers.load_head(without, "fc7", workplace / "net.pt")


def test_weights_of_the_convolutions_alone_are_enough_for_pool5(workplace, tmp_path):
    state = torch.load(workplace / "net.pt", weights_only=True)
    torch.save({key: value for key, value in state.items() if key.startswith("features.")}, tmp_path / "conv.pt")
    whole, part = (
        backbones.load_backbone("alexnet", "pool5", path, crop_size=CROP).settings
        for path in (workplace / "net.pt", tmp_path / "conv.pt")
    )
    assert part["weights_digest"] == whole["weights_digest"]
    assert sorted(whole["fc_digests"]) == ["fc6", "fc7"] and part["fc_digests"] == {}


def test_stages_take_the_layer_from_pool5(workplace, tmp_path, capsys):
    """Trained and tested on pool5 with --layer, all is as with caches of fc7, and models serve both."""
    weights = ["--weights", str(workplace / "net.pt")]
    train = ["train", "--svm-C", "0.01", "--tolerance", "1e-9", "--retrain-limit", "40"]
    models = {"direct": tmp_path / "direct.h5", "derived": tmp_path / "derived.h5"}
    assert main([*train, "--features", str(workplace / "train.fc7"), "--out", str(models["direct"])]) == 0
    pool5 = ["--features", str(workplace / "train.pool5"), "--layer", "fc7", *weights]
    assert main([*train, *pool5, "--out", str(models["derived"])]) == 0
    added = [Detector.load_history(path)["added"] for path in models.values()]
    np.testing.assert_array_equal(*added)
    detectors = [Detector.load(path) for path in models.values()]
    np.testing.assert_allclose(detectors[1].W, detectors[0].W, rtol=0, atol=1e-3 * np.abs(detectors[0].W).max())

    found = []
    for features in ("fc7", "pool5"):
        out = tmp_path / f"{features}.det.h5"
        argv = ["test", "--features", str(workplace / f"test.{features}"), "--model", str(models["derived"]), *weights]
        assert main([*argv, "--out", str(out)]) == 0
        found.append(Detections.load(out))
    np.testing.assert_allclose(found[1].score, found[0].score, atol=1e-4)
    assert main(["test", *argv[1:], "--layer", "fc6", "--out", str(tmp_path / "x.h5")]) == 2
    assert "32-d alexnet fc7 features" in capsys.readouterr().err

    cache = FeatureCache.open(workplace / "test.fc7")
    argv = ["inspect", str(workplace / "test.pool5"), "--image", cache.image_ids[0], "--top", "1", "--verify"]
    assert main([*argv, "--layer", "fc7", *weights]) == 0
    out = capsys.readouterr().out
    assert f"{np.linalg.norm(cache.regions(0).features[0]):.2f}" in out and "every checksum matches" in out
    assert detectors[1].feature_settings == detectors[0].feature_settings


def test_detect_corrects_boxes_from_pool5_for_a_model_of_fc7(workplace, tmp_path, capsys):
    """The paper's detector on an image, from pixels, finds what the test stage finds in the caches."""
    weights = ["--weights", str(workplace / "net.pt")]
    model, boxes, out = (str(tmp_path / name) for name in ("m.h5", "b.h5", "d.h5"))
    train, test = str(workplace / "train.pool5"), str(workplace / "test.pool5")
    assert main(["train", "--features", train, "--layer", "fc7", *weights, "--svm-C", "0.01", "--out", model]) == 0
    assert main(["train-bbox", "--features", train, "--min-overlap", "0.3", "--lambda", "10", "--out", boxes]) == 0
    assert main(["test", "--features", test, "--model", model, *weights, "--bbox", boxes, "--out", out]) == 0
    cache = FeatureCache.open(test)
    image = str(workplace / "voc/VOC2007/JPEGImages" / f"{cache.image_ids[0]}.jpg")
    argv = ["detect", image, "--model", model, "--thresh", "-1", "--out", str(tmp_path), "--bbox"]
    assert main([*argv, boxes, *weights, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())[0]["objects"]
    expected = Detections.load(out).after_nms(0.3).of_image(0).above(-1)
    assert found and len(found) == len(expected)
    np.testing.assert_allclose([entry["score"] for entry in found], expected.scores, atol=1e-3)
    np.testing.assert_allclose([entry["box"] for entry in found], expected.boxes, atol=0.05)

    settings = FeatureCache.open(train).settings
    assert layers.layer_settings(settings, "fc7") == layers.load_head(settings, "fc7", workplace / "net.pt")[1]
    regressor = BoxRegressor.load(boxes)
    regressor.feature_settings["backbone"]["fc_digests"]["fc7"] = "0" * 64
    regressor.save(tmp_path / "other.h5")
    capsys.readouterr()
    assert main([*argv, str(tmp_path / "other.h5"), *weights]) == 2
    assert "was trained on pool5 of another network or other crops than the training cache of model" in (
        capsys.readouterr().err
    )


@pytest.mark.golden
def test_mining_on_the_fly_equals_the_original(golden_dir):
    """The case of the original that trains on fc7 of cached pool5."""
    with np.load(golden_dir / "fc7" / "inputs.npz") as data:
        inputs = dict(data)
    with np.load(golden_dir / "fc7" / "expected.npz") as data:
        expected = {name[6:]: array for name, array in data.items() if name.startswith("tight/")}
    modules = []
    for name in ("fc6", "fc7"):
        linear = nn.Linear(*inputs[f"{name}_w"].shape)
        linear.weight.data = torch.from_numpy(inputs[f"{name}_w"].T.copy())
        linear.bias.data = torch.from_numpy(inputs[f"{name}_b"].ravel().copy())
        modules += [linear, nn.ReLU()]
    head = FullyConnected(nn.Sequential(*modules), inputs["fc7_w"].shape[1], torch.device("cpu"))
    cache = case_cache({**inputs, "layer": 5}, "fc7").derived(head, head.dim, {"layer": "fc7"})
    miner = case_miner(inputs, tolerance=1e-10)
    folds = np.split(expected["fold_images"], expected["fold_start"][1:-1])
    rows = compare(result_arrays(miner.fit(cache, folds=folds)), expected)
    assert [row for row in rows if not row.equal] == []
    # The scan, the norm and the positives, on data of the layer itself.
    assert mean_feature_norm(cache, 0) == pytest.approx(mean_feature_norm(case_cache(inputs, "fc7"), 0), rel=1e-5)
