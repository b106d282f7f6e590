"""Two runs: the first artefact that differs is named with what differs in it, and why."""

from __future__ import annotations

import json
import shutil

import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.difference import compare_artefacts
from tests.artefact_kinds import write_results
from tests.toys import flip


@pytest.fixture
def other(run_folder, tmp_path):
    """A copy of the run."""
    return shutil.copytree(run_folder.path, tmp_path / "other")


def test_the_same_run(run_folder, other):
    found = compare_artefacts(run_folder.path, other)
    assert found.equal and len(found.parts) == 11 and next(iter(found.parts)) == "ranker.h5"


def test_another_parameter_of_the_training(run_folder, other):
    cache = FeatureCache.open(other / "features/toy")
    HardNegativeMiner(svm_C=1.0, retrain_limit=20, n_jobs=1).fit(cache).save(other / "model.h5")
    write_results(other / "report/results.json", 0.4)
    found = compare_artefacts(run_folder.path, other)
    assert found.first.name == "model.h5" and [step.name for step in found.steps if not step.equal] == [
        "model.h5",
        "report/results.json",
    ]
    assert [setting.path for setting in found.explains] == ["training.identity.parameters.svm_C"]
    text = found.text()
    assert f"first difference: {found.parts['model.h5'].first.name} of model.h5" in text
    assert "C (training.identity.parameters.svm_C): 0.1 in A, 1 in B" in " ".join(text.split())
    content = json.loads(found.json(), parse_constant=pytest.fail)
    assert content["first_difference"] == "model.h5" and content["parts"]["bbox.h5"]["equal"] is True


def test_another_list_of_images_comes_before_all(run_folder, other):
    (other / "train_ids.txt").write_text("1\n3\n")
    (other / "ranker.h5").unlink()
    found = compare_artefacts(run_folder.path, other)
    assert found.first.name == "train_ids.txt" and "1 only in A (the first is 2)" in found.first.says
    (missing,) = [step for step in found.steps if step.name == "ranker.h5"]
    assert missing.says.startswith("only in A: proposal ranker") and found.steps[1] is missing


@pytest.mark.parametrize(("more", "names"), [("1\n", "2 names in A, 3 in B"), ("2\n2\n", "2 names in A, 4 in B")])
def test_a_list_that_names_an_image_twice(run_folder, other, more, names):
    path = other / "train_ids.txt"
    path.write_text(path.read_text() + more)
    found = compare_artefacts(run_folder.path, other)
    assert "the same 2 images, but some several times" in found.first.says
    assert f"{names} (the first is {more[0]})" in found.first.says


def test_proposals_of_another_method_belong_together(run_folder, other):
    proposals = ProposalSet.load(other / "proposals/toy.sliding.h5")
    (other / "proposals/toy.sliding.h5").unlink()
    settings = {**proposals.settings, "method": "fast"}
    ProposalSet(proposals.image_ids, [boxes + 1 for boxes in proposals.boxes], settings).save(
        other / "proposals/toy.fast.h5"
    )
    found = compare_artefacts(run_folder.path, other)
    assert found.first.name == "proposals/toy.sliding.h5" and "(proposals/toy.fast.h5 in B)" in found.first.says
    assert [str(setting) for setting in found.explains] == ["method: sliding in A, fast in B"]


def test_what_cannot_be_compared_differs(run_folder, other):
    (other / "features/toy/shard-00001.h5").unlink()
    flip(other / "bbox.h5", 3000)
    shutil.copy(other / "detections.h5", other / "model.h5")
    found = compare_artefacts(run_folder.path, other)
    said = {step.name: step.says for step in found.steps if not step.equal}
    assert [*said] == ["features/toy", "model.h5", "bbox.h5"]
    assert "is not complete" in said["features/toy"] and "is damaged" in said["bbox.h5"]
    assert said["model.h5"] == "detector in A, detections in B"


def test_models_of_the_same_name(run_folder, other):
    detector = Detector.load(other / "model.h5")
    detector.save(other / "zz.h5")
    found = compare_artefacts(run_folder.path, other)
    assert found.first.name == "zz.h5" and found.first.says == "only in B: detector, 3 classes"
