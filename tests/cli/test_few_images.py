"""The training for few images through the command line."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.folds import split_folds
from rcnn_svm.cli.main import main
from rcnn_svm.detection.detector import Detector
from rcnn_svm.tuning import calibration
from rcnn_svm.tuning.svm_C import C_PATH


def words(features, out, *more):
    argv = ["train", "--features", features["trainval"], "--out", out, "--pos-loss-weight", "auto", "--svm-C", "auto"]
    return [str(word) for word in (*argv, *more)]


def test_everything_automatic_then_found_done(pipeline, features, tmp_path, capsys, monkeypatch):
    argv = words(features, tmp_path / "m.h5", "--calibrate", "--k-folds", "3")
    with monkeypatch.context() as patch:

        def interrupted(*args):
            raise KeyboardInterrupt

        # Between the saved detector and its calibration nothing is called that a test could hand in or wait for.
        patch.setattr(calibration, "fit_calibration", interrupted)
        assert main(argv) == 130
    assert Detector.load(tmp_path / "m.h5").calibration is None, "the training is safe"
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "done already: " in out
    for text in ("weight of a positive: ", "held-out mAP area", "chosen", "probability at score", "0.5 is at"):
        assert text in out
    detector = Detector.load(tmp_path / "m.h5")
    assert detector.training["svm_C"] in C_PATH
    assert detector.calibration.shape == (5, 2)
    assert not (tmp_path / "m.h5.checkpoint").exists()
    before = (tmp_path / "m.h5").stat().st_mtime_ns
    assert main(argv) == 0
    assert (tmp_path / "m.h5").stat().st_mtime_ns == before

    image = next((pipeline.voc / "VOC2007" / "JPEGImages").glob("*.jpg"))
    detect = ["detect", str(image), "--model", str(tmp_path / "m.h5"), "--thresh", "0", "--out", str(tmp_path / "out")]
    assert main(detect) == 0
    assert "probability" in capsys.readouterr().out


def test_a_calibration_needs_folds(features, tmp_path, capsys):
    assert main(words(features, tmp_path / "m.h5", "--calibrate", "--k-folds", "0")) == 2
    assert "--calibrate needs folds to hold out; give --k-folds 2 or more" in capsys.readouterr().err
    assert not (tmp_path / "m.h5").exists()


def images_by_class(features):
    """Which images show a class, by its name."""
    cache = FeatureCache.open(features)
    labels = [cache.regions(i).label for i in range(cache.num_images)]
    return {name: [i for i, of in enumerate(labels) if k in of] for k, name in enumerate(cache.classes, 1)}


def test_a_class_that_cannot_be_held_out_is_told_before_the_training(features, tmp_path, capsys):
    shown = images_by_class(features["trainval"])
    num_images = FeatureCache.open(features["trainval"]).num_images
    seed, name = next(
        (seed, name)
        for seed, name in itertools.product(range(1000), shown)
        if any(np.isin(shown[name], fold).all() for fold in split_folds(num_images, 2, seed))
    )
    argv = words(features, tmp_path / "m.h5", "--calibrate", "--k-folds", "2", "--seed", seed, "--classes", name)
    assert main(argv) == 2
    assert f"class '{name}' cannot be calibrated: its objects are all in one of the 2 folds" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_fewer_images_than_folds_make_fewer_folds(features, tmp_path):
    shown = images_by_class(features["test"])
    seed, name = next(
        (seed, name)
        for seed, name in itertools.product(range(1000), shown)
        if sum(np.isin(fold, shown[name]).any() for fold in split_folds(4, 3, seed)) > 1
    )
    argv = ["train", "--features", features["test"], "--classes", name, "--seed", seed, "--calibrate"]
    assert main([*map(str, argv), "--out", str(tmp_path / "m.h5")]) == 0
    assert sorted(Detector.load_history(tmp_path / "m.h5")["fold_of_image"]) == [0, 1, 2, 2]
    assert Detector.load(tmp_path / "m.h5").calibration.shape == (1, 2)


@pytest.mark.parametrize("option", ["--svm-C", "--pos-loss-weight"])
def test_other_words_are_told(features, tmp_path, capsys, option):
    with pytest.raises(SystemExit) as stop:
        main(words(features, tmp_path / "m.h5", option, "automatic"))
    assert stop.value.code == 2
    assert f"argument {option}: must be a number above 0 or the word auto, not 'automatic'" in capsys.readouterr().err
