"""The commands that make a row, and the times of stages."""

from __future__ import annotations

import json

import pytest

from rcnn_svm.artefacts.files import fingerprint
from rcnn_svm.cli.main import command_parser
from rcnn_svm.errors import InputError
from rcnn_svm.experiments.reproduce import stages
from rcnn_svm.experiments.reproduce.pipeline import Pipeline, Setup, deviations
from rcnn_svm.experiments.reproduce.rows import rows_of
from rcnn_svm.experiments.reproduce.stages import StageRunner


def make_setup(out, **changes):
    fields = {
        "ids": {"train": None, "test": None},
        "images": {"train": (5011, 5011), "test": (4952, 4952)},
        "classes": None,
        "method": "fast",
        "max_boxes": None,
        "crop_size": None,
        "iterations": 70_000,
        "weights": {},
        "jobs": 2,
        "device": "auto",
    }
    return Setup(out=out, voc=out / "VOCdevkit", **{**fields, **changes})


def commands_of(identifier, backbone, tmp_path, **changes):
    """Return every command of a row, as lists of words, with folders relative to OUT."""
    found = []

    def stage(name, *words):
        command = [name, *map(str, words)]
        found.append([word.removeprefix(f"{tmp_path}/") for word in command])
        if name == "evaluate":
            path = tmp_path / "reports" / identifier / "results.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            entry = {"class": "cat", "ap_voc07": 0.25}
            path.write_text(json.dumps({"map_voc07": 0.25, "map_area": 0.2, "classes": [entry]}))
        return 1.5

    rows = {row.id: row for row in rows_of(backbone)}
    result = Pipeline(make_setup(tmp_path, **changes), stage, rows).make(rows[identifier])
    return found, result


def option(command, name):
    return command[command.index(name) + 1]


def test_the_stages_of_a_row_without_more(tmp_path):
    commands, result = commands_of("lite0-penultimate", "lite0", tmp_path)
    stages_of_sets = ["propose", "extract", "propose", "extract"]  # of the training and the test images
    assert sorted(command[0] for command in commands) == sorted([*stages_of_sets, "train", "test", "evaluate"])
    by_stage = {command[0]: command for command in commands}
    assert option(by_stage["train"], "--out") == option(by_stage["test"], "--model")
    assert option(by_stage["test"], "--out") == option(by_stage["evaluate"], "--detections")
    assert result["map_voc07"] == 0.25 and result["classes"] == {"cat": 0.25}


def test_finetuned_fc7_with_boxes_corrected(tmp_path):
    commands, result = commands_of("alexnet-ft-fc7-bb", "alexnet", tmp_path)
    by_stage = {command[0]: command for command in commands}
    weights = "finetune/alexnet/weights.pt"
    assert option(by_stage["finetune"], "--iterations") == "70000"
    extracts = [command for command in commands if command[0] == "extract"]
    for name in ("train", "test"):
        (extract,) = (c for c in extracts if option(c, "--out") == f"features/alexnet.ft.pool5.{name}")
        assert (option(extract, "--layer"), option(extract, "--weights")) == ("pool5", weights)
        assert option(extract, "--proposals") == f"proposals/{name}.h5"
    train, test = by_stage["train"], by_stage["test"]
    assert option(train, "--features") == "features/alexnet.ft.pool5.train"
    assert option(train, "--out") == option(test, "--model") == "models/alexnet-ft-fc7.h5"
    for command in (train, test):
        assert (option(command, "--layer"), option(command, "--weights")) == ("fc7", weights)
    assert "--layer" not in by_stage["train-bbox"]  # pool5, as in the paper
    assert option(test, "--bbox") == option(by_stage["train-bbox"], "--out")
    assert option(test, "--bbox-features") == option(test, "--features") == "features/alexnet.ft.pool5.test"
    assert result["classes"] == {"cat": 0.25} and result["title"] == "AlexNet fine-tuned fc7 BB"
    # Each command is counted once, though several stages need its result.
    assert result["seconds"] == {
        **{"finetune": 1.5, "propose": 3.0, "extract": 3.0, "train": 1.5, "bbox": 1.5, "test": 1.5, "evaluate": 1.5}
    }


def test_softmax_needs_no_svm(tmp_path):
    commands, _ = commands_of("alexnet-ft-softmax", "alexnet", tmp_path)
    assert "train" not in {command[0] for command in commands}
    (test,) = (command for command in commands if command[0] == "test")
    assert (option(test, "--scores"), option(test, "--model")) == ("softmax", "finetune/alexnet/weights.pt")
    assert option(test, "--layer") == "fc7"


