"""The page is one file that its own policy lets run, and nothing in a name is markup."""

import base64
import hashlib
import html.parser
import json
import re

import pytest

from fdet.pipeline.tools.reporting.page import as_json, page, payload
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.tools.reporting.report import make_report
from fdet.pipeline.tools.reporting.scores import with_errors

from .made_up import write_grid, write_run

NASTY = "</script><script>alert(1)</script><!--{{data}}&\u2028"


class Parsed(html.parser.HTMLParser):
    """Tags with their attributes, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.texts, self._open = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.texts.append((tag, dict(attrs), []))
            self._open = self.texts[-1][2]

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open is not None:
            self._open.append(data)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = write_grid(tmp_path_factory.mktemp("grid"))
    runs = [*sorted((folder / "runs").iterdir()), write_run(folder / "odd", classes=(NASTY, "b"))]
    return page(make_report(read_records(runs)))


def test_the_policy_names_every_script_and_style_and_nothing_else(text):
    parsed = Parsed(text)
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv"))
    assert "unsafe" not in policy and "default-src 'none'" in policy
    allowed = {"script": set(), "style": set()}
    for kind, found in allowed.items():
        found |= set(re.findall(r"'sha256-([^']+)'", policy.split(f"{kind}-src")[1].split(";")[0]))
    for tag, attributes, parts in parsed.texts:
        if attributes.get("type") != "application/json":
            digest = hashlib.sha256("".join(parts).encode()).digest()
            allowed[tag].remove(base64.b64encode(digest).decode())
    assert allowed == {"script": set(), "style": set()}


def test_the_page_names_nothing_to_load(text):
    loading = {"src", "srcset", "action", "style"}
    for tag, attributes in Parsed(text).tags:
        assert not loading & set(attributes), (tag, attributes)
        if "href" in attributes:
            assert attributes["href"].startswith(("#", "data:"))


def test_names_stay_data(text):
    (data,) = [p for _, a, p in Parsed(text).texts if a.get("type") == "application/json"]
    found = json.loads("".join(data))
    assert NASTY in found["classes"]
    assert text.count("<script") == 3 and "alert(1)</script>" not in text


def test_json_within_html_has_no_markup_and_no_nan():
    raw = as_json({"a": [float("nan"), "<&>"], "b": {1: float("inf")}})
    assert not set("<>&") & set(raw)
    assert json.loads(raw) == {"a": [None, "<&>"], "b": {"1": None}}


def test_a_run_that_cannot_be_read_is_on_the_page(tmp_path):
    run = write_run(tmp_path / "torn")
    (run / "run.json").write_text("{")
    found = payload(make_report(read_records([run])))
    assert [(r["name"], r["state"], r["group"]) for r in found["runs"]] == [
        ("torn", "unreadable", None)
    ]


def test_classes_without_objects_are_apart_and_long_names_have_short_ones(tmp_path):
    runs = [
        write_run(tmp_path / f"a_long_name_of_many_parts_{'that_all_share_' * 3}{name}")
        for name in ("first", "second")
    ]
    for run in runs:
        text = (run / "metrics.jsonl").read_text()
        (run / "metrics.jsonl").write_text(re.sub(r'"dish": [0-9.e-]+', '"dish": null', text))
    found = payload(make_report(read_records(runs)))
    assert (found["classes"], found["emptyClasses"]) == (["cell"], ["dish"])
    assert [run["short"] for run in found["runs"]] == ["…first", "…second"]
    assert found["runs"][0]["name"] == runs[0].name


def test_each_run_has_what_to_do_next(tmp_path):
    long, short = (write_run(tmp_path / f"e{n}", epochs=n) for n in (12, 2))
    records = with_errors(read_records([long, short]), None, None, "cpu", 1)
    first, second = (run["advice"] for run in payload(make_report(records))["runs"])
    assert first[0].startswith("AP still rises") and "train.epochs=24" in first[0]
    assert second[0].startswith("2 evaluations cannot show")


def test_the_same_runs_make_the_same_page(text, tmp_path):
    run = write_run(tmp_path / "run")
    assert page(make_report(read_records([run]))) == page(make_report(read_records([run])))
