"""What is said of the folder of a run."""

from __future__ import annotations

import shutil

import h5py

from rcnn_svm.detection.again import METHOD
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.reports.inspection import inspect_artefact
from rcnn_svm.reports.run_folder import find_artefacts
from tests.artefact_kinds import proposals_of
from tests.toys import flip, toy_cache


def test_all_artefacts_in_the_order_of_the_pipeline(run_folder):
    kinds = ["proposal ranker", "proposals", "fine-tuned network", "feature cache", "detector", "box regressor"]
    kinds += ["RoI head", "Fast R-CNN network", "detections", "report", "training checkpoint"]
    assert [artefact.kind for artefact in find_artefacts(run_folder.path)] == kinds
    found = inspect_artefact(run_folder.path)
    assert found.record["images"] == {"train_ids.txt": 2}
    assert found.record["bytes"] == sum(artefact["num_bytes"] for artefact in found.record["artefacts"])
    assert "mAP 50.0 VOC07, 40.0 area (report/results.json)" in found.text()
    assert "features/toy" in found.text() and "cache: 10 images" in found.text()


def test_what_follows_the_first_detections_comes_after_them(run_folder, tmp_path):
    detections = Detections.load(run_folder.by_kind["detections"])
    detections.save(tmp_path / "b.first.h5")
    cache = toy_cache([5, 5])
    proposals_of(cache, method=METHOD).save(tmp_path / "a.again.h5")
    detections.settings["also"] = {}
    detections.save(tmp_path / "a.detections.h5")
    detector = Detector.load(run_folder.by_kind["detector"])
    for name in ("test", "trainval"):
        proposals_of(cache).save(tmp_path / f"x_{name}.h5")
    detector.save(tmp_path / "model.h5")
    names = ["x_trainval.h5", "x_test.h5", "model.h5", "b.first.h5", "a.again.h5", "a.detections.h5"]
    assert [artefact.name for artefact in find_artefacts(tmp_path)] == names


def test_damaged_and_foreign_files(run_folder, tmp_path):
    for name in ("detector", "detections"):
        shutil.copy(run_folder.by_kind[name], tmp_path / f"{name}.h5")
    flip(tmp_path / "detector.h5", 3000)
    (tmp_path / "results.json").write_text('{"mine": 1}')
    found = find_artefacts(tmp_path)
    assert [artefact.kind for artefact in found] == ["detections", "damaged"]
    assert "detector.h5 is damaged" in found[1].holds
    text = " ".join(inspect_artefact(tmp_path).text().split())
    assert "damaged 1; the first: " in text and text.endswith("detector.h5 0.02 damaged")


def test_shards_that_are_missing(run_folder, tmp_path):
    shutil.copytree(run_folder.by_kind["feature cache"], tmp_path / "run/cache")
    (tmp_path / "run/cache/shard-00001.h5").unlink()
    (artefact,) = find_artefacts(tmp_path / "run")
    assert "1 of 3 shards missing" in artefact.holds


def test_a_file_that_another_program_took_an_array_from_is_damaged(run_folder, tmp_path):
    path = tmp_path / "found.h5"
    shutil.copy(run_folder.by_kind["detections"], path)
    with h5py.File(path, "r+") as handle:
        del handle.attrs["content"], handle["image_ids"]
    (artefact,) = find_artefacts(tmp_path)
    assert artefact.kind == "damaged" and "found.h5 is damaged" in artefact.holds
