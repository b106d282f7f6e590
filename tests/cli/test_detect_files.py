"""What detect takes besides images, and what it writes for other tools."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from rcnn_svm.data import load_coco, load_csv
from rcnn_svm.data.video import read_frames, read_video_header
from rcnn_svm.detection.detector import Detector
from rcnn_svm.reports.pictures import MIN_SIDE
from tests.cli.colours import CAT, DOG, save_image
from tests.cli.command import command

FRAMES, FPS = 10, 5


@pytest.fixture
def image(tmp_path):
    return save_image(tmp_path / "photo.png")


@pytest.fixture
def video(tmp_path, image):
    """A video whose frames of even number show what the image shows, the others yellow alone."""
    path, pixels = tmp_path / "film.avi", np.asarray(Image.open(image))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, pixels.shape[1::-1])
    for number in range(FRAMES):
        shown = pixels if number % 2 == 0 else np.full_like(pixels, [255, 255, 0])
        writer.write(shown[..., ::-1])
    writer.release()
    return path


def detect(model, tmp_path, *words):
    return command("detect", *words, "--model", model, "--out", tmp_path / "out")


def test_every_output_says_the_same(tmp_path, image, seeing, capsys):
    names = {name: tmp_path / f"found.{name}" for name in ("json", "csv", "coco", "yolo")}
    options = [word for name, path in names.items() for word in (f"--{name}", path)]
    assert detect(seeing, tmp_path, image, *options, "--thresh", -0.5) == 0
    printed = capsys.readouterr().out
    assert all(f"wrote {path}\n" in printed for path in names.values())
    expected = Detector.load(seeing).detect(image, thresh=-0.5)
    assert [found.name for found in expected] == ["cat", "dog"]

    (entry,) = json.loads(names["json"].read_text())
    assert entry == {"image": str(image), "picture": str(tmp_path / "out" / "photo.jpg"), **expected.to_dict()}
    with names["csv"].open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [str(image)] * 2 and [row["frame"] for row in rows] == ["", ""]
    assert [row["class"] for row in rows] == ["cat", "dog"]
    np.testing.assert_array_equal([[float(row[key]) for key in ("x1", "y1", "x2", "y2")] for row in rows], [CAT, DOG])
    assert [float(row["score"]) for row in rows] == expected.scores.tolist()
    assert (names["yolo"] / "classes.txt").read_text() == "cat\ndog\n"
    lines = [line.split() for line in (names["yolo"] / "photo.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == ["0", "1"]
    for line, (x1, y1, x2, y2), score in zip(lines, (CAT, DOG), expected.scores, strict=True):
        x, y, width, height, written = map(float, line[1:])
        assert (x * 80 - width * 40, x * 80 + width * 40) == pytest.approx((x1, x2 + 1), abs=1e-3)
        assert (y * 60 - height * 30, y * 60 + height * 30) == pytest.approx((y1, y2 + 1), abs=1e-3)
        assert written == pytest.approx(score, abs=1e-6)

    # What is written can be learnt from.
    for database in (load_csv(names["csv"], tmp_path), load_coco(names["coco"], tmp_path)):
        assert tuple(database.classes) == ("cat", "dog") and database.image_path(0) == image
        np.testing.assert_array_equal(database.annotation(0).boxes, [CAT, DOG])
        assert database.annotation(0).classes.tolist() == [0, 1]
    annotations = json.loads(names["coco"].read_text())["annotations"]
    assert [annotation["score"] for annotation in annotations] == expected.scores.tolist()


def test_json_on_standard_output_is_all_there_is(tmp_path, image, seeing, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    before = {path.name for path in tmp_path.iterdir()}
    assert command("detect", image, bad, image.parent, "--model", seeing, "--json", "-") == 2
    out, err = capsys.readouterr()
    entries = json.loads(out)
    assert [entry["image"] for entry in entries] == [str(image)]
    assert [found["class"] for found in entries[0]["objects"]] == ["cat"] and "picture" not in entries[0]
    assert "reported: scores above 0" in err and "bad.png is not an image" in err
    assert {path.name for path in tmp_path.iterdir()} == before
    assert command("detect", bad, "--model", seeing, "--json", "-", "--out", tmp_path / "out") == 2
    assert json.loads(capsys.readouterr().out) == []


def test_frames_of_a_video_are_looked_at_and_drawn(tmp_path, video, seeing, capsys):
    outputs = ("--json", tmp_path / "found.json", "--coco", tmp_path / "coco.json", "--yolo", tmp_path / "labels")
    assert detect(seeing, tmp_path, video, "--every", 3, *outputs) == 0
    assert f"{video}: 2 of 4 frames show objects: cat 2\n" in capsys.readouterr().out
    entries = json.loads((tmp_path / "found.json").read_text())
    assert [(entry["frame"], len(entry["objects"])) for entry in entries] == [(0, 1), (3, 0), (6, 1), (9, 0)]
    assert [entry["time"] for entry in entries] == [0, 0.6, 1.2, 1.8] and entries[0]["image"] == str(video)
    np.testing.assert_array_equal(entries[2]["objects"][0]["box"], CAT)
    drawn = tmp_path / "out" / "film.mp4"
    frames = [frame.image for frame in read_frames(drawn)]
    assert len(frames) == 4 and max(frames[0].shape) == MIN_SIDE
    assert np.abs(frames[0].astype(int) - frames[1]).max() > 100  # a box, or none
    assert read_video_header(drawn).fps == pytest.approx(FPS / 3, abs=0.01)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["film.mp4"]
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [
        "classes.txt",
        *(f"film_frame_{number:06d}.txt" for number in (0, 3, 6, 9)),
    ]
    images = json.loads((tmp_path / "coco.json").read_text())["images"]
    assert [(image["video"], image["frame"]) for image in images] == [(str(video), number) for number in (0, 3, 6, 9)]


def test_a_truncated_video_does_not_end_the_batch(tmp_path, image, video, seeing, capsys):
    content = video.read_bytes()
    video.write_bytes(content[: (content.index(b"movi") + len(content)) // 2])
    missing = tmp_path / "missing.mp4"
    assert detect(seeing, tmp_path, missing, video, image, "--json", tmp_path / "found.json") == 2
    *told, last = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "missing.mp4 does not exist" in told[0] and "film.avi ends after" in told[1] and len(told) == 2
    assert last == f"rcnn-svm detect: error: 2 of 3 images could not be read, the first is {missing}"
    entries = json.loads((tmp_path / "found.json").read_text())
    assert 0 < len(entries) - 1 < FRAMES and entries[-1]["image"] == str(image)
    assert len(list(read_frames(tmp_path / "out" / "film.mp4"))) == len(entries) - 1


def test_patterns_and_cameras(tmp_path, image, video, seeing, capsys):
    for name in ("a.png", "deep/b.png"):
        (tmp_path / "more" / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(tmp_path / "more" / name)
    found = tmp_path / "found.json"
    assert detect(seeing, tmp_path, tmp_path / "more" / "**" / "*.png", "--json", found) == 0
    names = [entry["image"] for entry in json.loads(found.read_text())]
    assert names == [str(tmp_path / "more" / name) for name in ("a.png", "deep/b.png")]
    assert detect(seeing, tmp_path, tmp_path / "*.gif") == 2
    assert f"nothing matches {tmp_path / '*.gif'}; correct the pattern" in capsys.readouterr().err
    # A file that is called like a pattern is that file.
    odd = image.rename(tmp_path / "photo[1].png")
    assert detect(seeing, tmp_path, odd, "--json", found) == 0
    assert json.loads(found.read_text())[0]["image"] == str(odd)
    assert detect(seeing, tmp_path, 97, odd, "--json", found) == 2
    assert "camera 97 cannot be opened" in capsys.readouterr().err and len(json.loads(found.read_text())) == 1
    save_image(tmp_path / "7.png")
    # A video beside its own annotation is not replaced by it.
    film = video.rename(tmp_path / "out" / "film.mp4")
    assert command("detect", film, "--model", seeing, "--out", film.parent) == 2
    assert "is one of the images, and a picture would replace it" in capsys.readouterr().err
