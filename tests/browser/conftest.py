"""Pages in a real browser: Debian's Chromium, headless, driven by Playwright.

A test that takes `page` fails on any error in the console, any failed request, and any request to
another machine.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
]
_HOME = {"127.0.0.1", "localhost", "::1", None}


@dataclass
class Seen:
    """What a page did: the URLs that it asked for (inlined data: and blob: not among them), and
    what went wrong.
    """

    requests: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def request(self, request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob"):
            self.requests.append(request.url)
            if url.hostname not in _HOME:
                self.troubles.append(f"a request to {request.url}")

    def console(self, message) -> None:
        if message.type == "error":
            self.troubles.append(f"console: {message.text}")

    def failed(self, request) -> None:
        # A page that is left while it loads breaks its own requests off.
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"{request.url}: {request.failure}")

    def watch(self, page) -> None:
        page.on("request", self.request)
        page.on("console", self.console)
        page.on("pageerror", lambda error: self.troubles.append(f"uncaught: {error}"))
        page.on("requestfailed", self.failed)


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """A browser without extensions, cookies or history; module by module, as its loop blocks asyncio's."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def page(chromium, seen) -> Iterator:
    """A fresh page, 1280 x 800 px, watched; what it did stands in `seen`."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    opened = context.new_page()
    seen.watch(opened)
    yield opened
    context.close()
    assert not seen.troubles
