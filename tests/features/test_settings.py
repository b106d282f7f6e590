"""What caches and models record of their features comes back by name, and is written again as it was."""

from __future__ import annotations

import json

import pytest

from rcnn_svm.features.settings import FeatureSettings

DIGESTS = {"fc6": "66", "fc7": "77"}
BACKBONE = {"name": "alexnet", "layer": "pool5", "weights": "trained", "weights_digest": "55", "fc_digests": DIGESTS}
CROPS = {"crop_size": 227, "padding": 16, "crop_mode": "warp"}


def pool5(**changes) -> FeatureSettings:
    return FeatureSettings.of(BACKBONE, **{**CROPS, **changes})


def test_settings_by_hand():
    settings = pool5().with_proposals({"method": "fast", "images": "digest of all images"})
    assert settings.to_json() == {"backbone": BACKBONE, **CROPS, "proposals": {"method": "fast"}}
    assert (settings.network, settings.layer, settings.weights) == ("alexnet", "pool5", "trained")
    assert (settings.crop_size, settings.padding, settings.crop_mode) == (227, 16, "warp")
    assert settings.proposals == {"method": "fast"}
    assert settings.description("9216-d") == "9216-d alexnet pool5"
    assert settings.missing() is None
    assert pool5().with_proposals(None).to_json() == {"backbone": BACKBONE, **CROPS, "proposals": None}


@pytest.mark.parametrize(
    "text",
    [
        '{"backbone": {"name": "lite0", "layer": "penultimate"}, "crop_size": 128, "proposals": null}',
        '{"source": "feature cache of the original", "backbone": {"name": "unnamed"}}',
        '{"proposals_fingerprint": "77", "backbone": null, "own": [1, 2.50, "word"]}',
        "{}",
    ],
)
def test_what_was_read_is_written_again_byte_for_byte(text):
    settings = FeatureSettings.from_json(json.loads(text))
    assert json.dumps(settings.to_json()) == json.dumps(json.loads(text))
    assert settings.missing() in ("backbone", "weights", "layer")


def test_what_is_not_recorded_is_none():
    settings = FeatureSettings.from_json({"source": "arrays"})
    assert (settings.network, settings.layer, settings.crop_size, settings.proposals) == (None,) * 4
    assert settings.description("7-d") == "7-d"
    assert not settings.can_compute("fc7")
    assert settings.missing() == "backbone"


def test_a_layer_after_pool5_has_the_digest_of_its_own_weights():
    fc7 = pool5().of_layer("fc7")
    expected = {"name": "alexnet", "layer": "fc7", "weights": "trained", "weights_digest": "77"}
    assert fc7.to_json() == {"backbone": expected, **CROPS}
    assert list(fc7.backbone) == list(expected)
    assert pool5().can_compute("fc6") and not pool5().can_compute("pool5") and not fc7.can_compute("fc6")
    assert (pool5().digest_of("pool5"), pool5().digest_of("fc6"), fc7.digest_of("fc6")) == ("55", "66", None)


def test_proposals_may_differ_and_nothing_else():
    a, b = pool5().with_proposals({"method": "fast"}), pool5().with_proposals(None)
    assert a.difference(b) is None and a != b
    assert a.difference(pool5(padding=0)) == "padding: 16 there, 0 wanted"
    assert a.difference(a.of_layer("fc6")).startswith("backbone.")


@pytest.mark.parametrize("key", [*BACKBONE, *CROPS])
def test_the_first_setting_that_is_missing_is_named(key):
    recorded = {"backbone": {name: value for name, value in BACKBONE.items() if name != key}, **CROPS}
    settings = FeatureSettings.from_json({name: value for name, value in recorded.items() if name != key})
    assert settings.missing() == (None if key == "fc_digests" else key)
