"""Every kind of image file becomes the same kind of array; what cannot is said in one sentence."""

from __future__ import annotations

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from rcnn_svm.data.images import as_image, image_size, load_image
from rcnn_svm.data.pixels import check_image
from rcnn_svm.errors import InputError


def photo(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth image, so that JPEG changes it little: red grows to the right, green downwards."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def jpeg_bytes(image: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def assert_is_plain_array(image: np.ndarray, height: int, width: int):
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous and image.flags.writeable


def test_alpha_is_laid_over_white(tmp_path):
    pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 51]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    # 51 / 255 = 0.2 of red (200, 0, 0) and 0.8 of white.
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), [[[200, 0, 0], [255] * 3, [244, 204, 204]]])


def test_rgb_png_comes_back_as_it_was(tmp_path):
    Image.fromarray(photo()).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    assert_is_plain_array(image, 40, 60)
    np.testing.assert_array_equal(image, photo())


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_black_white_and_palette(tmp_path, mode):
    original = Image.fromarray(photo()).convert(mode)
    original.save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    assert_is_plain_array(image, 40, 60)
    np.testing.assert_array_equal(image, np.asarray(original.convert("RGB")))


def test_grey_jpeg_has_three_equal_channels(tmp_path):
    Image.fromarray(photo()[..., 0]).save(tmp_path / "a.jpg")
    image = load_image(tmp_path / "a.jpg")
    assert_is_plain_array(image, 40, 60)
    assert (image == image[..., :1]).all()


def test_grey_alpha_is_laid_over_white(tmp_path):
    Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), [[[10] * 3, [255] * 3]])


def test_transparent_palette_entry_becomes_white(tmp_path):
    indexed = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    indexed.putpalette([10, 20, 30, 40, 50, 60])
    indexed.save(tmp_path / "a.png", transparency=1)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), [[[10, 20, 30], [255] * 3]])


def test_cmyk_jpeg(tmp_path):
    Image.fromarray(photo()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    image = load_image(tmp_path / "a.jpg")
    assert_is_plain_array(image, 40, 60)
    assert np.abs(image.astype(int) - photo()).mean() < 4


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm", "jp2"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    ramp = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), ramp)
    image = load_image(path)
    assert_is_plain_array(image, 64, 64)
    assert image.min() == 0 and image.max() == 255
    assert np.abs(image - ramp[..., None] / 257.0).max() <= 1


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_tiff_of_either_byte_order(tmp_path, order):
    samples = np.array([[0, 256, 32768, 65535]], order)
    mode = "I;16" if order == "<u2" else "I;16B"
    Image.frombytes(mode, (4, 1), samples.tobytes()).save(tmp_path / "a.tiff")
    np.testing.assert_array_equal(load_image(tmp_path / "a.tiff")[0, :, 0], [0, 1, 128, 255])


def test_16_bit_colour_png_is_scaled_not_clipped(tmp_path):
    samples = photo().astype(np.uint16) * 257
    assert cv2.imwrite(str(tmp_path / "a.png"), samples[..., ::-1])
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), photo())


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_range_are_refused(tmp_path, dtype):
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff.*32-bit.*no defined range"):
        load_image(tmp_path / "a.tiff")


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(load_image(tmp_path / "a.gif")[0, 0], [255, 0, 0])


