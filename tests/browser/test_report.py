"""The page of `fdet report`, driven as a reader drives it: by mouse and by keyboard."""

from dataclasses import replace

import pytest
from PIL import Image

from fdet.pipeline.runs.advice.rules import Advice
from fdet.pipeline.tools.reporting.gallery import Gallery, _shown
from fdet.pipeline.tools.reporting.page import page as made_page
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.tools.reporting.report import make_report

from ..pipeline.tools.reporting.made_up import write_grid, write_run

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page of a grid, an unfinished run, a torn one, hostile names, and a gallery of two images."""
    folder = write_grid(tmp_path_factory.mktemp("report"))
    runs = folder / "runs"
    (runs / "torn").mkdir()
    (runs / "torn" / "run.json").write_text("{")
    write_run(runs / "half", seed=5, reached=1)
    write_run(runs / NASTY, 0.2, settings=["optim.lr=0.01"], classes=(NASTY, "%{x}"))
    records = read_records(sorted(runs.iterdir()))
    texts = ("train longer (`fdet train-heads`)", NASTY)
    advice = tuple(Advice("made up", text) for text in texts)
    records = [replace(r, advice=advice if r.name == NASTY else ()) for r in records]
    report = make_report(records)
    boxes = [
        {"box": [5, 5, 20, 20], "label": k % 2, "score": s} for k, s in enumerate((0.9, 0.5, 0.2))
    ]
    truth = [{"box": [6, 6, 20, 20], "label": 0, "crowd": False}]
    images = [_shown(name, Image.new("RGB", (64, 48), "grey"), truth) for name in ("a.jpg", NASTY)]
    found = {record.name: [boxes, boxes[:1]] for record in report.best_runs[:3]}
    report = replace(report, gallery=Gallery(("cell", NASTY), images, found))
    path = folder / "report.html"
    path.write_text(made_page(report))
    return path


@pytest.fixture
def opened(page, file):
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    return page


def column(page, key: str) -> list[str]:
    """The texts of a column, down the table."""
    return page.evaluate(
        """key => {
          const heads = [...document.querySelectorAll('#table thead th')];
          const at = heads.findIndex(th => th.dataset.key === key);
          const rows = [...document.querySelectorAll('#table tbody tr')];
          return rows.map(tr => tr.children[at].firstChild.textContent);
        }""",
        key,
    )


def plotted(page, plot: str) -> int:
    """How many series a plot draws."""
    return page.evaluate("id => document.getElementById(id).data.length", plot)


def eventually(page, expression: str) -> None:
    """Playwright's own waiting evaluates text within the page, which its policy refuses."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(expression)


def test_each_run_with_advice_has_a_list(opened):
    assert opened.locator("#advice details[open]").count() == 1
    assert opened.inner_text("#advice summary") == NASTY
    assert opened.locator("#advice li").all_inner_texts() == [
        "train longer (fdet train-heads)",
        NASTY,
    ]
    assert opened.inner_text("#advice code") == "fdet train-heads"
    assert opened.locator("#no-advice").is_hidden()


def test_it_draws_every_plot_and_asks_nobody_for_anything(opened, seen):
    opened.wait_for_load_state("networkidle")
    assert len(seen.requests) == 1 and seen.requests[0].endswith("report.html")
    assert "30 runs (28 finished" in opened.inner_text("#sentence")

    plots = opened.locator(".plot")
    assert plots.count() >= 8
    assert opened.locator(".plot .main-svg").count() >= plots.count()
    assert all(plots.nth(k).get_attribute("aria-label") for k in range(plots.count()))


def test_names_are_shown_as_they_are_and_each_run_has_its_command(opened):
    assert opened.evaluate("document.querySelectorAll('img[src=x]').length") == 0
    opened.select_option("#view", "runs")
    assert NASTY in column(opened, "name")
    assert NASTY in opened.inner_text("#class-legend")

    assert opened.locator("#commands details").count() == 30
    opened.locator("#commands summary", has_text="fcos-int8-1").click()
    assert "--set train.seed=1" in opened.locator("#commands details[open] pre").inner_text()


def test_sorting_by_mouse_and_keyboard(opened):
    numbers = [float(text) for text in column(opened, "ap") if text != "—"]
    assert numbers == sorted(numbers, reverse=True)
    opened.click("th[data-key=ap] button")
    texts = column(opened, "ap")
    assert texts[-1] == "—", "what has no figure comes last both ways"
    numbers = [float(text) for text in texts if text != "—"]
    assert numbers == sorted(numbers)
    assert opened.get_attribute("th[data-key=ap]", "aria-sort") == "ascending"

    opened.focus("th[data-key=seconds] button")
    opened.keyboard.press("Enter")
    assert opened.get_attribute("th[data-key=seconds]", "aria-sort") == "descending"
    assert opened.evaluate("document.activeElement.textContent") == "seconds"
    opened.keyboard.press("Space")
    assert opened.get_attribute("th[data-key=seconds]", "aria-sort") == "ascending"
    assert opened.get_attribute("th[data-key=ap]", "aria-sort") == "none"


