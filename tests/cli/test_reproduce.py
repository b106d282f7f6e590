"""`rcnn-svm reproduce` on a toy image set: rows, tables, failures, interruption."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from rcnn_svm.artefacts.files import write_text
from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli import main as cli
from rcnn_svm.cli.main import main
from rcnn_svm.cli.reproduce import _read_result
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.finetune.weights import load_softmax
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc

FROZEN = [
    f"lite0-penultimate{suffix}"
    for suffix in ("", "-neg-overlap-0", "-neg-overlap-0.5", "-random-negatives", "-epochs-2")
]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Of a small run, without --rows and --out."""
    voc = tmp_path_factory.mktemp("voc")
    write_synthetic_voc(voc, num_train=12, num_test=5, seed=1)
    argv = ["reproduce", "--voc", str(voc), "--classes", ",".join(SYNTHETIC_CLASSES), "--backbone", "lite0"]
    return [
        *argv,
        "--limit-images",
        "10",
        "--method",
        "sliding",
        "--max-boxes",
        "30",
        "--crop-size",
        "64",
        "--jobs",
        "1",
    ]


@pytest.fixture
def calls(monkeypatch):
    """The stages that are run, in order; one named by `calls.fail` raises what it says.

    With `calls.pretend`, they only write what the next one asks for: the figures of the evaluation.
    """

    class Calls(list):
        fail, pretend = None, False

    found, real = Calls(), cli.run_arguments

    def run(stage, argv):
        found.append(stage)
        if found.fail and found.fail[0] == stage:
            raise found.fail[1]
        if found.pretend:
            if stage == "evaluate":
                content = {"map_voc07": 0.5, "map_area": None, "classes": [{"class": "ball", "ap_voc07": 0.5}]}
                write_text(f"{argv[argv.index('--out') + 1]}/results.json", json.dumps(content))
            return 0
        return real(stage, argv)

    # The command runs stages by name: here alone a chosen one can be made to fail, and left out where it takes long.
    monkeypatch.setattr(cli, "run_arguments", run)
    return found


def test_rows_from_images_to_tables(arguments, tmp_path, calls, capsys):
    argv = [*arguments, "--rows", ",".join(FROZEN), "--out", str(tmp_path)]
    assert main(argv) == 0
    assert [calls.count(stage) for stage in ("propose", "extract", "train", "test", "evaluate")] == [2, 2, 5, 5, 5]
    assert "$ rcnn-svm extract" in capsys.readouterr().out

    results = json.loads((tmp_path / "results.json").read_text())
    rows = {row["row"]: row for row in results["rows"]}
    assert list(rows) == FROZEN
    for name, row in rows.items():
        report = json.loads((tmp_path / "reports" / name / "results.json").read_text())
        assert row["map_voc07"] == report["map_voc07"]
        assert row["classes"] == {entry["class"]: entry["ap_voc07"] for entry in report["classes"]}
        assert row["seconds"]["extract"] == rows[FROZEN[0]]["seconds"]["extract"] > 0
        assert "10 of 12 train images" in row["deviations"]
    with open(tmp_path / "table.csv", encoding="utf-8") as stream:
        lines = {line["row"]: line for line in csv.DictReader(stream)}
    text = (tmp_path / "table.md").read_text()
    for name, row in rows.items():
        assert float(lines[name]["mAP"]) == pytest.approx(100 * row["map_voc07"], abs=1e-3)
        assert f"| {row['title']} | {100 * row['map_voc07']:.1f} |" in text
    assert "Trained on 10 images of trainval, tested on 5 of test." in text

    history = {name: Detector.load_history(tmp_path / "models" / f"{name}.h5") for name in FROZEN}
    assert history[FROZEN[4]]["scan"][:, 1].max() == 1 and history[FROZEN[0]]["scan"][:, 1].max() == 0
    last = [history[FROZEN[0]]["updates"][history[FROZEN[0]]["updates"][:, 0] == c][-1, 4] for c in range(5)]
    assert history[FROZEN[3]]["updates"][:, 4].tolist() == last

    calls.clear()
    assert main(argv) == 0
    assert calls == [] and "done already" in capsys.readouterr().out
    assert main([*argv, "--max-boxes", "20"]) == 2
    assert f"{tmp_path} was made with other settings (max boxes: 30 there, 20 wanted)" in capsys.readouterr().err


