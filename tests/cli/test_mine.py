"""The mine command: what it takes from images and videos, how it goes on, and that it leaves a person's work alone."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli import mine as command_module
from rcnn_svm.mining import mined_regions
from tests.cli.colours import CAT, DOG, save_image
from tests.cli.command import command

FPS = 5


def save_video(path, seconds=4, *, cats=True):
    """Save a yellow video with a window of green, on which the detector fires, but for its first second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (80, 60))
    for frame in range(seconds * FPS):
        pixels = np.tile(np.uint8([0, 255, 255]), (60, 80, 1))
        if cats and frame >= FPS:
            pixels[:30, :30] = (0, 255, 0)
        writer.write(pixels)
    writer.release()
    return path


def lines_of(out):
    return [json.loads(text) for text in (out / "manifest.jsonl").read_text().splitlines()]


def test_regions_that_fire_are_taken_from_images_and_videos(seeing, tmp_path, capsys):
    image, video, out = save_image(tmp_path / "photos" / "a.png"), save_video(tmp_path / "b.avi"), tmp_path / "out"
    assert command("mine", "--model", seeing, video, tmp_path / "photos", "--out", out) == 0
    lines = lines_of(out)
    of_image = {line["class"]: line for line in lines if line["source"] == str(image)}
    assert of_image["cat"]["box"] == CAT and of_image["cat"]["score"] == pytest.approx(0.7, abs=0.01)
    assert of_image["dog"]["box"] == DOG and of_image["dog"]["score"] == pytest.approx(-0.4, abs=0.01)
    [of_video] = [line for line in lines if line["source"] == str(video) and line["score"] > 0]
    assert of_video["class"] == "cat" and of_video["box"] == CAT
    # Of four frames, one a second, three show it; it is one line.
    assert of_video["seen"] == 3
    assert of_video["frame"] % FPS == 0 and of_video["time"] == of_video["frame"] / FPS
    assert all(line["keep"] is True and (out / line["crop"]).exists() for line in lines)
    cache = FeatureCache.open(out / "features")
    assert cache.num_rows == len(lines)
    told = capsys.readouterr().out
    assert "cat" in told and f"--mined {out / 'manifest.jsonl'}" in " ".join(told.split())
    assert (out / "sheet-001.jpg").exists() and not (out / "parts").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--max-score", 0.5], {"dog"}),
        (["--thresh", 0], {"cat"}),
        (["--per-image", 1], {"cat"}),
        (["--thresh", 5], set()),
    ],
)
def test_guards_limit_what_is_taken(seeing, tmp_path, options, expected, capsys):
    image, out = save_image(tmp_path / "a.png"), tmp_path / "out"
    assert command("mine", "--model", seeing, image, "--out", out, *options) == 0
    assert {line["class"] for line in lines_of(out) if line["box"] in (CAT, DOG)} == expected
    if not expected:
        assert "nothing to learn" in capsys.readouterr().out


def test_every_says_how_far_frames_are_apart(seeing, tmp_path):
    video, out = save_video(tmp_path / "b.avi"), tmp_path / "out"
    assert command("mine", "--model", seeing, video, "--out", out, "--every", 0.2, "--thresh", 0) == 0
    assert sum(line["seen"] for line in lines_of(out)) == 3 * FPS


def test_what_a_person_struck_out_stays(seeing, tmp_path, capsys):
    image, out = save_image(tmp_path / "a.png"), tmp_path / "out"
    words = ("mine", "--model", seeing, image, "--out", out)
    assert command(*words) == 0
    (out / "manifest.jsonl").write_text("")
    assert command(*words) == 0
    assert "done already" in capsys.readouterr().out
    assert (out / "manifest.jsonl").read_text() == ""
    assert command(*words, "--thresh", -0.5) == 2
    assert "thresh: -1.0 there, -0.5 wanted" in capsys.readouterr().err
    assert (out / "manifest.jsonl").read_text() == ""
    assert command(*words, "--thresh", -0.5, "--overwrite") == 0
    assert lines_of(out)


def test_inspect_says_what_a_person_left(seeing, tmp_path, capsys):
    out = tmp_path / "out"
    assert command("mine", "--model", seeing, save_image(tmp_path / "a.png"), "--out", out) == 0
    lines = lines_of(out)
    lines[0]["keep"] = False
    (out / "manifest.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    capsys.readouterr()
    assert command("inspect", out) == 0
    told = capsys.readouterr().out
    assert command("inspect", out / "manifest.jsonl") == 0
    assert capsys.readouterr().out == told
    assert f"{len(lines) - 1} as background, 1 struck out" in told
    assert command("inspect", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    left = {cls: [line["score"] for line in lines[1:] if line["class"] == cls] for cls in ("cat", "dog")}
    assert {each["class"]: (each["kept"], each["highest"]) for each in found["classes"]} == {
        cls: (len(scores), max(scores)) for cls, scores in left.items() if scores
    }
    assert found["settings"]["thresh"] == -1 and found["regions"] == len(lines)


def test_an_interrupted_command_goes_on_behind_its_last_part(seeing, tmp_path, monkeypatch):
    for number in range(3):
        save_image(tmp_path / "photos" / f"{number}.png")
    video = save_video(tmp_path / "photos" / "a.avi", 6)
    words = ("mine", "--model", seeing, tmp_path / "photos", "--every", 0.4)
    assert command(*words, "--out", tmp_path / "whole") == 0
    monkeypatch.setattr(mined_regions, "PART_IMAGES", 4)
    save, looked_at = mined_regions.save_part, []

    def interrupted(path, frames, settings):
        save(path, frames, settings)
        looked_at.extend((frame.source, frame.frame) for frame in frames)
        if len(looked_at) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(mined_regions, "save_part", interrupted)
    assert command(*words, "--out", tmp_path / "out") == 130
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    assert command(*words, "--out", tmp_path / "out") == 0
    # Every frame once, in the order of the files.
    assert looked_at == [
        *((str(tmp_path / "photos" / f"{number}.png"), None) for number in range(3)),
        *((str(video), frame) for frame in range(0, 6 * FPS, 2)),
    ]
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "whole")


def test_a_file_that_cannot_be_read_is_named_and_left_out(seeing, tmp_path, capsys):
    image, bad, out = save_image(tmp_path / "a.png"), tmp_path / "b.mp4", tmp_path / "out"
    bad.write_bytes(b"no video")
    assert command("mine", "--model", seeing, bad, image, "--out", out) == 2
    error = capsys.readouterr().err
    assert f"{bad} cannot be read as a video" in error
    assert f"1 of 2 files could not be read to their end, first {bad}" in " ".join(error.split())
    assert {line["source"] for line in lines_of(out)} == {str(image)}
    assert command("mine", "--model", seeing, bad, "--out", tmp_path / "none") == 2
    assert "none of the 1 files can be read" in capsys.readouterr().err


def test_limits_that_take_nothing_are_refused(seeing, tmp_path, capsys):
    image = save_image(tmp_path / "a.png")
    assert command("mine", "--model", seeing, image, "--max-score", -2, "--out", tmp_path / "out") == 2
    assert "--max-score -2 is not above --thresh -1" in capsys.readouterr().err
    assert command("mine", "--model", seeing, image, "--max-boxes", 5, "--out", tmp_path / "out") == 2
    assert "--max-boxes needs --method" in capsys.readouterr().err


def test_the_defaults_are_those_of_the_guards():
    from rcnn_svm.mining.unlabelled import Guards

    guards = Guards()
    assert (guards.thresh, guards.per_image) == (command_module.THRESH, command_module.PER_IMAGE)
