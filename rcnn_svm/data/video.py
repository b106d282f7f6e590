"""Video files as frames, upright and in RGB; one is in memory at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rcnn_svm.artefacts.files import atomic_stream, file_digest, file_name, require_regular
from rcnn_svm.errors import InputError
from rcnn_svm.opencv import cv2

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")

# With what files begin that are text and no video: playlists, which name other files. A few videos begin with letters.
_PROBED = 8
_LETTERS = frozenset(b"\t\n\r" + bytes(range(0x20, 0x7F)))
_VIDEOS_IN_LETTERS = (b"RIFF", b"YUV4MPEG", b"nut/mult")
# Pixels of a frame: what decodes it holds several, and the result takes 3 bytes each.
_MOST_PIXELS = 1 << 26

# A header's number of frames is an estimate in some formats; fewer than this share of it is a damaged file.
_WHOLE = 0.9


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        index: number of the frame, from 0.
        time: seconds since the beginning.
        image: (H, W, 3) uint8 RGB.
    """

    index: int  # type: ignore[assignment]  # in the place of the method of tuples, which nobody asks of a frame
    time: float
    image: np.ndarray


class VideoHeader(NamedTuple):
    """What a video says of itself.

    Attributes:
        frames: number of frames, in some formats an estimate; 0 where it is not known.
        fps: frames a second; 0 where it is not known.
        size: (height, width), pixels.
    """

    frames: int
    fps: float
    size: tuple[int, int]


def is_video(path: str | os.PathLike) -> bool:
    """Return whether a file is a video by its name."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def read_video_header(path: str | os.PathLike) -> VideoHeader:
    """Return what a video file says of itself.

    Raises:
        InputError: the file is missing, no regular file or no video.
    """
    with _opened(path) as capture:
        return _header(capture)


def read_frames(source: str | os.PathLike | int, *, every: int = 1, first: int = 0) -> Iterator[Frame]:
    """Yield frames of a video in their order; those that are left out are decoded, and not converted.

    Args:
        source: a file in any format of FFmpeg; or the number of a camera, which ends with whoever reads it.
        every: yield every n-th frame.
        first: number of the first frame to yield.

    Raises:
        InputError: the file is missing, no regular file or no video, or there is no such camera; or, after its last
            frame, the file is damaged or truncated.
    """
    with _opened(source) as capture:
        header, index = _header(capture), 0
        while capture.grab():
            if index >= first and (index - first) % every == 0:
                found, pixels = capture.retrieve()
                if found:
                    time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                    yield Frame(index, time, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            index += 1
        if index < _WHOLE * header.frames or not index:
            raise InputError(
                f"video {source} ends after {index} of {header.frames} frames; it is truncated or damaged: restore it"
            )


def save_frames(path: str | os.PathLike, folder: str | os.PathLike, *, seconds: float) -> Path:
    """Write frames of a video as JPEG files, those that are not there yet, and return the folder they are in.

    Args:
        path: the video.
        folder: where the video gets a folder of its own, by its name and content.
        seconds: between two frames.

    Raises:
        InputError: as `read_frames`.
    """
    from PIL import Image  # frames are read where it is not installed, too

    read_video_header(path)
    frames = Path(folder) / f"{file_name(Path(path).stem)}-{file_digest(path)[:8]}"
    for frame in read_frames(path, every=frames_in(path, seconds)):
        picture = frames / f"{frame.index:07d}.jpg"
        if not picture.exists():
            with atomic_stream(picture) as stream:
                Image.fromarray(frame.image).save(stream, format="JPEG", quality=95)
    return frames


def frames_in(path: str | os.PathLike, seconds: float) -> int:
    """Return how many frames of a video there are in some seconds, at least one; by 25 a second where it says none.

    Raises:
        InputError: as `read_video_header`.
    """
    return max(round(seconds * (read_video_header(path).fps or 25)), 1)


def _header(capture: cv2.VideoCapture) -> VideoHeader:
    frames, fps, width, height = (
        capture.get(name)
        for name in (
            *(cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS),
            *(cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT),
        )
    )
    return VideoHeader(max(int(frames), 0), max(fps, 0.0), (int(height), int(width)))


@contextlib.contextmanager
def _opened(source: str | os.PathLike | int) -> Iterator[cv2.VideoCapture]:
    """Yield a video that OpenCV opened."""
    is_camera = isinstance(source, int)
    if not isinstance(source, int):
        try:
            require_regular(source)
            with open(source, "rb") as stream:
                head = stream.read(_PROBED)
        except FileNotFoundError as error:
            raise InputError(f"video file {source} does not exist; correct the path or restore the file") from error
        except OSError as error:
            raise InputError(f"video file {source} cannot be read ({error.strerror}); restore it") from error
        if head and _LETTERS.issuperset(head) and not head.startswith(_VIDEOS_IN_LETTERS):
            raise InputError(
                f"{source} cannot be read as a video: it is text, such as a playlist, which would have other files "
                "read; give the videos themselves"
            )
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        # FFmpeg alone: other readers of OpenCV take `a01.jpg` for the first of a sequence of images.
        if isinstance(source, int):
            capture = cv2.VideoCapture(source)
        else:
            capture = cv2.VideoCapture(os.fspath(source), cv2.CAP_FFMPEG)
    finally:
        cv2.utils.logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            if is_camera:
                raise InputError(f"camera {source} cannot be opened; give the number of one that is connected")
            raise InputError(
                f"{source} cannot be read as a video: it is damaged, or in a format that FFmpeg does not know; restore "
                "it, or convert it to MP4"
            )
        height, width = _header(capture).size
        if height * width > _MOST_PIXELS:
            raise InputError(
                f"{source} is refused: its frames have {width} x {height} pixels, of {_MOST_PIXELS:,} in all that fit "
                "the memory for one; scale it down"
            )
        yield capture
    finally:
        capture.release()
