"""The page has no script, nothing to load, and nothing in a name is markup."""

import base64
import hashlib
import html.parser
import re
import xml.etree.ElementTree as ElementTree

import pytest

from fdet.pipeline.tools.watching.charts import COLOURS, DASHES, Line, chart, look
from fdet.pipeline.tools.watching.page import page
from fdet.pipeline.tools.watching.readings import Reader, Reading

from ..reporting.made_up import write_run

NASTY = '"><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    runs = [write_run(folder / name, reached=2) for name in ("a", NASTY, "b")]
    (runs[1] / "run.json").write_text('{"' + NASTY)
    reader = Reader(lambda: 0.0)
    return page([reader.read(run) for run in runs], 0.0, 5.0)


class Parsed(html.parser.HTMLParser):
    """The tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_names_and_notes_are_text(text):
    parsed = Parsed(text)
    assert not {"script", "img", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    assert NASTY in "".join(parsed.text)
    assert any(a.get("title") == NASTY for tag, a in parsed.tags if tag == "th")


def test_the_policy_allows_the_style_sheet_and_nothing_else(text):
    policy = next(
        a["content"] for t, a in Parsed(text).tags if "default-src" in a.get("content", "")
    )
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")
    for tag, attributes in Parsed(text).tags:
        assert not {"src", "srcset", "style", "action"} & set(attributes), (tag, attributes)
        assert attributes.get("href", "#").startswith(("#", "data:,"))


def test_the_browser_reads_it_again_until_the_watching_ends(text):
    assert '<meta http-equiv="refresh" content="5">' in text
    assert "refresh" not in page([], 0.0, None) and "No run yet" in page([], 0.0, None)


def test_28_runs_have_different_lines():
    assert len({look(number) for number in range(COLOURS * DASHES)}) == COLOURS * DASHES


@pytest.mark.parametrize(
    "points",
    [
        ((0, 0.0),),
        ((5, 1.0), (10, 1.0)),
        ((1, -3.0), (2, 5.0)),
        ((1, 1.7e308), (2, -1.7e308)),
        ((1, 5e-324), (2, 0.0)),
        tuple((k, 1e300 if k == 50 else 1.0) for k in range(200)),
        ((2**53, 1.0),),
    ],
)
def test_a_chart_can_be_drawn_of_any_finite_figures(points):
    root = ElementTree.fromstring(chart("t", [Line(0, "<a>", points)], cut=True))
    (line,) = [node for node in root if node.tag == "path"]
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", line.get("d"))]
    assert len(numbers) >= 2 * len(points) and max(map(abs, numbers)) < 1e4


def test_a_peak_does_not_flatten_the_rest():
    points = tuple((k, 1e6 if k == 50 else 2.0) for k in range(200))
    assert "1e+06" not in chart("t", [Line(0, "a", points)], cut=True)
    assert "1\u202f000\u202f000" in chart("t", [Line(0, "a", points)])


def test_without_points_it_says_so():
    assert "nothing yet" in chart("t", [Line(0, "a", ())])


def test_times_are_hours_and_minutes(tmp_path):
    reading = Reading(
        tmp_path / "run", "training", changed=40.0, step=7, epoch=1, epochs=2, seconds=3700, left=90
    )
    text = page([reading], 100.0, None)
    for cell in ("1/2", "1:02", "0:02", "60 s ago"):
        assert f"<td>{cell}</td>" in text
