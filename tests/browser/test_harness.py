"""What the other tests of this folder rely on: a page that is not silent is noticed, as is one that is too wide."""

from __future__ import annotations

import pytest

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title>
<style>body { margin: 0; background: Canvas; color-scheme: light dark }</style>
%s</html>"""


@pytest.fixture
def page_of(tmp_path):
    """The function that writes a page around a body."""

    def write(body: str):
        path = tmp_path / "a page.html"  # a space, as folders of users have
        path.write_text(PAGE % body, encoding="utf-8")
        return path

    return write


def test_a_page_is_opened_at_a_width_and_in_a_colour_scheme(page_of, open_page, surroundings):
    opened = open_page(page_of('<img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><p>x'), *surroundings)
    dark = opened.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (opened.page.evaluate("innerWidth"), "dark" if dark else "light") == surroundings
    opened.check_silent()
    opened.check_fits()


def test_what_a_page_says_and_asks_for_is_noted_and_that_it_is_too_wide(page_of, open_page):
    opened = open_page(
        page_of(
            """<script>console.log('one', 2)</script>
            <script>throw new Error('three')</script>
            <link rel="stylesheet" href="beside.css">
            <img alt="" src="https://example.org/image">
            <script>fetch('https://example.org/fetch').catch(() => {})</script>
            <script>navigator.sendBeacon('https://example.org/beacon')</script>
            <script>new WebSocket('wss://example.org/socket')</script>
            <div style="width: 400px">x</div>"""
        ),
        width=360,
    )
    for _ in range(100):
        if len(opened.requests) < 5:
            opened.page.wait_for_timeout(50)
    assert "log: one 2" in opened.console and opened.errors == ["three"]
    assert sorted(address.rpartition("/")[2] for address in opened.requests) == [
        *("beacon", "beside.css", "fetch", "image", "socket")
    ]
    for kind in ("console", "errors", "requests"):  # each alone is no silence
        with pytest.raises(AssertionError):
            type(opened)(opened.page, **{kind: getattr(opened, kind)}).check_silent()
    with pytest.raises(AssertionError):
        opened.check_fits()
