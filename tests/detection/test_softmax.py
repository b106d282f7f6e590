"""The softmax classifier: the network's own probabilities, in an order that float32 does not lose."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, logsumexp

from rcnn_svm.detection.image_set import detect_in_cache, run_settings
from rcnn_svm.detection.softmax import SoftmaxClassifier, log_odds
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.features.extract import FeatureExtractor
from rcnn_svm.features.runtime import make_runtime
from rcnn_svm.features.warp import warp_regions
from rcnn_svm.finetune.network import build_network
from rcnn_svm.finetune.weights import load_softmax, save_finetuned
from tests.toys import toy_cache

CLASSES = ("cat", "cow", "dog")


@pytest.fixture(scope="module")
def network():
    network = build_network("lite0", CLASSES, crop_size=32, padding=3)
    with torch.no_grad():
        network.module._fc.weight.mul_(10)
        network.module._fc.bias.copy_(torch.tensor([1.0, 0.5, -0.5, 0.0]))
        network.module._bn1.bias.add_(0.1)
    return network


@pytest.fixture
def folder(network, tmp_path):
    identity = {"network": network.settings, "classes": list(CLASSES)}
    save_finetuned(tmp_path, network, identity, np.ones((3, 3), np.float32))
    return tmp_path


@pytest.fixture(scope="module")
def photograph():
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (60, 80, 3)).astype(np.uint8)
    corners = random.integers(0, 30, (9, 2))
    return image, np.hstack([corners, corners + random.integers(5, 30, corners.shape)]).astype(np.float32)


def features_of(folder, photograph, **options):
    backbone = load_backbone("lite0", weights=folder / "weights.pt", **{"crop_size": 32, "padding": 3, **options})
    extractor = FeatureExtractor(backbone, make_runtime(backbone, "torch", "cpu"))
    return extractor.extract(*photograph), extractor.settings


def cache_of(features, settings_):
    return toy_cache(
        [len(features)], classes=CLASSES, objects=0, features=features, settings={**settings_, "proposals": None}
    )


def test_log_odds_by_hand():
    """Of probabilities 1/4, 1/4 and 1/2 the odds are 1/3, 1/3 and 1."""
    np.testing.assert_allclose(log_odds(np.log([[1, 1, 2]])), [[-np.log(3), -np.log(3), 0]], atol=1e-12)


def test_scores_are_the_networks_own_probabilities(network, folder, photograph):
    classifier = load_softmax(folder / "weights.pt")
    features, _ = features_of(folder, photograph)
    crops = warp_regions(*photograph, crop_size=32, padding=3, mean=network.mean, std=network.std)
    with torch.inference_mode():
        expected = torch.softmax(network.module.eval()(torch.from_numpy(crops)), dim=1).numpy()[:, 1:]
    found = classifier.scores(features)
    assert (found.shape, found.dtype) == ((9, 3), np.float32)
    assert classifier.classes == CLASSES and classifier.dim == 1280
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(expit(found), expected, atol=1e-5)


def test_a_cache_of_the_same_weights_is_scored(folder, photograph):
    features, settings_ = features_of(folder, photograph)
    cache = cache_of(features, settings_)
    classifier = load_softmax(folder / "weights.pt")
    found = detect_in_cache(cache, classifier)
    assert len(found) == 9 * 3 and found.classes == CLASSES
    np.testing.assert_allclose(np.sort(found.score), np.sort(classifier.scores(features), axis=None), rtol=1e-6)
    assert found.settings == run_settings(cache, classifier)


def test_a_cache_of_other_weights_or_crops_is_refused(folder, photograph, network, tmp_path):
    classifier = load_softmax(folder / "weights.pt")
    features, settings_ = features_of(folder, photograph, padding=4)
    with pytest.raises(InputError, match="padding: 4 there, 3 wanted"):
        detect_in_cache(cache_of(features, settings_), classifier)
    state = network.module.state_dict()
    state["_bn1.bias"] = state["_bn1.bias"] + 1e-3
    other = tmp_path / "other"
    other.mkdir()
    torch.save(state, other / "weights.pt")
    features, settings_ = features_of(other, photograph)
    with pytest.raises(InputError, match="weights_digest"):
        detect_in_cache(cache_of(features, settings_), classifier)
    with pytest.raises(InputError, match="expects 1280-d features, these have 7"):
        classifier.scores(np.zeros((1, 7), np.float32))


def test_weights_without_their_record_are_refused(folder, tmp_path):
    record, weights = folder / "finetune.json", folder / "weights.pt"
    with pytest.raises(InputError, match=r"none\.pt does not exist"):
        load_softmax(folder / "none.pt")
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "identity": {**content["identity"], "classes": ["a", "b", "c"]}}))
    with pytest.raises(InputError, match="was changed since"):
        load_softmax(weights)
    for damaged in ("{", "[]", "{}", json.dumps({**content, "kind": "poem"})):
        record.write_text(damaged)
        with pytest.raises(InputError, match=r"finetune\.json (is damaged|holds poem)"):
            load_softmax(weights)
    record.write_text(json.dumps(content))
    torch.save({"x": torch.zeros(1)}, weights)
    with pytest.raises(InputError, match=r"is not the file that finetune\.json"):
        load_softmax(weights)
    record.unlink()
    with pytest.raises(InputError, match=r"finetune\.json does not exist"):
        load_softmax(weights)


def test_the_digest_follows_the_weights():
    W, B = np.zeros((4, 3), np.float32), np.zeros(3, np.float32)
    one = SoftmaxClassifier(("a", "b"), W, B)
    assert one.digest == SoftmaxClassifier(("a", "b"), W.copy(), B).digest
    assert one.digest != SoftmaxClassifier(("b", "a"), W, B).digest
    assert one.digest != SoftmaxClassifier(("a", "b"), W + 1, B).digest


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.integers(2, 6)), elements=st.floats(-500, 500)))
@settings(max_examples=200, deadline=None)
def test_log_odds_equal_the_definition(scores):
    found = log_odds(scores)
    for row in range(len(scores)):
        for column in range(scores.shape[1]):
            others = np.delete(scores[row], column)
            assert found[row, column] == pytest.approx(scores[row, column] - logsumexp(others), rel=1e-9, abs=1e-9)


def test_the_surest_regions_keep_their_order():
    """Probabilities that float32, or even double precision, rounds to 1."""
    W = np.array([[0, 1]], np.float32)
    features = np.linspace(15, 60, 200, dtype=np.float32)[:, None]
    scores = SoftmaxClassifier(("a",), W, np.zeros(2, np.float32)).scores(features)[:, 0]
    assert (np.diff(scores) > 0).all()
    assert len(np.unique(expit(scores.astype(np.float64)).astype(np.float32))) < 50
