from __future__ import annotations

import numpy as np
import pytest
import scipy.io
from PIL import Image

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli.main import run_command
from rcnn_svm.proposals.store import ProposalSet

OBJECT = """<object><name>{name}</name><difficult>0</difficult><bndbox>
<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


@pytest.fixture
def devkit(tmp_path, monkeypatch, scene):
    """Two images in VOC layout; the working folder is empty."""
    root = tmp_path / "VOCdevkit" / "VOC2007"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for i in (1, 2):
        Image.fromarray(scene(60, 80, i)).save(root / f"JPEGImages/00000{i}.jpg")
        text = OBJECT.format(11, 11, 50, 50, name="dog")
        (root / f"Annotations/00000{i}.xml").write_text(
            f"<annotation><filename>00000{i}.jpg</filename><size><width>80</width><height>60</height>"
            f"<depth>3</depth></size>{text}</annotation>"
        )
    (root / "ImageSets/Main/trainval.txt").write_text("000001\n000002\n")
    monkeypatch.chdir(tmp_path)
    return ["--voc", str(tmp_path / "VOCdevkit"), "--classes", "dog"]


def test_boxes_are_written_and_their_recall_printed(devkit, tmp_path, capsys):
    assert run_command("propose", [*devkit, "--method", "opencv-fast", "--jobs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["class", "objects", "recall@0.5"]
    assert lines[1].split()[:2] == ["dog", "2"]
    path = tmp_path / "cache/proposals/voc_2007_trainval.opencv-fast.h5"
    assert lines[-1] == f"wrote {path.relative_to(tmp_path)}"
    assert ProposalSet.load(path).settings["method"] == "opencv-fast"


def test_default_is_the_originals_fast_mode(devkit, tmp_path):
    assert run_command("propose", [*devkit, "--max-boxes", "4"]) == 0
    proposals = ProposalSet.load(tmp_path / "cache/proposals/voc_2007_trainval.fast.h5")
    assert [len(boxes) for boxes in proposals.boxes] == [4, 4]


def test_precomputed_boxes_are_imported(devkit, tmp_path, capsys):
    cells = np.empty((1, 2), object)
    cells[0] = [np.array([[11.0, 11, 50, 50]]), np.array([[1.0, 1, 60, 80]])]
    names = np.empty((2, 1), object)
    names[:, 0] = ["000001", "000002"]
    scipy.io.savemat(tmp_path / "v.mat", {"boxes": cells, "images": names})
    command = [*devkit, "--precomputed", str(tmp_path / "v.mat"), "--out", "p.h5"]
    assert run_command("propose", command) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["dog", "2", "0.500", "0.500", "0.667"]
    assert ProposalSet.load("p.h5").boxes_of("000001").tolist() == [[10, 10, 49, 49]]
    assert run_command("propose", command) == 0
    assert run_command("propose", [*devkit, "--method", "sliding", "--out", "p.h5"]) == 2
    assert "made with" in capsys.readouterr().err
    assert run_command("propose", [*devkit, "--method", "sliding", "--out", "p.h5", "--overwrite"]) == 0


def test_wrong_input_is_one_sentence_and_exit_code_2(devkit, tmp_path, capsys):
    assert run_command("propose", [*devkit, "--precomputed", "nowhere.mat"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("rcnn-svm propose: error: nowhere.mat does not exist") and error.count("\n") == 1
    (tmp_path / "VOCdevkit/VOC2007/JPEGImages/000002.jpg").unlink()
    assert run_command("propose", [*devkit, "--method", "sliding"]) == 2
    assert "000002.jpg" in capsys.readouterr().err


def test_boxes_merged_by_either_stage_are_the_same(devkit):
    limits = ["--max-boxes", "40", "--merge-iou", "0.4"]
    assert run_command("propose", [*devkit, "--method", "sliding", "--out", "all.h5"]) == 0
    assert run_command("propose", [*devkit, "--method", "sliding", "--out", "few.h5", *limits]) == 0
    kept = ProposalSet.load("few.h5")
    assert kept.settings["merge_iou"] == 0.4
    assert all(1 < len(boxes) < 40 for boxes in kept.boxes)

    extract = [*devkit, "--crop-size", "32", "--threads", "1"]
    assert run_command("extract", [*extract, "--proposals", "all.h5", "--out", "cache", *limits]) == 0
    assert FeatureCache.open("cache").num_rows == 2 + sum(map(len, kept.boxes))  # and an object in each image
    # A cache made from the other file would be refused if the two differed in any setting.
    assert run_command("extract", [*extract, "--proposals", "few.h5", "--out", "cache"]) == 0


def test_impossible_merging_is_refused(devkit, capsys):
    assert run_command("propose", [*devkit, "--method", "sliding", "--merge-iou", "1.5"]) == 2
    assert "merge_iou is 1.5, expected an IoU between 0 and 1" in capsys.readouterr().err
    assert run_command("propose", [*devkit, "--method", "sliding", "--merge-iou", "0.5", "--out", "p.h5"]) == 0
    assert run_command("extract", [*devkit, "--proposals", "p.h5", "--max-boxes", "9", "--out", "cache"]) == 2
    assert "make them again with the propose stage" in capsys.readouterr().err
