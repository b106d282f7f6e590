"""The train-head and compare-mining stages, and what test and evaluate do with their files."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detections import Detections
from rcnn_svm.fast_rcnn.head_training import RoIHeadTrainer
from rcnn_svm.fast_rcnn.network import RoIPredictor
from rcnn_svm.fast_rcnn.roi_head import RoIHead
from tests.cli.command import command
from tests.interrupt import ctrl_c_at


@pytest.fixture(scope="module")
def head(pipeline, tmp_path_factory):
    """The file of a head trained on the pipeline's features."""
    out = tmp_path_factory.mktemp("head") / "head.h5"
    (features,) = (pipeline.out / "features").glob("*trainval*")
    assert command("train-head", "--features", features, "--sampler", "ohem", "--iterations", "60", "--out", out) == 0
    return out


def test_the_head_is_the_trainers_and_is_not_trained_twice(features, head, capsys):
    cache = FeatureCache.open(features["trainval"])
    trainer = RoIHeadTrainer(sampler="ohem", iterations=60).fit(cache)
    assert RoIHead.load(head).digest == trainer.head_.digest
    history = RoIHead.load_history(head)
    np.testing.assert_array_equal(history["steps"], trainer.history_["steps"])
    assert head.with_name("head.loss.png").stat().st_size > 1000
    assert not head.with_name("head.h5.checkpoint").exists()
    before = head.stat().st_mtime_ns
    words = ("train-head", "--features", features["trainval"], "--iterations", "60", "--out", head)
    assert command(*words, "--sampler", "ohem") == 0
    assert "done already" in capsys.readouterr().out and head.stat().st_mtime_ns == before
    assert command(*words, "--sampler", "all") == 2
    assert "sampler: ohem there, all wanted" in capsys.readouterr().err


def test_test_and_evaluate_take_a_head(pipeline, features, head, tmp_path, capsys):
    out = tmp_path / "found.h5"
    words = ("test", "--features", features["test"], "--model", head, "--out", out)
    assert command(*words) == 0
    found, model, cache = Detections.load(out), RoIHead.load(head), FeatureCache.open(features["test"])
    assert found.settings["bbox"]["digest"] == model.digest
    mine = np.flatnonzero(found.image == 1)
    regions = cache.regions(1)
    rows, cls = found.row[mine], found.cls[mine]
    np.testing.assert_allclose(found.score[mine], model.scores(regions.features)[rows, cls], rtol=1e-4, atol=1e-4)
    expected = model.correct(regions.features[rows], regions.boxes[rows], cls, regions.image_size)
    np.testing.assert_allclose(found.box[mine], expected, atol=1e-3)
    assert (found.box[mine] != regions.boxes[rows]).any()
    capsys.readouterr()
    assert command(*words) == 0
    assert f"done already: {out}" in capsys.readouterr().out
    report = tmp_path / "report"
    words = ("--voc", pipeline.voc, "--classes", pipeline.names, "--pictures", "0", "--out", report)
    assert command("evaluate", "--detections", out, *words) == 0
    assert (report / "results.json").exists()


def test_what_a_head_cannot_do_is_one_sentence(pipeline, features, head, tmp_path, capsys):
    words = ["test", "--features", features["test"], "--out", tmp_path / "found.h5"]
    for argv, told in (
        ([*words, "--model", head, "--bbox", head], "is a RoI head, which corrects boxes itself"),
        ([*words, "--model", tmp_path / "none.h5"], "none.h5 does not exist"),
        (["inspect", head, "--class", "x"], f"--class needs a model file, {head} holds RoI head"),
        (["train-head", "--features", features["test"], "--seed", "-1"], "seed = -1"),
        (["train-head", "--features", features["test"], "--hidden", "-1"], "hidden = -1"),
        (["train-head", "--features", features["test"], "--weights", head], "--weights are for --end-to-end"),
    ):
        assert command(*argv) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("error:") == 1 and "Traceback" not in error
    assert command("inspect", head) == 0
    assert "RoI head" in capsys.readouterr().out


def test_comparison_goes_on_row_by_row(pipeline, features, tmp_path, capsys):
    out = tmp_path / "comparison"
    words = ["compare-mining", "--features", features["trainval"], "--test-features", features["test"]]
    words += ["--voc", pipeline.voc, "--classes", pipeline.names, "--iterations", "5", "--seeds", "2", "--out", out]
    with ctrl_c_at(0, RoIPredictor):
        assert command(*words) == 130
    kept = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    assert {path.name for path in kept} == {"svm-hard.seed1.json", "svm-random.seed1.json"}
    capsys.readouterr()
    assert command(*words) == 0
    printed = capsys.readouterr().out
    assert printed.count("done already") == 2 and all(path.stat().st_mtime_ns == t for path, t in kept.items())
    lines = list(csv.DictReader((out / "comparison.csv").open()))
    assert len(lines) == 14
    for line in lines:
        result = json.loads((out / "rows" / f"{line['method']}.seed{line['seed']}.json").read_text())["result"]
        assert float(line["map11"]) == result["map11"] and float(line["seconds"]) == result["seconds"]
    hard, random = (
        [json.loads((out / "rows" / f"svm-{kind}.seed{seed}.json").read_text())["result"] for seed in (1, 2)]
        for kind in ("hard", "random")
    )
    assert [one["negatives"] for one in hard] == [one["negatives"] for one in random]
    table = (out / "comparison.md").read_text().splitlines()
    cells = [cell.strip() for cell in table[3].split("|")[1:-1]]
    percent = 100 * np.array([one["map11"] for one in hard])
    assert cells[0] == "SVM, hard negatives" and cells[3] == "-"
    assert cells[1] == f"{percent.mean():.1f} ({percent.min():.1f} to {percent.max():.1f})"
    assert len([line for line in table if line.startswith("|")]) == 2 + 7
    assert (out / "loss.png").stat().st_size > 1000
    assert command(*words[:-6], "--iterations", "6", "--seeds", "2", "--out", out) == 2
    assert "iterations: 5 there, 6 wanted" in capsys.readouterr().err

    # Results are those of one ground truth, which may change while the features stay.
    assert command(*words, "--classes", pipeline.names.partition(",")[0]) == 2
    assert "classes: 5 there, 1 wanted" in capsys.readouterr().err
    voc = shutil.copytree(pipeline.voc, tmp_path / "voc")
    image_id = (voc / "VOC2007/ImageSets/Main/test.txt").read_text().split()[0]
    path = voc / "VOC2007/Annotations" / f"{image_id}.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    assert command(*words, "--voc", voc) == 2
    assert "svm-hard.seed1.json was made with other settings (ground_truth: " in capsys.readouterr().err


def test_a_test_set_that_cannot_be_evaluated_is_refused_first(pipeline, features, tmp_path, capsys):
    words = ["compare-mining", "--features", features["trainval"], "--test-features", features["trainval"]]
    words += ["--voc", pipeline.voc, "--classes", pipeline.names, "--out", tmp_path / "comparison"]
    assert command(*words) == 2
    assert "was not tested" in capsys.readouterr().err
    assert not (tmp_path / "comparison").exists()
