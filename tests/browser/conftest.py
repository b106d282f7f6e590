"""A browser for the pages that this package writes: opens one from disk and notes what it says and asks for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (1280, 360)  # CSS pixels: a desk and a small telephone
SCHEMES = ("light", "dark")
HEIGHT = 800
# A page that waits longer than this, in ms, waits for ever.
PATIENCE = 20_000


@dataclass
class OpenPage:
    """A page in a browser window of its own, and what it did since it was opened.

    Attributes:
        page: Playwright's page.
        console: what it wrote to the console, a line each, with its kind.
        errors: exceptions that nothing caught.
        requests: addresses that it asked for, other than its own and what it holds itself (`data:`, `blob:`).
    """

    page: Page
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def check_silent(self) -> None:
        """Fail where the page wrote to the console, raised, or asked for anything."""
        assert (self.console, self.errors, self.requests) == ([], [], [])

    def check_fits(self) -> None:
        """Fail where the page is wider than its window, so that a reader must scroll to the side."""
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= self.page.viewport_size["width"]


# Of a file and not of all: while Playwright's synchronous interface is there, an event loop runs in this thread, and
# whatever needs a loop of its own (asyncio.run, notebooks, dask) would fail in later tests.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window; where there is none, what needs it is skipped."""
    interface = pytest.importorskip("playwright.sync_api", reason="Playwright comes with the extra rcnn-svm[dev]")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on the PATH; install Chromium to run the tests of pages")
    with interface.sync_playwright() as playwright:
        # Nothing gets out, not even a question for an address. Without a sandbox: root and containers allow none.
        options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., OpenPage]]:
    """The function that opens a file as a page: open_page(path, width=1280, scheme="light")."""
    contexts = []

    def open_file(path: Path, width: int = WIDTHS[0], scheme: str = SCHEMES[0]) -> OpenPage:
        viewport = {"width": width, "height": HEIGHT}
        context = browser.new_context(viewport=viewport, color_scheme=scheme, service_workers="block")
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        opened, address = OpenPage(context.new_page()), path.resolve().as_uri()

        def note(asked: str) -> None:
            if asked.partition("#")[0] != address and not asked.startswith(("data:", "blob:")):
                opened.requests.append(asked)

        context.on("request", lambda request: note(request.url))
        opened.page.on("websocket", lambda socket: note(socket.url))
        opened.page.on("console", lambda message: opened.console.append(f"{message.type}: {message.text}"))
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.goto(address)
        return opened

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in SCHEMES], ids=lambda p: f"{p[0]}-{p[1]}")
def surroundings(request: pytest.FixtureRequest) -> tuple[int, str]:
    """A width and a colour scheme, as `open_page` takes them: each of both with each."""
    return request.param
