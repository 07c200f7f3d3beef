"""The page of `fdet report`, driven as a reader drives it: by mouse and by keyboard."""

from dataclasses import replace

import pytest
from PIL import Image

from fdet.pipeline.runs.advice.rules import Advice
from fdet.pipeline.tools.reporting.gallery import Gallery, _shown
from fdet.pipeline.tools.reporting.page import page as made_page
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.tools.reporting.report import make_report
from fdet.pipeline.tools.reporting.score_figures import score_figures_of

from ..pipeline.tools.reporting.made_up import write_grid, write_run
from ..pipeline.tools.reporting.test_score_figures import content

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
    best = report.best_runs[0].name
    scores = score_figures_of(content(3))
    scores["classes"][0]["name"] = NASTY
    scored = [replace(r, scores=scores if r.name == best else {}) for r in report.records]
    report = replace(report, records=tuple(scored))
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
    assert column(opened, "name") == ["fcos int4 lr=0.0005"]
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
    assert "cell 0.90" in opened.locator("#pictures .label").all_text_contents()
    opened.uncheck("#texts")
    assert opened.locator("#pictures .label").count() == 0


def test_pictures_are_enlarged_by_keyboard_and_by_mouse(opened):
    button = opened.locator("#pictures button.picture").first
    button.focus()
    opened.keyboard.press("Enter")
    assert opened.locator("#enlarged").is_visible()
    titles = [opened.inner_text("#enlarged-title")]
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        opened.keyboard.press(key)
        titles.append(opened.inner_text("#enlarged-title"))
    assert titles[0].startswith("a.jpg") and titles[2].startswith(NASTY)
    assert titles[4] == titles[0] and titles[5].startswith(NASTY), "it goes round"
    small = button.bounding_box()
    assert opened.locator("#enlarged .picture").bounding_box()["width"] > 1.5 * small["width"]
    opened.keyboard.press("Escape")
    assert not opened.locator("#enlarged").is_visible()
    assert opened.evaluate("document.activeElement.className") == "picture", "where it was before"
    button.click()
    opened.click("#close")
    assert not opened.locator("#enlarged").is_visible()


def test_labels_are_readable_and_do_not_cover_each_other(opened):
    label = opened.locator("#pictures .label").first
    style = label.evaluate("e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]")
    assert style[0] == "rgb(255, 255, 255)" and style[1].startswith("rgba(0, 0, 0, 0.8")
    shown = [box for each in opened.locator("#pictures figure").first.locator(".label").all()
             if (box := each.bounding_box())]  # fmt: skip
    assert shown
    for k, a in enumerate(shown):
        for b in shown[:k]:
            assert (
                a["x"] + a["width"] <= b["x"] + 0.1
                or b["x"] + b["width"] <= a["x"] + 0.1
                or a["y"] + a["height"] <= b["y"] + 0.1
                or b["y"] + b["height"] <= a["y"] + 0.1
            )


def test_labels_return_to_their_boxes_when_a_narrow_window_grows(opened):
    def places():
        return opened.evaluate(
            "[...document.querySelectorAll('button.picture .label')].map(node =>"
            " [node.hidden, Math.round(node.getBoundingClientRect().left"
            " - node.closest('.picture').getBoundingClientRect().left)])"
        )

    wide = places()
    opened.set_viewport_size({"width": 110, "height": 800})
    wait_until(opened, lambda: places() != wide)
    opened.set_viewport_size({"width": 1280, "height": 800})
    wait_until(opened, lambda: places() == wide)


def wait_until(page, holds) -> None:
    for _ in range(100):
        if holds():
            return
        page.wait_for_timeout(100)
    pytest.fail("it never came about")


def test_28_classes_have_lines_of_their_own(opened):
    signs = opened.evaluate(
        "[...Array(28).keys()].map(k => `${colourOnPicture(k)} ${dashOnPicture(k)}`)"
    )
    assert len(set(signs)) == 28


def test_a_wide_table_keeps_its_names_and_says_that_it_scrolls(opened):
    opened.set_viewport_size({"width": 400, "height": 900})
    eventually(opened, "document.getElementById('more').textContent.includes('scroll sideways')")
    opened.evaluate("document.getElementById('scroll').scrollLeft = 1e6")
    eventually(opened, "document.getElementById('more').textContent === ''")
    name = opened.locator("#table tbody th").first.bounding_box()
    frame = opened.locator("#scroll").bounding_box()
    assert abs(name["x"] - frame["x"]) < 3, "the name has not left"


def test_the_scores_of_a_run_have_a_table_and_three_plots(opened):
    rows = opened.locator("#thresholds tbody tr").all_inner_texts()
    assert len(rows) == 4 and rows[0].split("\t") == [
        "all classes",
        "10",
        "0.40",
        "80.0",
        "50.0",
        "60.0",
    ]
    assert NASTY in rows[1]
    assert plotted(opened, "precision-plot") == 4 and plotted(opened, "calibration-plot") == 1
    counts = opened.evaluate(
        "document.getElementById('confusion-plot').layout.annotations.map(a => a.text)"
    )
    assert sorted(counts) == ["1", "2", "5", "5", "5"]


def test_the_figures_that_matter_most_stand_before_the_axes(opened):
    keys = opened.evaluate(
        "[...document.querySelectorAll('#table thead th')].map(h => h.dataset.key)"
    )
    assert keys[:5] == ["name", "state", "seeds", "epochs", "ap"] and keys[5].startswith("axis ")


def test_columns_of_classes_can_be_folded(opened):
    assert opened.locator("th[data-key^='class ']").count() == 4
    opened.uncheck("#class-columns")
    assert opened.locator("th[data-key^='class ']").count() == 0
    assert opened.locator("#empty-classes").is_hidden()


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
def test_it_fits_narrow_and_wide_light_and_dark(opened, width, scheme):
    opened.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    opened.set_viewport_size({"width": width, "height": 900})
    eventually(opened, "document.documentElement.scrollWidth <= innerWidth")
    opened.evaluate(
        "document.querySelector('#axis-filters select').append(option('', 'a long value '.repeat(20)))"
    )
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
