"""The table's cells, and that compare.json has what stands in it."""

import json

from fdet.pipeline.tools.comparison.picture import draw_comparison
from fdet.pipeline.tools.comparison.report import Report

from .made_up import EXTRACTION, source

CACHED = source(aps=(0.4, 0.42), seconds=100.0, extraction=60.0, disk=812_340_000)
ONLINE = source("online", aps=(0.41, 0.43), seconds=200.0, disk=200_000_000, device_mb=321.4)


def cells(report):
    """The table's rows below the heading."""
    rows = [row.strip("|").split("|") for row in report.table().splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_a_row_a_source():
    assert cells(Report((CACHED, ONLINE), EXTRACTION, 4)) == [
        [
            *("cached", "41.0 (40.0..42.0)", "40.0 (39.0..41.0)", "100.0 s"),
            *("160.0 s (0.80 x)", "120.0 s (0.60 x)", "106.0 s (0.53 x)"),
            *("4.0", "1000 MiB", "—", "812.3 MB"),
        ],
        [
            *("online", "42.0 (41.0..43.0)", "41.0 (40.0..42.0)", "200.0 s"),
            *["200.0 s (1.00 x)"] * 3,
            *("2.0", "1000 MiB", "321 MiB", "200.0 MB"),
        ],
    ]


def test_one_seed_has_no_spread():
    assert cells(Report((source(),), EXTRACTION, 1))[0][1:3] == ["40.0", "39.0"]


def test_all_lines_of_the_table_have_one_width():
    assert (
        len({len(row) for row in Report((CACHED, ONLINE), EXTRACTION, 4).table().splitlines()}) == 1
    )


def test_totals_are_held_against_online_else_finetune_else_scratch_else_nothing():
    names = ("cached", "scratch", "finetune", "online")
    sources = [source(name) for name in names]
    for count, name in enumerate(names[1:], 2):
        report = Report(tuple(sources[:count]), EXTRACTION, count)
        assert report.reference.source == name
        assert f"x: relative to {name}." in report.to_markdown()
    alone = Report(tuple(sources[:1]), EXTRACTION, 1)
    assert alone.reference is None
    assert " x" not in alone.table()


def test_findings_stand_under_what_they_say_of_the_cache():
    text = Report((CACHED, ONLINE), EXTRACTION, 4).to_markdown()
    loses, gains, even = (
        text.index(f"**Where {who}**") for who in ("cached loses", "cached gains", "neither does")
    )
    assert loses < text.index("- Disk: 812.3 MB") < gains
    assert (
        gains < text.index("- Time: with one run, extraction included, cached takes 0.80 x") < even
    )
    assert even < text.index("- AP: the 1.0 by which online is above cached")


def test_the_report_says_how_the_extraction_is_known_and_what_is_not_finished():
    text = Report((CACHED, ONLINE), EXTRACTION, 6).to_markdown()
    assert "60.0 s (measured: 64 of 200 images were extracted again, and scaled)" in text
    assert "Not finished: 4 of 6 runs." in text
    assert "Seeds: 0, 1." in text
    text = Report((ONLINE,), None, 2).to_markdown()
    assert "Extraction" not in text
    assert "Not finished" not in text


def test_the_json_has_the_figures_of_the_table():
    data = json.loads(json.dumps(Report((CACHED, ONLINE), EXTRACTION, 4).to_json()))
    cached = data["sources"]["cached"]
    assert cached["total_seconds"] == {"1": 160.0, "3": 120.0, "10": 106.0}
    assert (cached["held_against"], cached["ratios"]["1"]) == ("online", 0.8)
    assert cached["best_ap"]["minimum"] == 0.4
    assert (cached["seeds"], cached["device_mb"], cached["disk_bytes"]) == (
        [0, 1],
        None,
        812_340_000,
    )
    assert [(run["source"], run["seed"]) for run in data["runs"]] == [
        *(("cached", 0), ("cached", 1), ("online", 0), ("online", 1))
    ]
    assert data["extraction"]["seconds"] == 60.0
    assert {finding["verdict"] for finding in data["findings"]} == {"loses", "gains", "even"}


def test_the_picture_has_a_colour_for_each_source(tmp_path):
    from PIL import Image

    path = tmp_path / "compare.png"
    draw_comparison((CACHED, ONLINE), path)
    with Image.open(path) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**20)}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours
    assert (0x00, 0x9E, 0x73) not in colours