def test_filtering_by_words_and_by_axis_and_rows_of_runs(opened):
    before = plotted(opened, "curve-plot")
    opened.fill("#words", "int4 fcos")
    assert column(opened, "name") == ["fcos, int4, lr 0.0005"]
    assert opened.inner_text("#count") == "1 of 11 rows"
    assert 0 < plotted(opened, "curve-plot") < before
    opened.click("#clear")
    assert plotted(opened, "curve-plot") == before
    opened.select_option("#axis-filters label:nth-child(2) select", "=int8")
    assert set(column(opened, "axis codec")) == {"int8"}

    opened.click("#clear")
    assert len(column(opened, "name")) == 11
    opened.select_option("#view", "runs")
    assert len(column(opened, "name")) == 30
    assert {"unreadable", "unfinished", "finished"} == set(column(opened, "state"))


def test_plots_follow_their_controls(opened):
    before = plotted(opened, "cost-seconds")
    opened.locator("#series input").first.focus()
    opened.keyboard.press("Space")
    assert plotted(opened, "cost-seconds") < before
    opened.click("#all-off")
    assert plotted(opened, "cost-seconds") == 1, "the front stays"
    opened.click("#all-on")
    assert plotted(opened, "cost-seconds") == before

    opened.select_option("#curve-y", "loss")
    assert opened.get_attribute("#curve-plot", "aria-label") == "training loss over epoch"
    sentences = opened.inner_text("#sentences")
    assert "codec int8 against fp16" in sentences and "no difference shown" in sentences
    opened.select_option("#measure", "seconds")
    assert "seconds" in opened.inner_text("#sentences")


def test_signs_say_what_they_are_and_plots_are_enlarged(opened):
    for plot in ("cost-seconds", "curve-plot", "classes-plot", "effect-plot"):
        opened.locator(f"#{plot}").scroll_into_view_if_needed()
        sign = opened.locator(f"#{plot} .points path.point").last.bounding_box()
        opened.mouse.move(sign["x"] + sign["width"] / 2, sign["y"] + sign["height"] / 2)
        opened.wait_for_selector(f"#{plot} .hoverlayer .hovertext")

    opened.locator("#cost-seconds").scroll_into_view_if_needed()
    place = opened.locator("#cost-seconds .nsewdrag").bounding_box()
    middle = (place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    opened.mouse.move(*middle)
    opened.mouse.down()
    opened.mouse.move(middle[0] + 80, middle[1] + 60, steps=5)
    opened.mouse.up()
    shown = opened.evaluate("document.getElementById('cost-seconds').layout.xaxis.autorange")
    assert not shown


def test_the_gallery_has_a_slider_the_truth_and_chosen_heads(opened):
    assert opened.locator("#pictures .found-box").count() == 2 * (2 + 1)
    opened.focus("#score")
    opened.keyboard.press("Home")
    assert opened.inner_text("#score-shown") == "0.00"
    assert opened.locator("#pictures .found-box").count() == 2 * (3 + 1)
    opened.keyboard.press("End")
    assert opened.locator("#pictures .found-box").count() == 0
    assert opened.locator("#pictures .true-box").count() == 4
    opened.uncheck("#truth")
    assert opened.locator("#pictures .true-box").count() == 0

    opened.evaluate("() => { const s = document.getElementById('score'); s.value = 0.3; }")
    assert opened.locator("#pictures figure").count() == 4
    opened.locator("#heads input").nth(2).check()
    assert opened.locator("#pictures figure").count() == 6
    opened.check("#texts")
    assert "cell 0.90" in opened.locator("#pictures svg").first.text_content()


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
def test_it_fits_narrow_and_wide_light_and_dark(opened, width, scheme):
    opened.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    opened.set_viewport_size({"width": width, "height": 900})
    eventually(opened, "document.documentElement.scrollWidth <= innerWidth")
    eventually(
        opened,
        "[...document.querySelectorAll('.plot')].every(p =>"
        " p.querySelector('.main-svg').clientWidth <= p.clientWidth)",
    )
    lightness = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (lightness == "rgb(255, 255, 255)") == (scheme == "light")


def test_on_paper_it_is_light_and_nothing_sticks(opened):
    opened.emulate_media(color_scheme="dark", media="print")
    eventually(opened, "document.getElementById('curve-plot').layout.font.color === '#000'")
    assert (
        opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    assert not opened.is_visible("#words")


def test_the_tab_key_reaches_every_control_and_each_shows_its_focus(opened):
    reached = set()
    for _ in range(90):
        opened.keyboard.press("Tab")
        node = opened.evaluate(
            """() => { const e = document.activeElement;
              return [e.id || e.textContent.slice(0, 20) || e.tagName, getComputedStyle(e).outlineStyle]; }"""
        )
        reached.add(node[0])
        assert node[1] != "none" or node[0] == "BODY", node
    assert {"words", "view", "clear", "curve-y", "measure", "score", "truth"} <= reached
