"""A video of the pictures that were drawn of another video's frames."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from rcnn_svm.artefacts.files import make_folder, sync_folder
from rcnn_svm.errors import InputError
from rcnn_svm.opencv import cv2


class AnnotatedVideo:
    """Writes pictures as an MP4 file, which takes its name when the block ends, however it ends.

    Args:
        path: the file; where no picture comes, there is none.
        fps: pictures a second.
    """

    def __init__(self, path: Path, fps: float):
        self._path, self._fps = path, fps
        # OpenCV takes the format from the suffix.
        self._temporary = path.with_name(f".{path.stem[:40]}.{os.getpid()}.part.mp4")
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> AnnotatedVideo:
        return self

    def add(self, picture: np.ndarray) -> None:
        """Write the next picture, (H, W, 3) uint8 RGB; all have one size.

        Raises:
            InputError: nothing can be written there.
        """
        if self._writer is None:
            make_folder(self._path.parent)
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, codec, self._fps, picture.shape[1::-1])
            if not self._writer.isOpened():
                raise InputError(f"cannot write {self._path}: OpenCV opens no MP4 file there; give another --out")
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()
            if self._temporary.exists():
                with open(self._temporary, "rb+") as stream:
                    os.fsync(stream.fileno())
                os.replace(self._temporary, self._path)
                sync_folder(self._path.parent)