# What a viewer does to the stored rows, by the EXIF standard's table of orientations.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_exif_orientation_is_applied_or_ignored(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    Image.fromarray(photo()).save(tmp_path / f"a.{suffix}", exif=exif, **options)
    for ignored, expected in ((False, UPRIGHT[orientation](photo())), (True, photo())):
        image = load_image(tmp_path / f"a.{suffix}", ignore_exif=ignored)
        assert image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).max() <= (6 if suffix == "jpg" else 0)
        assert image_size(tmp_path / f"a.{suffix}", ignore_exif=ignored) == expected.shape[:2]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_tiny_and_elongated(tmp_path, shape):
    Image.fromarray(photo(*shape)).save(tmp_path / "a.png")
    assert_is_plain_array(load_image(tmp_path / "a.png"), *shape)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.jpg does not exist"):
        load_image(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize("content", [b"", b"no image at all", b"<html></html>"])
def test_file_that_is_no_image(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jpg is not an image"):
        load_image(tmp_path / "a.jpg")


def test_folder_instead_of_a_file(tmp_path):
    with pytest.raises(InputError, match="is a folder, expected a file"):
        load_image(tmp_path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_truncated_jpeg(tmp_path, kept):
    content = jpeg_bytes(np.random.default_rng(0).integers(0, 256, (80, 80, 3)).astype(np.uint8))
    (tmp_path / "a.jpg").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"a\.jpg cannot be read to its end.*truncated"):
        load_image(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_damaged_files_never_raise_anything_else(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.img"
    refused = 0
    for file_format in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"):
        stream = io.BytesIO()
        Image.fromarray(photo()).save(stream, file_format)
        for _ in range(40):
            content = np.frombuffer(stream.getvalue(), np.uint8).copy()
            content[rng.integers(0, len(content), 8)] = rng.integers(0, 256, 8)
            path.write_bytes(content[: rng.integers(1, len(content) + 1)].tobytes())
            try:
                assert load_image(path).dtype == np.uint8
            except InputError as error:
                assert "a.img" in str(error)
                refused += 1
    assert refused > 100


def test_decompression_bomb(tmp_path):
    content = bytearray(jpeg_bytes(photo()))
    size = content.index(b"\xff\xc0") + 5  # height and width, in the header of the frame
    content[size : size + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jpg is refused because of its size"):
        load_image(tmp_path / "a.jpg")


def test_an_eps_file_called_jpg_starts_no_program(tmp_path, monkeypatch):
    """Pillow decodes EPS with the first `gs` on the PATH: a stranger's image would run a program."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    eps = tmp_path / "a.jpg"
    eps.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    for read in (load_image, image_size):
        with pytest.raises(InputError, match=r"a\.jpg is not an image in a format that can be read \(JPEG"):
            read(eps)
    assert not (tmp_path / "started").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    for read in (load_image, image_size):
        with pytest.raises(InputError, match=r"a\.jpg is a named pipe, expected a file"):
            read(tmp_path / "a.jpg")


def test_a_header_of_more_pixels_than_fit_is_refused_before_it_is_decoded(tmp_path):
    """13,000 x 13,000 is below the limit at which Pillow refuses, and took 2.3 GB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"")
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    for read in (load_image, image_size):
        with (
            pytest.warns(Image.DecompressionBombWarning),
            pytest.raises(InputError, match=r"a\.png cannot be used: it has 13000 x 13000 pixels"),
        ):
            read(tmp_path / "a.png")


def test_an_image_is_a_path_a_pil_image_or_its_pixels(tmp_path):
    Image.fromarray(photo()).save(tmp_path / "a.png")
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(photo()), photo()):
        np.testing.assert_array_equal(as_image(given), photo())
    array = photo()
    assert as_image(array) is array


def test_a_pil_image_is_decoded_as_its_file_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo()).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(photo()).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(photo()[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            np.testing.assert_array_equal(as_image(image), load_image(path))
    cut, whole = tmp_path / "cut.jpg", jpeg_bytes(photo(400, 600))
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    with Image.open(cut) as image, pytest.raises(InputError, match=r"cut\.jpg cannot be read to its end"):
        as_image(image)


def test_pixels_are_in_c_order_for_compiled_loops_and_other_libraries():
    turned = photo()[::-1, ::2]
    assert check_image(turned).flags.c_contiguous
    np.testing.assert_array_equal(check_image(turned), turned)


# What people have in its place, made from the pixels, and how the message says that it is converted.
IN_ITS_PLACE = {
    "np.uint8(255 * image)": lambda image: image / 255,
    "np.uint8(image)": lambda image: image.astype(np.float32),
    "np.uint8(image // 256)": lambda image: image.astype(np.uint16) * 257,
    "np.dstack([image] * 3)": lambda image: image[..., 2],
    "np.dstack([image[..., 0]] * 3)": lambda image: image[..., 2:],
    "image[..., :3]": lambda image: np.dstack([image, image[..., :1]]),
    "image.transpose(1, 2, 0)": lambda image: image.transpose(2, 0, 1),
    "np.uint8(255 * image.transpose(1, 2, 0)[..., :3])": lambda image: np.ones((4, 40, 60), np.float32),
    "image[0]": lambda image: image[None],
    "image.cpu().numpy().transpose(1, 2, 0)": lambda image: torch.from_numpy(image).permute(2, 0, 1),
    "np.uint8(255 * image.cpu().numpy()[0].transpose(1, 2, 0))": lambda image: torch.ones((1, 3, 40, 60)),
}


@pytest.mark.parametrize("conversion", IN_ITS_PLACE)
def test_what_is_no_image_is_refused_with_its_conversion(conversion):
    image = IN_ITS_PLACE[conversion](photo())
    with pytest.raises(InputError) as refused:
        check_image(image)
    assert f"shape {tuple(image.shape)} and type {image.dtype}, expected an array, (H, W, 3) uint8" in str(
        refused.value
    )
    assert str(refused.value).endswith(f"; convert it with {conversion}")
    converted = check_image(eval(conversion, {"np": np, "image": image}))
    assert converted.shape == (40, 60, 3)
    if set(np.unique(np.asarray(image))) > {1}:
        assert np.abs(converted.astype(int)[..., 2] - 90).max() <= 1


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ([[1, 2]], "the image is of type list, expected an array"),
        (None, "the image is of type NoneType, expected an array"),
        (np.zeros((0, 4, 3), np.uint8), "give one image at a time"),
        (np.zeros((2, 4, 4, 3), np.uint8), "give one image at a time"),
        (np.zeros((4, 4, 3), object), "give one image at a time"),
        (np.full((4, 4, 3), -1.5), "its values are from -1.5 to -1.5, so give the pixels before they were normalised"),
        (np.full((4, 4, 3), np.nan), "its values are from nan to nan"),
    ],
)
def test_what_cannot_be_converted_is_refused(image, said):
    with pytest.raises(InputError, match=said):
        check_image(image)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("suffix", ["png", "tif", "gif", "jpg"])
def test_large_images_are_converted_in_strips_as_in_one_piece(tmp_path, mode, suffix, monkeypatch):
    """So an image takes half the memory: what is decoded and the result, and no third and fourth of either."""
    image = Image.fromarray(np.dstack([photo(), photo()[..., 0]]), "RGBA")
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    options = {"transparency": 3} if (mode, suffix) in (("P", "png"), ("P", "gif")) else {}
    exif = Image.Exif()
    exif[0x0112] = 6
    try:
        image.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    except (OSError, ValueError):
        pytest.skip("no such file can be written")
    whole = load_image(tmp_path / f"a.{suffix}")
    monkeypatch.setattr("rcnn_svm.data.images._STRIP", 7 * whole.shape[1])
    np.testing.assert_array_equal(load_image(tmp_path / f"a.{suffix}"), whole)
    assert_is_plain_array(load_image(tmp_path / f"a.{suffix}"), *whole.shape[:2])


@pytest.mark.parametrize("suffix", ["webp", "jp2"])
def test_decoders_that_take_twice_the_memory_get_half_the_pixels(tmp_path, suffix, monkeypatch):
    Image.fromarray(photo()).save(tmp_path / f"a.{suffix}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 60)
    with pytest.raises(InputError, match="it has 60 x 40 pixels, of 1,200 in all"):
        load_image(tmp_path / f"a.{suffix}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2 * 40 * 60)
    assert load_image(tmp_path / f"a.{suffix}").shape == (40, 60, 3)
