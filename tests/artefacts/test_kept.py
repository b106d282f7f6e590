"""What every version wrote opens for ever, and holds what it held; files of a later version say what to install."""

from __future__ import annotations

import json
import re
import shutil

import h5py
import numpy as np
import pytest

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.artefacts.exported_folder import read_description
from rcnn_svm.artefacts.header import read_header
from rcnn_svm.artefacts.model_file import MODELS, load_model
from rcnn_svm.artefacts.schema import check_schema
from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli.main import main
from rcnn_svm.cli.reproduce import _read_result as read_row
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.experiments.compare_mining.comparison import _read as read_comparison
from rcnn_svm.experiments.reproduce.stages import _read as read_stage
from rcnn_svm.export import ExportedDetector
from rcnn_svm.finetune.record import load_record
from rcnn_svm.mining.mined_regions import read_record
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.run_folder import read_results
from tests.artefact_kinds import content_of
from tests.export.detectors import random_image
from tests.keep import KEPT

VERSIONS = sorted(path.name for path in KEPT.iterdir() if path.is_dir())
READERS = {
    **dict.fromkeys(MODELS, lambda path: load_model(path, MODELS)),
    # Its tensors are made up; tests/fast_rcnn/ reads what trainings write.
    "Fast R-CNN network": read_header,
    "detections": Detections.load,
    "proposals": ProposalSet.load,
    "training checkpoint": lambda path: Checkpoint(path, read_header(path).settings).load(),
    "feature shard": lambda path: FeatureCache.open(path.parent).verify(),
}


def files(version):
    return {path: read_header(path).kind for path in sorted((KEPT / version).rglob("*.h5*"))}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_version_wrote_opens(version, capsys):
    for path, kind in files(version).items():
        assert READERS[kind](path) is not None
        assert main(["inspect", str(path if kind != "feature shard" else path.parent)]) == 0
    assert FeatureCache.open(KEPT / version / "features/toy").verify() == []


def test_todays_kinds_are_all_kept():
    assert {*files("0.1.0").values()} == READERS.keys()
    folder = KEPT / "0.1.0"
    assert load_record(folder / "finetuned/weights.pt").classes == ("cat", "cow", "dog")
    assert read_results(folder / "report/results.json")["map_voc07"] == 0.5
    assert read_record(folder / "mined")["identity"]["thresh"] == -1
    assert read_description(folder / "exported")["schema"] == 1
    assert read_row(folder / "records/row.json")["row"] == "lite0-penultimate"
    assert read_stage(folder / "records/stage.json")["done"]
    assert read_comparison(folder / "records/comparison.json")["identity"]["method"] == "svm-hard"
    assert len(ExportedDetector(folder / "exported").detect(random_image(), thresh=-5)) > 0


@pytest.mark.parametrize("name", ["model.h5", "bbox.h5", "detections.h5", "features/toy"])
def test_earlier_and_later_versions_wrote_the_same_numbers(name):
    earlier, later = (content_of(KEPT / version / name) for version in ("78a98d6", "0.1.0"))
    since = {"/history/validation", *(key for key in later if key.endswith(("/row_sums", "/image_digests")))}
    assert earlier.keys() == later.keys() - since and len(earlier) >= 4
    assert [key for key in earlier if earlier[key] != later[key] and not key.endswith("/sources")] == []


def test_an_earlier_model_scores_as_todays():
    cache = FeatureCache.open(KEPT / "78a98d6/features/toy")
    detectors = [load_model(KEPT / version / "model.h5", ["detector"]) for version in VERSIONS]
    features = cache.regions(0).features
    np.testing.assert_array_equal(detectors[0].scores(features), detectors[1].scores(features))


# All but shards, whose last bytes are a checksum of the rest; their cache.json says the version first.
LATER = {
    **{str(path.relative_to(KEPT / "0.1.0")): READERS[kind] for path, kind in files("0.1.0").items()},
    "network.h5": lambda path: load_model(path, MODELS),
    "features/toy/cache.json": lambda path: FeatureCache.open(path.parent),
    "finetuned/finetune.json": lambda path: load_record(path.with_name("weights.pt")),
    "mined/mined.json": lambda path: read_record(path.parent),
    "report/results.json": read_results,
    "exported/detector.json": lambda path: read_description(path.parent),
    "records/row.json": read_row,
    "records/stage.json": read_stage,
    "records/comparison.json": read_comparison,
}


@pytest.mark.parametrize("name", [name for name in LATER if "shard-" not in name])
def test_a_file_of_a_later_version_says_what_to_install(tmp_path, name):
    shutil.copytree(KEPT / "0.1.0", tmp_path / "all")
    path = tmp_path / "all" / name
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        content |= {"schema": 2, "provenance": {**content.get("provenance", {}), "rcnn_svm": "7.1.0"}}
        path.write_text(json.dumps(content))
    else:
        with h5py.File(path, "a") as handle:
            handle.attrs["schema"] = 2
            handle.attrs["provenance"] = json.dumps({**json.loads(handle.attrs["provenance"]), "rcnn_svm": "7.1.0"})
            del handle.attrs["content"]
    sentence = r"schema 2, this version of rcnn-svm reads 1; rcnn-svm 7\.1\.0 wrote it"
    with pytest.raises(InputError, match=sentence) as told:
        LATER[name](path)
    assert "pip install --upgrade rcnn-svm" in str(told.value)


def test_the_sentences():
    check_schema("f", "toy", 3, 3)
    for found, sentence in (
        (2, "make it again"),
        (4, "a later rcnn-svm wrote it"),
        (True, "make it again"),
        (None, "None"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_schema("f", "toy", found, 3)


def test_every_kind_of_file_is_described():
    """Whatever a module names KIND, or writes as the `kind` of a JSON file, is in docs/formats.md."""
    root = KEPT.parents[1]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((root / "rcnn_svm").rglob("*.py")))
    kinds = re.findall(r'^ *(?:KIND|EVALUATION)(?:, SCHEMA)?(?:: [^=]+)? = "([^"]+)"', text, re.M)
    kinds += re.findall(r'"kind": "([^"]+)"', text)
    described = (root / "docs/formats.md").read_text(encoding="utf-8")
    assert len(kinds) > 12
    assert [kind for kind in kinds if f"`{kind}`" not in described and f"## {kind}\n" not in described] == []
