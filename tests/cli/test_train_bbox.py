"""The train-bbox stage and what test, detect and inspect do with its file."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.cache import FeatureCache, plan_cache
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.bbox_training import BoxRegressorTrainer
from rcnn_svm.detection.detections import Detections
from tests.cli.command import command


@pytest.fixture(scope="module")
def regressor(pipeline, tmp_path_factory):
    """The file of a box regressor trained on the pipeline's features."""
    out = tmp_path_factory.mktemp("bbox") / "boxes.h5"
    (features,) = (pipeline.out / "features").glob("*trainval*")
    assert command("train-bbox", "--features", features, "--out", out, "--lambda", "100", "--min-overlap", "0.4") == 0
    return out


@pytest.fixture
def test_words(pipeline, features, tmp_path):
    """The words of a test command, and where it writes."""
    out = tmp_path / "found.h5"
    return ["test", "--features", features["test"], "--model", pipeline.out / "model.h5", "--out", out], out


def other_layer(source, folder, values):
    """Write a cache of the same regions with other features of 7 dimensions, in shards of another size."""
    cache = FeatureCache.open(source)
    plan = plan_cache(
        folder,
        name=cache.name,
        classes=cache.classes,
        image_ids=cache.image_ids,
        rows=np.diff(cache.image_start),
        settings={"backbone": {"name": "lite0", "layer": "other"}},
        dim=7,
        sources=cache.image_ids,
        shard_images=2,
    )
    regions = [cache.regions(i) for i in range(cache.num_images)]
    for region in regions:
        region.features = region.features[:, :7] + values
    for shard in plan.pending():
        plan.write_shard(shard, [regions[i] for i in plan.images_of(shard)])
    return folder


def test_the_table_tells_examples_and_overlaps(pipeline, features, regressor, capsys):
    before = regressor.stat().st_mtime_ns
    words = ("train-bbox", "--features", features["trainval"], "--out", regressor)
    words += ("--lambda", "100", "--min-overlap", "0.4")
    assert command(*words) == 0
    printed = capsys.readouterr().out
    assert f"done already: {regressor}" in printed
    assert regressor.stat().st_mtime_ns == before
    assert not regressor.with_name("boxes.h5.checkpoint").exists()
    training = BoxRegressor.load(regressor).training
    cells = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line}
    for index, name in enumerate(pipeline.names.split(",")):
        part = training["proposals"]
        expected = [str(training["examples"][index]), str(part["number"][index])]
        assert cells[name][:2] == expected
        if part["number"][index]:
            assert cells[name][2:4] == [f"{part[key][index]:.3f}" for key in ("iou", "corrected_iou")]
    assert "Held out: corrected by a regressor trained on other images" in " ".join(printed.split())
    assert command("inspect", regressor) == 0
    assert "Held out: corrected by a regressor trained on other images" in " ".join(capsys.readouterr().out.split())


def test_a_regressor_trained_otherwise_is_not_replaced(features, regressor, capsys):
    before = regressor.read_bytes()
    assert command("train-bbox", "--features", features["trainval"], "--out", regressor) == 2
    error = capsys.readouterr().err
    assert "was made with other settings (parameters.min_overlap: 0.4 there, 0.6 wanted)" in error
    assert regressor.read_bytes() == before


def test_a_regressor_that_cannot_be_saved_does_not_lose_the_training(features, tmp_path, monkeypatch, capsys):
    out = tmp_path / "boxes.h5"
    words = ("train-bbox", "--features", features["trainval"], "--out", out)

    with monkeypatch.context() as patch:
        # The hook of every save is there for this: what follows the last save fails.
        patch.setattr(Checkpoint, "on_save", lambda checkpoint, done: out.mkdir(exist_ok=True))
        assert command(*words) == 2
    assert f"cannot write {out}" in capsys.readouterr().err
    out.rmdir()
    checkpoint = tmp_path / "boxes.h5.checkpoint"
    assert checkpoint.exists()
    assert command(*words) == 0
    assert not checkpoint.exists()
    found = BoxRegressorTrainer().fit(FeatureCache.open(features["trainval"])).regressor_
    np.testing.assert_array_equal(BoxRegressor.load(out).Beta, found.Beta)


def test_numbers_out_of_range(features, tmp_path, capsys):
    words = ("train-bbox", "--features", features["trainval"], "--out", tmp_path / "b.h5")
    for option, value in (("--min-overlap", "1"), ("--min-overlap", "nan"), ("--seed", "-1")):
        assert command(*words, option, value) == 2
        assert option[2:].replace("-", "_") in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        command(*words, "--lambda", "0")
    assert stop.value.code == 2


