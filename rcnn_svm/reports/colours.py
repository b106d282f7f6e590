"""The colours of classes in pictures."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]


def class_colour(index: int) -> Colour:
    """Return a colour for a class; hues of neighbouring classes are far apart."""
    hue = (index * 0.61803398875 + 0.33) % 1.0
    value = (1.0, 0.78)[index % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def ink_on(colour: Colour) -> Colour:
    """Return black or white, whichever is read on a colour."""
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)
