"""OpenCV reads image files as Pillow does here, and draws what is found."""

from __future__ import annotations

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from rcnn_svm.data.images import load_image
from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.errors import InputError
from rcnn_svm.export.pictures import draw_detections, read_image, save_picture


def smooth(height: int, width: int, channels: int) -> np.ndarray:
    y, x, c = np.mgrid[:height, :width, :channels]
    return (255 * (0.5 + 0.5 * np.sin(0.1 * x + 0.07 * y + c))).astype(np.uint8)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_files_have_the_same_pixels_upright(mode, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(smooth(40, 63, 3)).convert(mode)
    image.save(tmp_path / "a.jpg", exif=exif, quality=85)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), load_image(tmp_path / "a.jpg"))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1"])
def test_png_files_have_the_same_pixels_over_white(mode, tmp_path):
    Image.fromarray(smooth(40, 63, 4)).convert(mode).save(tmp_path / "a.png")
    found, expected = read_image(tmp_path / "a.png"), load_image(tmp_path / "a.png")
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), expected, atol=1 if mode in ("RGBA", "LA") else 0)


def test_sixteen_bits_keep_the_high_byte(tmp_path):
    values = np.arange(0, 65536, 13, np.uint16)[:5000].reshape(50, 100)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), load_image(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_file_is_refused(suffix, share, tmp_path):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"a\.\w+ is not an image that OpenCV can read to its end"):
        read_image(path)


def test_a_thumbnail_is_not_taken_for_the_end_of_an_image(tmp_path):
    thumbnail = io.BytesIO()
    Image.fromarray(smooth(20, 20, 3)).save(thumbnail, "JPEG")
    whole = io.BytesIO()
    Image.fromarray(smooth(60, 60, 3)).save(whole, "JPEG")
    content = whole.getvalue()
    length = (len(thumbnail.getvalue()) + 2).to_bytes(2, "big")
    with_thumbnail = content[:2] + b"\xff\xe2" + length + thumbnail.getvalue() + content[2:]
    (tmp_path / "a.jpg").write_bytes(with_thumbnail)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), load_image(tmp_path / "a.jpg"))
    (tmp_path / "a.jpg").write_bytes(with_thumbnail[:-20])
    with pytest.raises(InputError, match="truncated"):
        read_image(tmp_path / "a.jpg")


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="is a folder, expected a file"):
        read_image(tmp_path)


def test_boxes_are_drawn_where_they_are_and_nothing_else_changes(tmp_path):
    grey = np.full((100, 200, 3), 128, np.uint8)
    found = ImageDetections(np.array([1, 0]), np.float32([[60, 40, 120, 80], [-5, -5, 30, 20]]), np.float32([2, 1]))
    picture = draw_detections(grey, found, ["cat", "Köter"])
    assert picture.shape == grey.shape and (grey == 128).all()
    changed = np.argwhere((picture != 128).any(axis=2))
    assert (picture[40, 60:121] != 128).any(axis=1).all() and (picture[40:81, 120] != 128).any(axis=1).all()
    assert (picture[45:78, 65:115] == 128).all()
    assert changed[:, 0].max() <= 82
    save_picture(picture, tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    save_picture(picture, tmp_path / "a.jpg")
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - picture).mean() < 5


def test_a_picture_without_detections_is_the_image():
    image = smooth(30, 40, 3)
    nothing = ImageDetections(np.empty(0, np.int32), np.empty((0, 4), np.float32), np.empty(0, np.float32))
    np.testing.assert_array_equal(draw_detections(image, nothing, ["cat"]), image)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_transparent_pixels_are_laid_over_white_in_strips_as_at_once(tmp_path, kind, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (23, 11, 4), kind, endpoint=True)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    whole = read_image(tmp_path / "a.png")
    monkeypatch.setattr("rcnn_svm.export.pictures._STRIP", 50)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), whole)


def test_an_image_of_a_hundred_million_pixels_is_not_decoded(tmp_path):
    """OpenCV alone decodes ten times as many. It reads its limit as it is loaded, so another process looks."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    code = "import sys; from rcnn_svm.export.pictures import read_image; read_image(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "large.png"], capture_output=True, text=True)
    assert "large.png is not an image that OpenCV can read" in done.stderr
