from __future__ import annotations

import colorsys
import ctypes
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.data.images import load_image
from rcnn_svm.data.voc import load_voc
from rcnn_svm.errors import InputError
from rcnn_svm.proposals import selective_search
from rcnn_svm.proposals.selective_search import SelectiveSearch

MODES = ("fast", "quality", "opencv-fast", "opencv-quality")


def as_set(boxes):
    return set(map(tuple, np.asarray(boxes).tolist()))


def check_valid(boxes, height, width):
    assert boxes.dtype == np.float32 and boxes.ndim == 2 and len(boxes) >= 1
    assert (boxes == np.floor(boxes)).all()
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] <= boxes[:, 2:]).all()
    assert boxes[:, 2].max() <= width - 1 and boxes[:, 3].max() <= height - 1
    assert len(as_set(boxes)) == len(boxes)


def one_hierarchy(image, k, names):
    """Regions of one colour space, threshold and similarity, found apart from all others."""
    parts = cv2.ximgproc.segmentation
    search = parts.createSelectiveSearchSegmentation()
    search.addImage(image)
    search.addGraphSegmentation(parts.createGraphSegmentation(0.8, k, k))
    create = [getattr(parts, f"createSelectiveSearchSegmentationStrategy{name}")() for name in names]
    search.addStrategy(parts.createSelectiveSearchSegmentationStrategyMultiple(*create))
    return search.process()


def test_colour_spaces_by_hand():
    pixels = np.array([[[0, 0, 0], [255, 0, 0], [10, 20, 30], [200, 180, 40]]], np.uint8)
    # r = R / (R + G + B), g likewise, 1/3 for black; I = (R + G + B) / 3
    assert selective_search._rgi(pixels)[0, :3].tolist() == [[85, 85, 0], [255, 0, 85], [42, 85, 20]]
    for rgb, (hue, saturation, value) in zip(pixels[0], selective_search._hsv(pixels)[0], strict=True):
        exact = np.array(colorsys.rgb_to_hsv(*(rgb / 255))) * 255
        np.testing.assert_allclose([hue, saturation, value], exact, atol=1)
    assert (selective_search._hue(pixels) == selective_search._hsv(pixels)[..., :1]).all()
    assert (np.ptp(selective_search._intensity(pixels), axis=2) == 0).all()


def test_fast_is_the_union_of_the_originals_eight_hierarchies(scene):
    image = scene(160, 500)
    found = [
        one_hierarchy(cv2.cvtColor(image, space), k, names)
        for space in (cv2.COLOR_RGB2HSV_FULL, cv2.COLOR_RGB2Lab)
        for k in (50, 100)
        for names in (("Color", "Texture", "Size", "Fill"), ("Texture", "Size", "Fill"))
    ]
    rects = np.concatenate(found)
    rects = rects[(rects[:, 2] >= 20) & (rects[:, 3] >= 20)]
    rects[:, 2:] += rects[:, :2] - 1
    boxes = SelectiveSearch("fast")(image)
    assert as_set(boxes) == as_set(rects)
    assert len(boxes) > 50


def test_opencv_modes_are_opencvs_own(scene):
    image = scene(70, 110)
    for mode in ("opencv-fast", "opencv-quality"):
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(image[..., ::-1].copy())
        search.switchToSelectiveSearchFast() if mode == "opencv-fast" else search.switchToSelectiveSearchQuality()
        rects = search.process()
        rects[:, 2:] += rects[:, :2] - 1
        assert as_set(SelectiveSearch(mode)(image)) == as_set(rects)


@pytest.mark.parametrize("mode", ["fast", "opencv-fast"])
def test_same_boxes_in_same_order_whatever_happened_before(scene, mode):
    image, other = scene(40, 150), scene(30, 120, seed=1)
    search = SelectiveSearch(mode)
    expected = search(image)
    libc = ctypes.CDLL(None)
    for seed in (1, 12345):
        libc.srand(seed)
        search(other)
        np.testing.assert_array_equal(search(image), expected)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1 if threads > 1 else 4)
        np.testing.assert_array_equal(SelectiveSearch(mode)(image), expected)
    finally:
        cv2.setNumThreads(threads)
    with ThreadPoolExecutor(3) as pool:
        first, _, second = pool.map(search, [image, other, image])
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, expected)


def test_max_boxes_keeps_the_first(scene):
    image = scene(40, 120)
    np.testing.assert_array_equal(SelectiveSearch("fast", 7)(image), SelectiveSearch("fast")(image)[:7])