def test_finetuning_takes_the_crops_of_the_extraction(tmp_path):
    commands, _ = commands_of("alexnet-ft-softmax", "alexnet", tmp_path, crop_size=100, device="cpu")
    for command in commands:
        if command[0] in ("finetune", "extract"):
            assert (option(command, "--crop-size"), option(command, "--device")) == ("100", "cpu")


def test_random_negatives_are_as_many_as_mining_ended_with(tmp_path):
    commands, _ = commands_of("lite0-penultimate-random-negatives", "lite0", tmp_path)
    mined, drawn = (command for command in commands if command[0] == "train")
    assert option(drawn, "--random-negatives") == option(mined, "--out") == "models/lite0-penultimate.h5"
    assert option(drawn, "--out") != option(mined, "--out") and "--layer" not in drawn


@pytest.mark.parametrize("backbone", ["alexnet", "vgg16", "lite0"])
def test_the_stages_understand_every_command(backbone, tmp_path):
    changes = {"classes": "cat,dog", "max_boxes": 10, "crop_size": 96, "weights": {backbone: "net.pt"}}
    changes["ids"] = {"train": tmp_path / "a.txt", "test": tmp_path / "b.txt"}
    (tmp_path / "net.pt").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for row in rows_of(backbone):
            for stage, *words in commands_of(row.id, backbone, tmp_path, **changes)[0]:
                command_parser(stage).parse_args(words)


def test_random_weights_are_given_where_features_are_made_only(tmp_path):
    commands, _ = commands_of("alexnet-fc6", "alexnet", tmp_path, weights={"alexnet": "random"})
    given = {command[0]: "--weights" in command for command in commands}
    assert given["extract"] and not given["train"] and not given["test"]


def test_deviations_name_what_differs(tmp_path):
    rows = {row.id: row for row in rows_of("alexnet")}
    setup = make_setup(tmp_path, images={"train": (300, 5011), "test": (4952, 4952)}, iterations=400, max_boxes=200)
    told = "; ".join(deviations(rows["alexnet-ft-fc7"], setup))
    for phrase in ("CaffeNet", "OpenCV", "first 200 proposals", "300 of 5,011 train images", "400 iterations instead"):
        assert phrase in told
    assert "test images" not in told
    assert "iterations" not in "; ".join(deviations(rows["alexnet-fc7"], setup))


def test_times_add_up_over_interruptions_and_stay(tmp_path, monkeypatch):
    clock = [0.0]
    # The times are to be exact.
    monkeypatch.setattr(stages.time, "perf_counter", lambda: clock[0])
    behaviour = iter(["interrupted", "done", "done"])

    def run(stage, argv):
        clock[0] += 10
        if next(behaviour) == "interrupted":
            raise KeyboardInterrupt
        return 0

    with pytest.raises(KeyboardInterrupt):
        StageRunner(run, tmp_path)("train", "--jobs", 2)
    second = StageRunner(run, tmp_path)
    assert second("train", "--jobs", 2) == second("train", "--jobs", 2) == 20  # the second time it is not run
    assert StageRunner(run, tmp_path)("train", "--jobs", 2) == 20  # run to check, found done


def test_times_recorded_under_an_older_name_of_a_stage_count(tmp_path):
    words = ("--features", "x")
    path = tmp_path / f"bbox-{fingerprint(['bbox', list(words)])}.json"
    path.write_text(json.dumps({"stage": "bbox", "seconds": 70.0, "done": True}))
    assert StageRunner(lambda stage, argv: 0, tmp_path)("train-bbox", *words) == 70
    assert list(tmp_path.iterdir()) == [path]


def test_what_failed_is_not_tried_again(tmp_path, capsys):
    calls = []

    def run(stage, argv):
        calls.append(stage)
        if stage == "extract":
            raise InputError("no network")
        return 1

    runner = StageRunner(run, tmp_path)
    for _ in range(2):
        with pytest.raises(InputError, match="no network"):
            runner("extract", "--out", "x")
    with pytest.raises(InputError, match="the train stage ended with exit code 1"):
        runner("train")
    assert calls == ["extract", "train"]
    assert capsys.readouterr().out.count("$ rcnn-svm extract --out x") == 1