def test_detections_say_how_they_were_corrected(test_words, regressor, capsys):
    words, out = test_words
    assert command(*words) == 0
    plain = Detections.load(out)
    assert command(*words, "--bbox", regressor) == 2
    assert f"{out} was made with other settings (bbox: None there, " in capsys.readouterr().err
    assert command(*words, "--bbox", regressor, "--overwrite") == 0
    assert "already" not in capsys.readouterr().out
    corrected = Detections.load(out)
    np.testing.assert_array_equal(corrected.score, plain.score)
    assert (corrected.box != plain.box).any()
    assert corrected.settings["bbox"]["digest"] == BoxRegressor.load(regressor).digest
    before = out.stat().st_mtime_ns
    assert command(*words, "--bbox", regressor) == 0
    assert "already" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == before
    assert command(*words, "--overwrite") == 0
    np.testing.assert_array_equal(Detections.load(out).box, plain.box)


def test_boxes_are_corrected_from_another_layer(features, test_words, tmp_path):
    words, out = test_words
    folders = {name: other_layer(path, tmp_path / f"other.{name}", 0) for name, path in features.items()}
    assert command("train-bbox", "--features", folders["trainval"], "--out", tmp_path / "b.h5", "--lambda", "10") == 0
    assert command(*words) == 0
    plain = Detections.load(out)
    assert command(*words, "--bbox", tmp_path / "b.h5", "--bbox-features", folders["test"], "--overwrite") == 0
    corrected = Detections.load(out)
    regressor, cache = BoxRegressor.load(tmp_path / "b.h5"), FeatureCache.open(folders["test"])
    mine = np.flatnonzero(corrected.image == 2)
    regions = cache.regions(2)
    rows = corrected.row[mine]
    expected = regressor.correct(regions.features[rows], plain.box[mine], corrected.cls[mine], regions.image_size)
    np.testing.assert_allclose(corrected.box[mine], expected, atol=1e-3)
    assert (corrected.box != plain.box).any()
    other_layer(features["test"], tmp_path / "changed", 1)
    words += ["--bbox", tmp_path / "b.h5", "--bbox-features", tmp_path / "changed"]
    assert command(*words) == 2, "detections with other features are not those"
    assert command(*words, "--overwrite") == 0
    assert (Detections.load(out).box != corrected.box).any()


def test_what_does_not_belong_together_is_one_sentence(pipeline, features, regressor, test_words, tmp_path, capsys):
    words, out = test_words
    folders = {name: other_layer(path, tmp_path / f"other.{name}", 0) for name, path in features.items()}
    command("train-bbox", "--features", folders["trainval"], "--out", tmp_path / "b.h5")
    capsys.readouterr()
    image = next((pipeline.voc / "VOC2007" / "JPEGImages").iterdir())
    detect = ["detect", image, "--model", pipeline.out / "model.h5", "--out", tmp_path / "pictures"]
    model = pipeline.out / "model.h5"
    for argv, told in (
        ([*words, "--bbox-features", folders["test"]], "--bbox-features needs --bbox"),
        ([*words, "--bbox", tmp_path / "none.h5"], "none.h5 does not exist"),
        ([*words, "--bbox", model], f"{model} holds detector, expected box regressor"),
        (
            [*words, "--bbox", tmp_path / "b.h5"],
            f"box regressor {tmp_path / 'b.h5'} expects 7-d lite0 other features, cache {features['test']} holds 1280",
        ),
        (
            [*words, "--bbox", regressor, "--bbox-features", folders["test"]],
            f"expects 1280-d lite0 penultimate features, cache {folders['test']} holds 7-d lite0 other",
        ),
        (
            [*words, "--bbox", tmp_path / "b.h5", "--bbox-features", folders["trainval"]],
            f"cache {folders['trainval']} does not hold the regions of cache {features['test']}: their images differ",
        ),
        (
            [*detect, "--bbox", tmp_path / "b.h5"],
            f"expects 7-d lite0 other features, the training cache of model {model} holds 1280-d lite0 penultimate",
        ),
    ):
        assert command(*argv) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("error:") == 1 and "Traceback" not in error
    assert not out.exists() and not (tmp_path / "pictures").exists()


def test_a_damaged_file_is_one_sentence(regressor, test_words, tmp_path, capsys):
    words, _ = test_words
    damaged = shutil.copy(regressor, tmp_path / "damaged.h5")
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    assert command(*words, "--bbox", damaged) == 2
    assert "damaged.h5 is damaged: its bytes are not those that were written" in capsys.readouterr().err


def test_detect_corrects_like_test(pipeline, features, regressor, test_words, tmp_path):
    """One image from pixels equals the same image through the feature cache, with corrected boxes."""
    words, out = test_words
    assert command(*words, "--bbox", regressor) == 0
    image_id = FeatureCache.open(features["test"]).image_ids[0]
    image = pipeline.voc / "VOC2007" / "JPEGImages" / f"{image_id}.jpg"
    argv = ["detect", image, "--model", pipeline.out / "model.h5", "--bbox", regressor, "--thresh", "-1"]
    assert command(*argv, "--out", tmp_path / "pictures", "--json", tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())[0]["objects"]
    expected = Detections.load(out).after_nms(0.3).of_image(0).above(-1)
    assert found and len(found) == len(expected)
    for entry, box, score in zip(found, expected.boxes, expected.scores, strict=True):
        assert entry["score"] == pytest.approx(score, abs=1e-3)
        np.testing.assert_allclose(entry["box"], box, atol=0.05)
