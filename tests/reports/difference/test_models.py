"""Two models of another kind, checkpoints, fine-tuned networks and reports that differ in one thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.artefacts.model_file import MODELS
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.errors import InputError
from rcnn_svm.reports.difference import compare_artefacts
from tests.artefact_kinds import write_finetuned, write_head, write_network, write_ranker, write_results


@pytest.mark.parametrize("kind", [*MODELS, "feature cache", "detections", "proposals", "training checkpoint"])
def test_every_kind_is_equal_to_itself(run_folder, kind):
    assert compare_artefacts(run_folder.by_kind[kind], run_folder.by_kind[kind]).equal


def test_two_kinds_cannot_be_compared(run_folder):
    with pytest.raises(
        InputError, match=r"model\.h5 holds detector, .*detections\.h5 holds detections; give two of one"
    ):
        compare_artefacts(run_folder.by_kind["detector"], run_folder.by_kind["detections"])
    with pytest.raises(InputError, match="does not exist"):
        compare_artefacts(run_folder.by_kind["detector"], "none.h5")


def test_box_regressors(run_folder, tmp_path):
    regressor = BoxRegressor.load(run_folder.by_kind["box regressor"])
    Beta = regressor.Beta.copy()
    Beta[1, 2, 3] += 0.5
    replace(regressor, Beta=Beta).save(tmp_path / "b.h5")
    found = compare_artefacts(run_folder.by_kind["box regressor"], tmp_path / "b.h5")
    assert found.first.name == "weights" and found.first.says.startswith("Beta: 1 of ")
    assert "at (1, 2, 3)" in found.first.says
    replace(regressor, feat_norm_mean=regressor.feat_norm_mean * 2).save(tmp_path / "b.h5")
    assert compare_artefacts(run_folder.by_kind["box regressor"], tmp_path / "b.h5").first.name == "scale"
    identity = {**regressor.training["identity"], "cache": "ab" * 8}
    replace(regressor, training={**regressor.training, "identity": identity}).save(tmp_path / "b.h5")
    assert compare_artefacts(run_folder.by_kind["box regressor"], tmp_path / "b.h5").first.name == "features"


def test_roi_heads(tmp_path):
    write_head(tmp_path / "a.h5")
    write_head(tmp_path / "b.h5", lr=0.01, shift=0.125)
    found = compare_artefacts(tmp_path / "a.h5", tmp_path / "b.h5")
    assert found.first.name == "weights" and found.first.figures["arrays"]["W"]["largest"] == pytest.approx(0.125)
    assert [str(setting) for setting in found.explains] == [
        "learning rate (training.identity.parameters.lr): 0.001 in A, 0.01 in B"
    ]


def test_rankers_of_other_images(tmp_path):
    write_ranker(tmp_path / "a.h5")
    write_ranker(tmp_path / "b.h5", num_images=11)
    found = compare_artefacts(tmp_path / "a.h5", tmp_path / "b.h5")
    assert found.first.name == "images" and found.first.says == "images 10 in A, 11 in B"


def test_networks(tmp_path):
    for name, seed in (("a", 3), ("b", 4)):
        write_network(tmp_path / f"{name}.h5", seed)
    found = compare_artefacts(tmp_path / "a.h5", tmp_path / "b.h5")
    assert found.first.name == "settings" and "seed 3 in A, 4 in B" in found.first.says
    assert [setting.path for setting in found.explains] == ["training.identity.parameters.seed"]


def test_checkpoints(tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0)):
        Checkpoint(tmp_path / f"{name}.h5", {"parameters": {"lr": value}}).save(3, {"w": np.full(4, value)})
    found = compare_artefacts(tmp_path / "a.h5", tmp_path / "b.h5")
    assert found.first.name == "progress" and "w: 4 of 4 numbers differ" in found.first.says
    assert [setting.path for setting in found.explains] == ["identity.parameters.lr"]


def test_fine_tuned_networks(tmp_path):
    write_finetuned(tmp_path / "a")
    write_finetuned(tmp_path / "b", weights=b"other")
    found = compare_artefacts(tmp_path / "a", tmp_path / "b/weights.pt")
    assert found.first.name == "weights" and found.explains == ()
    write_finetuned(tmp_path / "c", lr=0.1, weights=b"other")
    found = compare_artefacts(tmp_path / "a", tmp_path / "c")
    assert [setting.path for setting in found.explains] == ["parameters.lr"]


def test_reports(tmp_path):
    write_results(tmp_path / "a/results.json")
    write_results(tmp_path / "b/results.json", map_voc07=0.25)
    found = compare_artefacts(tmp_path / "a/results.json", tmp_path / "b/results.json")
    assert found.first.name == "results" and "mAP VOC07 50.00 in A, 25.00 in B" in found.first.says
    (tmp_path / "b/results.json").write_text("{}")
    with pytest.raises(InputError, match="is no report of the evaluate stage"):
        compare_artefacts(tmp_path / "a/results.json", tmp_path / "b/results.json")
