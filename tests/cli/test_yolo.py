"""YOLO's data sets through the command line: whose splits are the sides of a run, and what is said of images."""

from __future__ import annotations

import shutil

import pytest

from rcnn_svm.proposals.store import ProposalSet
from tests.cli.command import command

NO_STAGE = ["--merge-iou", "7"]  # ends a run at its first stage
QUICK = ["--method", "sliding", "--max-boxes", "5"]


@pytest.fixture
def pets(own_data, tmp_path):
    """A function that writes the synthetic images as an export of Roboflow with these splits."""

    def write(*splits: str):
        folder = tmp_path / "pets"
        names = (own_data.yolo / "classes.txt").read_text().split()
        lines = [f"{'valid' if split == 'val' else split}" for split in splits]
        folder.mkdir()
        (folder / "data.yaml").write_text(
            "".join(f"{split}: ../{line}/images\n" for split, line in zip(splits, lines, strict=True))
            + f"nc: {len(names)}\nnames: {names}\n"
        )
        ids = [*own_data.splits["trainval"], *own_data.splits["test"]]
        for number, image_id in enumerate(ids):
            part = folder / lines[min(number // 6, len(splits) - 1)]
            for name, source in (("images", own_data.images), ("labels", own_data.yolo)):
                (part / name).mkdir(parents=True, exist_ok=True)
                file = f"{image_id}.{'jpg' if name == 'images' else 'txt'}"
                shutil.copy(source / file, part / name / file)
        return folder

    return write


@pytest.mark.parametrize(
    ("splits", "told"),
    [
        (("train", "val", "test"), ["train: pets_trainval, 12 images", "test: pets_test, 4 images"]),
        (("train", "val"), ["train: pets_train, 6 images", "test: pets_val, 10 images"]),
        (("train",), ["train: pets_train, 12 images", "test: pets_test, 4 images"]),  # drawn
    ],
)
def test_splits_of_a_data_set_are_the_sides_of_a_run(pets, tmp_path, capsys, splits, told):
    assert command("run", "--yolo", pets(*splits), "--out", tmp_path / "o", *NO_STAGE) == 2
    printed = capsys.readouterr()
    assert [line for line in printed.out.splitlines() if line.startswith(("train:", "test:"))] == told
    assert "merge_iou" in printed.err or "merge-iou" in printed.err
    first = (tmp_path / "o" / "train_ids.txt").read_text().splitlines()[0]
    assert ("--test-fraction" in first) == (splits == ("train",))


def test_a_later_run_takes_what_the_splits_have_then(pets, own_data, tmp_path, capsys):
    folder = pets("train", "val")
    argv = ["run", "--yolo", folder / "data.yaml", "--out", tmp_path / "o", *NO_STAGE]
    assert command(*argv) == 2
    image_id = own_data.splits["trainval"][0]
    shutil.copy(folder / f"train/images/{image_id}.jpg", folder / "train/images/new.jpg")
    (folder / "train/labels/new.txt").write_text("")
    capsys.readouterr()
    assert command(*argv) == 2
    assert "train: pets_train, 7 images (1 more than in the run before, 0 less)" in capsys.readouterr().out


def test_stages_take_a_split_or_all(pets, own_data, tmp_path, capsys):
    folder = pets("train", "val", "test")
    for split, count in (("val", 6), ("trainval", 12), ("all", 16)):
        words = ["--yolo", folder, "--split", split, "--out", tmp_path / f"{split}.h5"]
        assert command("propose", *words, *QUICK) == 0
        assert len(ProposalSet.load(tmp_path / f"{split}.h5").image_ids) == count
    assert command("propose", "--yolo", folder, "--split", "dev", *QUICK) == 2
    assert "has no split 'dev'; take train, val, test, trainval or all" in capsys.readouterr().err


def test_images_without_labels_are_told(own_data, tmp_path, capsys):
    labels = shutil.copytree(own_data.yolo, tmp_path / "labels")
    for image_id in own_data.splits["test"]:
        (labels / f"{image_id}.txt").unlink()
    words = ["--yolo", labels, "--images", own_data.images, "--out", tmp_path / "p.h5"]
    assert command("propose", *words, *QUICK) == 0
    told = f"note: not used, because labels has no annotation of it: 4 of the images in {own_data.images}, the first is"
    assert told in capsys.readouterr().err
    assert len(ProposalSet.load(tmp_path / "p.h5").image_ids) == 12