SIZES = [(1, 1), (1, 30), (30, 1), (5, 5), (10, 30), (20, 200), (300, 30)]


@pytest.mark.parametrize(
    ("mode", "size"),
    [(mode, size) for mode in ("fast", "opencv-fast", "opencv-quality") for size in SIZES] + [("quality", (3, 30))],
)
def test_tiny_and_elongated_images(scene, mode, size):
    check_valid(SelectiveSearch(mode)(scene(*size)), *size)


def test_nothing_found_gives_the_whole_image():
    flat = np.full((40, 60, 3), 128, np.uint8)
    for mode in MODES:
        assert SelectiveSearch(mode)(flat).tolist() == [[0, 0, 59, 39]]
    # At a width of 500 the image is 4 pixels high: no region passes the limit of 20.
    assert SelectiveSearch("fast")(np.zeros((8, 1000, 3), np.uint8)).tolist() == [[0, 0, 999, 7]]


def test_limit_of_20_pixels_holds_at_a_width_of_500(scene):
    boxes = SelectiveSearch("fast")(scene(100, 250))
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    # 20 pixels there are 10 here; rounding both ends moves a side by less than a pixel.
    assert 9 <= sides.min() <= 12
    assert (SelectiveSearch("opencv-fast")(scene(100, 250))[:, 2:] < 250).all()


def test_large_and_tall_images_are_searched_at_a_bounded_size(monkeypatch):
    seen = []
    for mode in ("fast", "opencv-fast"):
        monkeypatch.setitem(selective_search._SEARCHES, mode, _Spy(selective_search._SEARCHES[mode], seen))
        for height, width in ((3000, 4000), (5000, 100)):
            check_valid(SelectiveSearch(mode)(np.zeros((height, width, 3), np.uint8)), height, width)
    assert seen == [(375, 500), (1000, 20), (750, 1000), (1000, 20)]


class _Spy:
    """A search that notes the size it is given and finds what it is told, x y width height."""

    def __init__(self, search, seen, found=()):
        self.width, self.min_box, self.seen, self.found = search.width, search.min_box, seen, found

    def __call__(self, image):
        self.seen.append(image.shape[:2])
        return self.found


def test_scaled_boxes_are_the_originals_formula(monkeypatch):
    fast = selective_search._SEARCHES["fast"]
    found = [[11, 20, 31, 21], [1, 2, 19, 90]]
    monkeypatch.setitem(selective_search._SEARCHES, "fast", _Spy(fast, [], found))
    # (boxes - 1) * scale + 1 counted from 1 is boxes * scale counted from 0; here scale = 250 / 500, halves go up.
    assert SelectiveSearch("fast")(np.zeros((200, 250, 3), np.uint8)).tolist() == [[6, 10, 21, 20]]


def test_grey_cmyk_16_bit_and_rotated_files(tmp_path, scene):
    image = scene(36, 90)
    grey = Image.fromarray(image).convert("L")
    grey.save(tmp_path / "grey.png")
    Image.fromarray(image).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    rotated = Image.fromarray(image).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned by 90 degrees clockwise
    rotated.save(tmp_path / "rotated.png", exif=exif)
    search = SelectiveSearch("fast")
    boxes = {path.stem: search(load_image(path)) for path in tmp_path.iterdir()}
    for found in boxes.values():
        check_valid(found, 36, 90)
        assert len(found) > 5
    np.testing.assert_array_equal(boxes["deep"], boxes["grey"])
    np.testing.assert_array_equal(boxes["rotated"], search(image))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 4), np.uint8), ((4, 4, 4), np.uint8), ((4, 4, 3), np.float64), ((0, 4, 3), np.uint8)],
)
def test_other_arrays_are_refused(shape, dtype):
    with pytest.raises(InputError, match=r"expected an array, \(H, W, 3\) uint8 RGB"):
        SelectiveSearch()(np.zeros(shape, dtype))


def test_unknown_mode_is_refused():
    with pytest.raises(InputError, match=r"'best'.*fast, quality, opencv-fast, opencv-quality"):
        SelectiveSearch("best")


@pytest.mark.voc
def test_objects_of_a_photograph_are_found(voc_root):
    database = load_voc(voc_root, ids=["000005"])
    annotation = database.annotation(0)
    boxes = SelectiveSearch("fast")(database.load_image(0))
    assert 1000 < len(boxes) < 4000
    assert iou_matrix(boxes, annotation.boxes[~annotation.difficult]).max(axis=0).min() > 0.5
