"""Frames of a video are those that were written, in RGB; a file that is none is refused in a sentence."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rcnn_svm.data.image_folder import images_at
from rcnn_svm.data.video import VIDEO_SUFFIXES, is_video, read_frames, read_video_header
from rcnn_svm.errors import InputError

FPS, FRAMES, SIZE = 10, 12, (48, 64)


@pytest.fixture
def video(tmp_path):
    """A video whose frame n is red 20 n, without green, on blue 90."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, SIZE[::-1])
    for index in range(FRAMES):
        writer.write(np.tile(np.uint8([90, 0, 20 * index]), (*SIZE, 1)))  # OpenCV's order
    writer.release()
    return path


def test_a_header_says_how_long_and_how_large(video):
    assert read_video_header(video) == (FRAMES, FPS, SIZE)


@pytest.mark.parametrize(("every", "first"), [(1, 0), (5, 0), (4, 3), (100, 2), (1, FRAMES)])
def test_frames_are_those_that_were_written(video, every, first):
    frames = list(read_frames(video, every=every, first=first))
    assert [frame.index for frame in frames] == [*range(first, FRAMES, every)]
    for index, time, image in frames:
        assert time == pytest.approx(index / FPS)
        assert (image.shape, image.dtype) == ((*SIZE, 3), np.uint8)
        np.testing.assert_allclose(image.mean(axis=(0, 1)), [20 * index, 0, 90], atol=4)


def test_frames_before_the_end_of_a_truncated_file_are_read(video, capfd):
    content = video.read_bytes()
    video.write_bytes(content[: (content.index(b"movi") + len(content)) // 2])  # half of the frames
    seen = 0
    with pytest.raises(InputError, match=rf"ends after \d of {FRAMES} frames; it is truncated"):
        for frame in read_frames(video):
            assert frame.index == seen
            seen += 1
    assert 0 < seen < FRAMES
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_what_is_no_video_is_refused_in_a_sentence(tmp_path, content, capfd):
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a video" if content is not None else "does not exist"):
        next(read_frames(path))
    assert capfd.readouterr() == ("", "")


def test_a_picture_is_no_sequence_of_pictures(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"a{number}.png"), np.zeros((*SIZE, 3), np.uint8))
    assert len(list(read_frames(tmp_path / "a0.png"))) == 1


def test_a_camera_that_is_not_there(capfd):
    with pytest.raises(InputError, match="camera 97 cannot be opened"):
        next(read_frames(97))


def test_folders_hold_videos_beside_images(tmp_path, video):
    (tmp_path / "a.JPG").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.MP4").touch()
    assert images_at([tmp_path], also=VIDEO_SUFFIXES) == [tmp_path / "a.JPG", tmp_path / "b" / "c.MP4", video]
    assert images_at([tmp_path]) == [tmp_path / "a.JPG"]
    assert [is_video(path) for path in ("a.MP4", "a.jpg", "mp4")] == [True, False, False]


def test_frames_that_do_not_fit_the_memory_are_refused_before_one_is_decoded(video, monkeypatch):
    monkeypatch.setattr("rcnn_svm.data.video._MOST_PIXELS", SIZE[0] * SIZE[1] - 1)
    with pytest.raises(InputError, match="its frames have 64 x 48 pixels, of 3,071 in all"):
        read_video_header(video)
    monkeypatch.setattr("rcnn_svm.data.video._MOST_PIXELS", SIZE[0] * SIZE[1])
    assert len(list(read_frames(video))) == FRAMES