def test_fine_tuned_rows_with_boxes_corrected_and_softmax(arguments, tmp_path, calls):
    rows = ["lite0-ft-penultimate", "lite0-ft-penultimate-bb", "lite0-ft-softmax"]
    argv = [*arguments, "--crop-size", "32", "--iterations", "1", "--rows", ",".join(rows), "--out", str(tmp_path)]
    assert main(argv) == 0
    stages = ("propose", "finetune", "extract", "train", "train-bbox", "test", "evaluate")
    assert [calls.count(stage) for stage in stages] == [2, 1, 2, 1, 1, 3, 3]
    weights = tmp_path / "finetune" / "lite0" / "weights.pt"
    backbone = FeatureCache.open(tmp_path / "features" / "lite0.ft.penultimate.train").settings["backbone"]
    assert (
        backbone["weights_digest"] == load_backbone("lite0", weights=weights, crop_size=32).settings["weights_digest"]
    )
    found = {name: Detections.load(tmp_path / "detections" / f"{name}.h5") for name in rows}
    np.testing.assert_array_equal(found[rows[0]].score, found[rows[1]].score)
    assert (found[rows[0]].box != found[rows[1]].box).any()
    softmax = load_softmax(weights)
    assert found[rows[2]].settings["detector"]["digest"] == softmax.digest
    results = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["row"] for row in results] == rows
    assert all("fine-tuned for 1 iterations instead of 70,000" in row["deviations"] for row in results)


def test_rows_that_fail_leave_the_others_alone_and_interruption_loses_no_row(arguments, tmp_path, calls, capsys):
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(f"{number:06d}" for number in range(1, 13)))
    rows = ["--rows", f"{FROZEN[0]},{FROZEN[2]}", "--train-ids", str(ids)]
    argv = [*arguments, *rows, "--out", str(tmp_path / "out")]
    calls.pretend = True
    calls.fail = "train", cli.InputError("the disk is full")
    assert main(argv) == 1
    assert calls.count("train") == 2 and calls.count("extract") == 2  # features were not made twice
    out = capsys.readouterr().out
    assert out.count("not run: the disk is full") >= 2
    assert "not run: the disk is full" in (tmp_path / "out" / "table.md").read_text()

    calls.fail = None
    assert main([*argv, "--rows", FROZEN[0]]) == 0
    made = (tmp_path / "out" / "rows" / f"{FROZEN[0]}.json").stat().st_mtime_ns
    calls.fail = "test", KeyboardInterrupt()
    assert main(argv) == 130
    calls.clear()
    calls.fail = None
    assert main(argv) == 0
    assert calls.count("test") == calls.count("evaluate") == 1
    assert (tmp_path / "out" / "rows" / f"{FROZEN[0]}.json").stat().st_mtime_ns == made
    assert "not run" not in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_of_other_boxes_are_not_done(arguments, tmp_path, calls, capsys, split):
    voc = shutil.copytree(arguments[arguments.index("--voc") + 1], tmp_path / "voc")
    argv = [*arguments, "--voc", str(voc), "--rows", FROZEN[0], "--out", str(tmp_path / "out")]
    calls.pretend = True
    assert main(argv) == 0
    assert main(argv) == 0 and "done already" in capsys.readouterr().out
    listed = (voc / "VOC2007/ImageSets/Main" / f"{'trainval' if split == 'train' else split}.txt").read_text()
    path = voc / "VOC2007/Annotations" / f"{listed.split()[0]}.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    made = len(calls)
    assert main(argv) == 2
    assert f"was made with other settings ({split} images and boxes: " in capsys.readouterr().err
    assert len(calls) == made


def test_refuses_wrong_arguments_before_work(arguments, tmp_path, calls, capsys):
    out = ["--out", str(tmp_path / "out")]
    for words, message in (
        (["--rows", "fc7"], "row 'fc7' is unknown for lite0; expected lite0-penultimate,"),
        (
            ["--backbone", "lite0,alexnett"],
            "backbone 'alexnett' is neither lite0, lite1, lite2 nor a classifier of torchvision",
        ),
        (["--weights", "alexnet=x.pt"], "with a backbone out of lite0"),
        (["--weights", "lite0=absent.pt"], "absent.pt does not exist"),
        (["--limit-images", "1"], "no ground truth"),
    ):
        assert main([*arguments, *words, *out]) == 2
        assert message in capsys.readouterr().err
    assert not calls and not (tmp_path / "out").exists()


ROW = {
    "row": "r",
    "title": "R",
    "weights": "published",
    "map_voc07": 0.5,
    "map_area": None,
    "deviations": ["fewer"],
    "note": "",
}


@pytest.mark.parametrize(
    "change", [{}, {"map_voc07": "x"}, {"classes": {"cat": []}}, {"seconds": None}, {"title": 3}, {"deviations": [1]}]
)
def test_a_row_with_values_of_other_types_is_one_sentence(tmp_path, change):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**ROW, "classes": {"cat": 0.5}, "seconds": {"train": 1.5}, **change}))
    if not change:
        assert _read_result(path)["map_voc07"] == 0.5
    else:
        with pytest.raises(InputError, match=r"r\.json is damaged"):
            _read_result(path)
