"""`rcnn-svm extract` on a toy image set."""

import shutil

import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli.main import run_command
from rcnn_svm.data.voc import load_voc
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc

NUM_IMAGES = 8  # enough for every class to occur


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The folder of an image set."""
    root = tmp_path_factory.mktemp("toy")
    write_synthetic_voc(root, num_train=NUM_IMAGES, num_test=1)
    return root


@pytest.fixture
def arguments(toy, tmp_path, monkeypatch):
    """Data arguments; the current folder holds the image set, and proposals where the propose stage writes them."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy, "toy")
    database = load_voc("toy", classes=SYNTHETIC_CLASSES)
    boxes = [np.array([[0, 0, 20, 20], [5, 5, 30, 40], [9, 2, 40, 30]], np.float32)] * NUM_IMAGES
    proposals = ProposalSet(database.image_ids, boxes, {"method": "fast"})
    proposals.save(f"cache/proposals/{database.name}.fast.h5")
    return ["--voc", "toy", "--classes", ",".join(SYNTHETIC_CLASSES), "--crop-size", "32", "--threads", "1"]


def test_writes_a_cache_where_the_next_stage_looks(arguments, capsys):
    assert run_command("extract", [*arguments, "--max-boxes", "2"]) == 0
    folder = capsys.readouterr().out.splitlines()[-1].removeprefix("wrote ")
    assert folder == "cache/features/voc_2007_trainval.lite0.penultimate"
    cache = FeatureCache.open(folder)
    objects = sum(cache.regions(i).gt.sum() for i in range(NUM_IMAGES))
    assert (cache.num_rows, cache.dim) == (objects + 2 * NUM_IMAGES, 1280)
    assert cache.settings["proposals"] == {"method": "fast", "max_boxes": 2}
    assert cache.settings["padding"] == 0


def test_parts(arguments):
    options = [*arguments, "--shard-images", "3", "--out", "there"]
    assert run_command("extract", [*options, "--part", "1/2"]) == 0
    assert run_command("extract", [*options, "--part", "2/2"]) == 0
    assert FeatureCache.open("there").verify() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--proposals", "absent.h5"], "absent.h5 does not exist"),
        (["--padding", "16"], "padding 16"),
        (["--backbone", "resnet5"], "resnet50"),
    ],
)
def test_bad_input_is_one_sentence(arguments, capsys, options, words):
    assert run_command("extract", [*arguments, *options]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error


def test_asks_which_proposals(arguments, capsys):
    ProposalSet(["x"], [np.empty((0, 4))], {}).save("cache/proposals/voc_2007_trainval.sliding.h5")
    assert run_command("extract", arguments) == 2
    assert "--proposals" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["0/2", "3/2", "1"])
def test_refuses_a_part_that_is_none(arguments, part):
    with pytest.raises(SystemExit):
        run_command("extract", [*arguments, "--part", part])
