"""Settings in words."""

from __future__ import annotations

from rcnn_svm.reports.settings_in_words import (
    data_in_words,
    features_in_words,
    in_words,
    name_in_words,
    pair_in_words,
    proposals_in_words,
    training_in_words,
)


def test_settings_in_words():
    settings = {"seed": 3, "svm_C": 0.001, "tolerance": None, "classes": ["a"], "calibrate": True, "digest": "0f" * 16}
    assert in_words(settings) == "C 0.001, seed 3, calibrate yes, digest 0f0f0f0f"
    assert in_words({"scales": [0.5, 1], "inner": {"lr": 0.1}}, ["seed"]) == "scales 0.5 1, inner learning rate 0.1"
    assert name_in_words("features.backbone.name") == "network" and name_in_words("a.b_c") == "b c"


def test_two_values():
    assert pair_in_words(0.1, None) == "0.1 in A, none in B"
    assert pair_in_words(2.00000016, 2.00000007) == "2.00000016 in A, 2.00000007 in B"


def test_what_made_features():
    backbone = {"name": "vgg16", "layer": "fc7", "weights": "trained", "weights_digest": "1234" * 16}
    made = {"backbone": backbone, "crop_size": 224, "padding": 16, "crop_mode": "square", "context": 21}
    expected = "4096-d vgg16 fc7 with context, square crops of 224 px, 16 px of context, trained weights 12341234"
    assert features_in_words(made, "4096-d") == expected
    assert features_in_words({"source": "arrays"}, "8-d float32") == "8-d float32, from arrays"


def test_what_made_proposals_and_models():
    assert proposals_in_words({"method": "fast", "max_boxes": None, "merge_iou": 0.9, "opencv": "4"}) == (
        "fast, merged above IoU 0.9"
    )
    assert training_in_words({"identity": {"training": "random negatives", "parameters": {"svm_C": 1.0}}}) == (
        "random negatives, C 1"
    )
    assert training_in_words({}) == "not recorded"
    trained = {"image_set": "toy", "num_images": 1, "num_regions": 2000, "identity": {"cache": "ab"}}
    assert data_in_words(trained) == "toy: 1 image, 2,000 regions (features ab)"
    assert data_in_words({}) == "data that is not recorded"
