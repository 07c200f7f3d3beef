"""The site of the documentation: built without a warning, read without a network, on any screen."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("furo")
pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    "index",
    "howto",
    "training",
    "tutorial/first-detector",
    "generated/commands/train-heads",
    "generated/settings/head",
    "generated/python",
    "generated/project/results",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Built as `make docs` does; a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    words = ["--fail-on-warning", "--keep-going", "--quiet", "--builder", "html"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, "-d", str(out / "doctrees"), DOCS, out / "html"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "https_proxy": "http://127.0.0.1:9"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield out / "html"
    shutil.rmtree(out)


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Where a server of this machine has the site; from a file, search shows results without excerpts."""
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Nothing is logged."""


def test_every_source_has_a_page(site):
    for source in (*DOCS.glob("*.md"), *DOCS.glob("tutorial/*.md")):
        assert (site / source.relative_to(DOCS)).with_suffix(".html").is_file()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_a_page_fits_its_screen(name, width, scheme, address, page):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{address}/{name}.html")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
    page.wait_for_load_state("load")
    assert page.evaluate(broken) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, background.removeprefix("rgb(").rstrip(")").split(","))) > 3 * 128
    assert light == (scheme == "light")


def test_the_search_finds_settings_options_and_words(address, page):
    for words, found in [
        ("optim.weight_decay", "optim.html"),
        ("--memory-limit", "train-heads.html"),
        ("EXIF", "extraction.html"),
    ]:
        page.goto(f"{address}/search.html?q={words}")
        page.wait_for_selector(f"ul.search li a[href*='{found}']")
        page.wait_for_load_state("networkidle")
