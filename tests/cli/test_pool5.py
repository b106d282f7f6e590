"""Every command takes fc6 and fc7 from cached pool5, and finds what it finds with caches of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.features import fc_from_pool5
from rcnn_svm.features.settings import FeatureSettings
from tests.cli.command import command
from tests.small_networks import layer_caches


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Caches of a toy image set by layer, `train` and `test`, and the weights they were made with."""
    with layer_caches(tmp_path_factory.mktemp("layers")) as root:
        yield root


def test_stages_take_the_layer_from_pool5(workplace, tmp_path, capsys):
    """Trained and tested on pool5 with --layer, all is as with caches of fc7, and models serve both."""
    weights = ["--weights", workplace / "net.pt"]
    train = ["train", "--svm-C", "0.01", "--tolerance", "1e-9", "--retrain-limit", "40"]
    models = {"direct": tmp_path / "direct.h5", "derived": tmp_path / "derived.h5"}
    assert command(*train, "--features", workplace / "train.fc7", "--out", models["direct"]) == 0
    pool5 = ["--features", workplace / "train.pool5", "--layer", "fc7", *weights]
    assert command(*train, *pool5, "--out", models["derived"]) == 0
    added = [Detector.load_history(path)["added"] for path in models.values()]
    np.testing.assert_array_equal(*added)
    detectors = [Detector.load(path) for path in models.values()]
    np.testing.assert_allclose(detectors[1].W, detectors[0].W, rtol=0, atol=1e-3 * np.abs(detectors[0].W).max())

    found = []
    for features in ("fc7", "pool5"):
        out = tmp_path / f"{features}.det.h5"
        argv = ["test", "--features", workplace / f"test.{features}", "--model", models["derived"], *weights]
        assert command(*argv, "--out", out) == 0
        found.append(Detections.load(out))
    np.testing.assert_allclose(found[1].score, found[0].score, atol=1e-4)
    assert command("test", *argv[1:], "--layer", "fc6", "--out", tmp_path / "x.h5") == 2
    assert "32-d alexnet fc7 features" in capsys.readouterr().err

    cache = FeatureCache.open(workplace / "test.fc7")
    argv = ["inspect", workplace / "test.pool5", "--image", cache.image_ids[0], "--top", "1", "--verify"]
    assert command(*argv, "--layer", "fc7", *weights) == 0
    out = capsys.readouterr().out
    assert f"{np.linalg.norm(cache.regions(0).features[0]):.2f}" in out and "every checksum matches" in out
    assert detectors[1].feature_settings == detectors[0].feature_settings


def test_detect_corrects_boxes_from_pool5_for_a_model_of_fc7(workplace, tmp_path, capsys):
    """The paper's detector on an image, from pixels, finds what the test stage finds in the caches."""
    weights = ["--weights", workplace / "net.pt"]
    model, boxes, out = (tmp_path / name for name in ("m.h5", "b.h5", "d.h5"))
    train, test = workplace / "train.pool5", workplace / "test.pool5"
    assert command("train", "--features", train, "--layer", "fc7", *weights, "--svm-C", "0.01", "--out", model) == 0
    assert command("train-bbox", "--features", train, "--min-overlap", "0.3", "--lambda", "10", "--out", boxes) == 0
    assert command("test", "--features", test, "--model", model, *weights, "--bbox", boxes, "--out", out) == 0
    cache = FeatureCache.open(test)
    image = workplace / "voc/VOC2007/JPEGImages" / f"{cache.image_ids[0]}.jpg"
    argv = ["detect", image, "--model", model, "--thresh", "-1", "--out", tmp_path, "--bbox"]
    assert command(*argv, boxes, *weights, "--json", tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())[0]["objects"]
    expected = Detections.load(out).after_nms(0.3).of_image(0).above(-1)
    assert found and len(found) == len(expected)
    np.testing.assert_allclose([entry["score"] for entry in found], expected.scores, atol=1e-3)
    np.testing.assert_allclose([entry["box"] for entry in found], expected.boxes, atol=0.05)

    settings = FeatureCache.open(train).settings
    _, loaded = fc_from_pool5.load_head(settings, "fc7", workplace / "net.pt")
    assert FeatureSettings.from_json(settings).of_layer("fc7").to_json() == loaded
    regressor = BoxRegressor.load(boxes)
    regressor.feature_settings["backbone"]["fc_digests"]["fc7"] = "0" * 64
    regressor.save(tmp_path / "other.h5")
    capsys.readouterr()
    assert command(*argv, tmp_path / "other.h5", *weights) == 2
    assert "was trained on pool5 of another network or other crops than the training cache of model" in (
        capsys.readouterr().err
    )
