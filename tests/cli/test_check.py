"""check, and what run says of labels at its start."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from PIL import Image

from tests.cli.command import command

NO_STAGE = ["--merge-iou", "7"]  # ends a run at its first stage


@pytest.fixture
def flawed(own_data, tmp_path):
    """Options of the CSV with an object twice, a name spelled in two ways, an image twice and one without a label."""
    photos = shutil.copytree(own_data.images, tmp_path / "photos")
    rows = list(csv.reader(own_data.csv.open()))
    full = next(row for row in rows[1:] if row[5] == "ball")
    again = ["copy.jpg", *full[1:]]
    shutil.copy(photos / full[0], photos / "copy.jpg")
    Image.new("RGB", (30, 30)).save(photos / "new.png")
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([*rows, full, again, [*again[:5], "Ball", "0"]])
    return ["--csv", tmp_path / "boxes.csv", "--images", photos]


def test_all_is_found_and_drawn(flawed, tmp_path, capsys):
    assert command("check", *flawed, "--out", tmp_path / "labels.png") == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    for told in (
        "1 pair of names that are alike",
        "2 objects labelled twice",
        "1 group of identical",
        "without a label",
    ):
        assert told in printed
    with Image.open(tmp_path / "labels.png") as sheet:
        assert sheet.width > 1000


def test_json_has_all_of_it_and_nothing_else(flawed, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("check", *flawed, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert {finding["kind"]: finding["count"] for finding in record["findings"]} == {
        "alike": 1,
        "duplicates": 2,
        "identical": 1,
        "unlabelled": 1,
    }
    (side,) = record["sides"].values()
    assert side["images"] == 17 and side["classes"]["Ball"] == {"objects": 1, "images": 1}
    assert not (tmp_path / "cache").exists()


def test_sides_of_their_own_are_compared(own_data, tmp_path, capsys):
    words = ["--csv", own_data.root / "trainval.csv", "--test-csv", own_data.csv, "--images", own_data.images]
    assert command("check", *words, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert {name: side["images"] for name, side in record["sides"].items()} == {"train": 12, "test": 16}
    assert [(finding["kind"], finding["count"]) for finding in record["findings"]] == [("both_sides", 12)]


def test_objects_that_proposals_miss(own_data, tmp_path, capsys):
    data = ["--csv", own_data.csv, "--images", own_data.images]
    argv = ["propose", *data, "--method", "sliding", "--max-boxes", "1", "--out", tmp_path / "p.h5"]
    assert command(*argv) == 0
    capsys.readouterr()
    assert command("check", *data, "--proposals", tmp_path / "p.h5", "--json") == 0
    missed = json.loads(capsys.readouterr().out)["missed_by_proposals"]
    assert sum(objects for objects, _ in missed.values()) >= sum(lost for _, lost in missed.values()) > 0
    assert command("check", *data, "--proposals", tmp_path / "p.h5", "--out", tmp_path / "x.jpg") == 0
    assert "proposals" in capsys.readouterr().out
    other = ["--yolo", own_data.yolo, "--images", own_data.images]
    for number, path in enumerate(sorted(own_data.images.iterdir())):
        (tmp_path / "other").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "other" / f"other{number}.jpg")
        shutil.copy(own_data.yolo / f"{path.stem}.txt", tmp_path / "other" / f"other{number}.txt")
    other = ["--yolo", tmp_path / "other", "--proposals", tmp_path / "p.h5"]
    assert command("check", *other) == 2
    assert "has proposals for none of the images" in capsys.readouterr().err


def test_a_name_that_is_no_picture(own_data, tmp_path, capsys):
    assert command("check", "--csv", own_data.csv, "--images", own_data.images, "--out", tmp_path / "x.pdf") == 2
    assert "no name of a picture" in capsys.readouterr().err


def test_a_run_says_it_at_its_start_and_draws_again_what_changed(flawed, tmp_path, capsys):
    argv = ["run", *flawed, "--out", tmp_path / "o", *NO_STAGE]
    assert command(*argv) == 2
    (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("labels:")]
    assert "2 objects labelled twice" in told and told.endswith(f"drawn in {tmp_path / 'o' / 'labels.jpg'}")
    picture = tmp_path / "o" / "labels.jpg"
    before = picture.stat().st_mtime_ns
    assert command(*argv) == 2 and picture.stat().st_mtime_ns == before
    rows = (tmp_path / "boxes.csv").read_text().splitlines()
    (tmp_path / "boxes.csv").write_text("\n".join(rows[:-1]) + "\n")
    assert command(*argv) == 2 and picture.stat().st_mtime_ns > before
    assert json.loads((tmp_path / "o" / "labels.json").read_text())["sides"]["train"]["images"] > 0
