"""Letters beyond ASCII in pictures and plots: in a font that has them, or spelled out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from rcnn_svm.detection.image_detections import ImageDetections
from rcnn_svm.reports import lettering as module
from rcnn_svm.reports.lettering import lettering
from rcnn_svm.reports.pictures import contact_sheet, draw_detections
from rcnn_svm.reports.style import new_figure, save_figure

# For private use: no font of any machine has it.
LETTER = "\U0010fffd"


def test_an_umlaut_is_in_the_font_that_comes_along_and_a_private_letter_is_spelled_out():
    assert lettering("Käfer")[::2] == ("Käfer", ())
    assert lettering("Käfer").font.name == "DejaVuSans.ttf"
    assert lettering("Жук")[::2] == ("Жук", ())
    assert lettering("Ka\u0308fer").shown == "Käfer"
    assert lettering(f"ä{LETTER}")[::2] == ("ä\\U0010fffd", (LETTER,))
    assert lettering("\udc80").shown == "\\udc80"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A font with a bar for the letter, A and space, which is one of the machine for this test."""
    names = {".notdef": None, "bar": ord(LETTER), "A": ord("A"), "space": ord(" ")}
    pen = TTGlyphPen(None)
    for move, *points in (("moveTo", (0, 0)), ("lineTo", (0, 700)), ("lineTo", (600, 700)), ("lineTo", (600, 0))):
        getattr(pen, move)(*points)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(list(names))
    font.setupCharacterMap({code: name for name, code in names.items() if code})
    font.setupGlyf({name: pen.glyph(dropImpliedOnCurves=False) for name in names})
    font.setupHorizontalMetrics(dict.fromkeys(names, (700, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Bars", "styleName": "Regular"})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(tmp_path / "bars.ttf")
    entries = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(tmp_path / "bars.ttf")
    caches = (lettering, module._has, module._installed_fonts)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path / "bars.ttf"
    font_manager.fontManager.ttflist = entries
    for cache in caches:
        cache.cache_clear()


def test_an_installed_font_is_taken_for_letters_that_only_it_has(installed):
    assert lettering(f"{LETTER} A") == (f"{LETTER} A", installed, ())
    assert lettering("Käfer").font.name == "DejaVuSans.ttf"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = np.array(label(f"{LETTER} A"))
        save_figure(titled(f"{LETTER} A"), installed.parent / "plot.png")
    assert (picture != np.array(label("\\U0010fffd A"))).any()


def label(name: str) -> Image.Image:
    found = ImageDetections(np.array([0]), np.array([[100, 200, 299, 399]], np.float32), np.array([1.5], np.float32))
    return draw_detections(np.full((600, 800, 3), 128, np.uint8), found, [name])


def titled(name: str):
    figure = new_figure(3, 2)
    figure.subplots().set_title(name, parse_math=False)
    return figure


def test_letters_beyond_ascii_are_told_apart_in_pictures():
    assert (np.array(label("Käfer")) != np.array(label("Köfer"))).any()
    sheets = [np.array(contact_sheet([Image.new("RGB", (40, 30))], [name], name)) for name in ("Käfer", "Köfer")]
    assert (sheets[0] != sheets[1]).any()
    np.testing.assert_array_equal(np.array(label(f"ä{LETTER}")), np.array(label("ä\\U0010fffd")))


@pytest.mark.parametrize("name", ["Käfer", LETTER, "圆盘", "🐞"])
def test_a_plot_of_any_name_warns_of_nothing(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(titled(name), tmp_path / "plot.png")
    Image.open(tmp_path / "plot.png").load()
