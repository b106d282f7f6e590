"""OpenCV, told before it is loaded what it reads at that moment alone: every module takes `cv2` from here.

Whatever loads OpenCV before this package decides for it: OpenCV's own limit of an image is 1 Gpixel, 3 GB.
"""

import os

# Pixels of an image file that OpenCV decodes at most, as many as Pillow.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "89478485")
# FFmpeg writes what it thinks of a damaged file past Python, and reads this when the first video is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
import cv2

__all__ = ["cv2"]
