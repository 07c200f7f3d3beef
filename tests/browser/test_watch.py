"""The page of `fdet watch` in a browser: it asks nobody for anything, and reads itself again."""

import pytest

from fdet.pipeline.tools.watching.page import page as made_page
from fdet.pipeline.tools.watching.readings import Reader

from ..pipeline.tools.reporting.made_up import write_run

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of long names, finished and not, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("watched")
    for k in range(10):
        write_run(folder / f"{'a_long_name_' * 6}{k}", 0.1 * k, reached=None if k % 2 else 2)
    (write_run(folder / NASTY) / "run.json").write_text("{")
    return sorted(folder.iterdir())


@pytest.fixture
def file(runs, tmp_path):
    path = tmp_path / "watch.html"
    path.write_text(written(runs, None))
    return path


def written(runs, every):
    reader = Reader(lambda: 0.0)
    return made_page([reader.read(run) for run in runs], 0.0, every)


def test_it_draws_each_run_and_loads_nothing(page, seen, file, runs):
    page.goto(file.as_uri())
    page.wait_for_load_state("networkidle")
    assert len(seen.requests) == 1
    assert page.locator("figure svg").count() == 3
    assert page.locator("figure svg .line").count() == 3 * 10
    assert page.locator("tbody tr").count() == 11
    assert page.locator("tbody th", has_text=NASTY).count() == 1


def test_pointing_at_a_row_dims_the_other_runs(page, file):
    page.goto(file.as_uri())
    opacity = "k => getComputedStyle(document.querySelector(`figure .r${k}`)).opacity"
    page.locator("#r3 th").hover()
    assert page.evaluate(opacity, 3) == "1" and float(page.evaluate(opacity, 4)) < 0.5
    page.locator("h1").hover()
    page.locator("#r4 a").focus()
    assert page.evaluate(opacity, 4) == "1" and float(page.evaluate(opacity, 3)) < 0.5


def test_the_browser_reads_it_again(page, file, runs):
    file.write_text(written(runs[:2], 1.0))
    page.goto(file.as_uri())
    assert page.locator("tbody tr").count() == 2
    file.write_text(written(runs, None))
    page.wait_for_selector("#r10")


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1400, "light")])
def test_it_fits_narrow_and_wide_light_and_dark(page, file, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    lightness = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (lightness == "rgb(255, 255, 255)") == (scheme == "light")
    page.evaluate("document.querySelector('.scroll').scrollLeft = 1e6")
    name, frame = (page.locator(s).first.bounding_box() for s in ("tbody th", ".scroll"))
    assert abs(name["x"] - frame["x"]) < 3
