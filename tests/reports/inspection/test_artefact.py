"""What is said of an artefact of every kind: on a screen, and all of it as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rcnn_svm.artefacts.files import create_h5
from rcnn_svm.artefacts.header import read_header
from rcnn_svm.artefacts.model_file import MODELS
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn.roi_head import RoIHead
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.inspection import inspect_artefact
from rcnn_svm.reports.inspection.result import facts_text
from tests.toys import CLASSES

KINDS = (*MODELS, "feature cache", "detections", "proposals", "training checkpoint", "fine-tuned network")


def strict(text: str) -> dict:
    return json.loads(text, parse_constant=pytest.fail)


@pytest.mark.parametrize("kind", [*KINDS, "folder"])
def test_every_kind_is_said_on_a_screen_and_as_json(run_folder, kind):
    path = run_folder.by_kind.get(kind, run_folder.path)
    found = inspect_artefact(path)
    assert (found.kind, found.path) == (kind, path)
    lines = found.text().splitlines()
    assert lines[0].startswith(kind) and str(path) in lines[0]
    assert len(lines) <= 42 and max(map(len, lines[1:])) <= 80
    content = strict(found.json())
    assert (content["kind"], content["path"]) == (kind, str(path))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("feature cache", "fine-tuned network")])
def test_what_made_it_and_all_its_arrays_are_there(run_folder, kind):
    path = run_folder.by_kind[kind]
    header, found = read_header(path), inspect_artefact(path)
    assert found.record["settings"] == header.settings and found.record["made_by"] == header.provenance
    assert {name: tuple(entry["shape"]) for name, entry in found.record["arrays"].items()} == {
        name: shape for name, (shape, _) in header.arrays.items()
    }
    assert header.provenance["time"][:10] in found.text() and header.fingerprint in found.text()


def test_a_detector(run_folder):
    path = run_folder.by_kind["detector"]
    detector, history = Detector.load(path), Detector.load_history(path)
    found = inspect_artefact(path)
    for index, record in enumerate(found.record["classes"]):
        assert record["class"] == detector.classes[index]
        assert record["negatives"] == (history["added"][:, 0] == index).sum()
        assert record["support"] == (history["support"][:, 0] == index).sum()
        assert record["norm"] == pytest.approx(np.linalg.norm(detector.W[:, index]), rel=1e-6)
        last = np.flatnonzero(history["updates"][:, 0] == index)[-1]
        assert record["loss"] == history["update_loss"][last, 3] and record["updates"] > 0
    assert "C 0.1, weight of a positive 2, bias feature 10, negatives below IoU 0.3" in " ".join(found.text().split())


def test_a_detector_without_a_record(tmp_path):
    weights = np.zeros((4, 2), np.float32)
    weights[1:, 0] = 3
    detector = Detector(("cat", "dog"), weights, np.float32([-1, 2]), 20.0, calibration=np.float64([[2, 1], [1, -3]]))
    detector.save(tmp_path / "model.h5")
    text = " ".join(inspect_artefact(tmp_path / "model.h5").text().split())
    assert "cat, dog (without a record of the training)" in text
    assert "norm of W 0 to 5.196, bias -1 to 2; 1 of 4 features have weight 0 for every class" in text
    assert "probability 0.5 at score -0.5 (cat), 3 (dog)" in text


def test_proposals(tmp_path):
    boxes = [np.float32([[0, 0, 9, 9], [0, 0, 39, 9], [0, 0, 9, 9]]), np.empty((0, 4)), np.float32([[5, 5, 24, 24]])]
    ProposalSet(("a", "b", "c"), boxes, {"method": "fast", "max_boxes": 3}).save(tmp_path / "p.h5")
    found = inspect_artefact(tmp_path / "p.h5")
    assert (found.record["boxes"], found.record["repeated"]) == ([3, 0, 1], 1)
    assert found.record["side"] == pytest.approx([10, 10, 15, 20, 20])
    text = " ".join(found.text().split())
    assert "4 boxes; in an image 0 to 3, median 1; none in 1 image" in text
    assert "fast, boxes of an image at most 3" in text


def test_detections(tmp_path):
    found = Detections(
        ("a", "b"),
        ("cat", "dog"),
        image=[0, 1, 1],
        cls=[0, 0, 0],
        box=np.tile([0, 0, 9, 9], (3, 1)),
        score=[1, 2, 4],
        thresh=[0.5, -np.inf],
        settings={"nms": 0.3, "features": "ab" * 8},
    )
    found.save(tmp_path / "d.h5")
    cat, dog = inspect_artefact(tmp_path / "d.h5").record["classes"]
    assert (cat["boxes"], cat["images"], cat["score"], cat["thresh"]) == (3, 2, [1, 1.5, 2, 3, 4], 0.5)
    assert (dog["boxes"], dog["score"], dog["thresh"]) == (0, [None] * 5, None)
    text = inspect_artefact(tmp_path / "d.h5").text()
    assert "suppressed above IoU 0.3" in text and f"cache with digest {'ab' * 8}" in text


def test_losses_of_a_descent(run_folder):
    found = inspect_artefact(run_folder.by_kind["RoI head"])
    assert found.record["history"]["first"] == [1, 0.5] and found.record["history"]["last"] == [0.25, 0.125]
    head = RoIHead.load(run_folder.by_kind["RoI head"])
    assert found.record["num_weights"] == sum(array.size for array in head.arrays().values())


def test_a_fine_tuned_network_by_any_of_its_names(run_folder):
    folder = run_folder.by_kind["fine-tuned network"]
    texts = {inspect_artefact(path).text() for path in (folder, folder / "weights.pt", folder / "finetune.json")}
    assert len(texts) == 1 and "75.0 % of the windows" in texts.pop()


def test_a_kind_that_is_not_known(tmp_path):
    with create_h5(tmp_path / "x.h5", "toy", 1, {"a": 1}) as handle:
        handle["W"] = np.zeros((3, 2), np.float32)
    assert "W 3 x 2 float32" in inspect_artefact(tmp_path / "x.h5").text()


def test_a_long_table_ends_with_how_many_more(run_folder):
    found = inspect_artefact(run_folder.by_kind["feature cache"])
    assert "and 2 more classes" in found.text(top=1)
    assert [record["class"] for record in found.record["classes"]] == list(CLASSES)


def test_a_folder_with_nothing_of_ours(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="holds nothing that a stage of rcnn-svm writes"):
        inspect_artefact(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        inspect_artefact(tmp_path / "none.h5")


def test_a_name_longer_than_a_line_leaves_room_for_what_it_names():
    text = facts_text({"made by": "rcnn-svm", "x" * 70_000: "a fact of a few words"})
    assert text.startswith("made by ") and text.endswith("a fact of a few words")
