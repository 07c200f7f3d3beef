"""A progress line: how far, and how long it will take, as soon as that is known, at any width."""

import io
import re

import pytest
from rich.console import Console

from fdet.pipeline.machines import progress
from fdet.pipeline.machines.progress import progress_line, progress_text, shown_rate

NOTE = "epoch 117/150, loss 10.123, 123.4 images/s, waiting 10%, 12345 MB"


def test_a_log_has_a_line_with_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    with progress_line("train", 10, 4) as line:
        line.note("loss 0.5")
        line.advance()
    assert re.search(r"^train: 5/10, \d+:\d\d left, loss 0\.5\n", capsys.readouterr().err)


def test_where_nothing_was_done_yet_no_time_is_made_up(monkeypatch, capsys):
    """Of a command that goes on, what was done before is no measure."""
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    with progress_line("ablate", 1000, 850) as line:
        line.note("1 of 51 trials finished")
        line.advance(0)
    assert capsys.readouterr().err.strip() == "ablate: 850/1000, 1 of 51 trials finished"


def test_without_a_note_there_is_no_comma_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    with progress_line("reading labels", 7) as line:
        line.advance(0)
        line.advance(7)
    assert capsys.readouterr().err.splitlines() == [
        "reading labels: 0/7",
        "reading labels: 7/7, 0:00 left",
    ]


@pytest.mark.parametrize("left", [None, 30.0, 3_600_000.0])
@pytest.mark.parametrize("width", [20, 40, 68, 80, 200, None])
def test_counts_and_time_left_are_never_cut(width, left):
    for title, note in (("train", NOTE), ("looking for deep pixels", ""), ("t" * 90, "a" * 90)):
        line = progress_text(title, 123456, 234567, left, note, width)
        assert width is None or len(line) <= max(width, len("123456/234567, 1000:00 left"))
        assert "123456/234567" in line
        assert left is None or line.count(" left") == 1
        assert not line.endswith((",", ", ")) and ", ," not in line
        whole = progress_text(title, 123456, 234567, left, note)
        shown = line.split("123456/234567")[1]
        assert whole.split("123456/234567")[1].startswith(shown), "whole parts, from the first on"


def test_at_80_columns_the_whole_line_of_a_training_stands_on_the_terminal(monkeypatch):
    """With all but the last parts of a note that does not fit."""
    monkeypatch.setenv("COLUMNS", "80")
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    with progress_line("train", 12345) as line:
        line.note(NOTE)
        line.advance(600)
        line.bar.refresh()
    shown = [re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", row) for row in screen.getvalue().split("\r")]
    last = next(row.strip("\n") for row in reversed(shown) if "600/12345" in row)
    assert re.search(r"╸ *train: 600/12345, \d+:\d\d left, epoch 117/150, loss 10\.123", last)
    assert len(last.rstrip()) <= 80 and "…" not in last


def test_a_rate_is_that_of_the_count_beside_it(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    with progress_line("predict", 1) as line:
        line.started -= 0.5
        line.advance(unit="images/s")
    rate = re.search(r"^predict: 1/1, 0:00 left, ([\d.]+) images/s\n", capsys.readouterr().err)[1]
    assert 0 < float(rate) <= 2


def test_a_note_is_shown_before_the_next_count(monkeypatch):
    """An epoch that has ended, or begins, is on the line at once."""
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    with progress_line("train", 16) as line:
        line.advance(8)
        line.note("epoch 2/2")
        assert line.bar.tasks[0].fields["line"].endswith(", epoch 2/2")


@pytest.mark.parametrize(
    ("rate", "unit", "text"),
    [
        (0, "images/s", ""),
        (0.0432, "images/s", "0.043 images/s"),
        (12.34, "steps/s", "12.3 steps/s"),
        (0, "MB/s", ""),
        (45_600, "MB/s", "45.6 kB/s"),
        (12.3e6, "MB/s", "12.3 MB/s"),
    ],
)
def test_a_rate_that_is_not_known_is_not_shown_and_none_is_zero(rate, unit, text):
    assert shown_rate(rate, unit) == text


def test_a_line_that_goes_on_has_no_rate_before_its_first_count():
    with progress_line("extract", 9, 4) as line:
        assert line.speed("samples/s") == ""
        line.advance()
        assert line.speed("samples/s").endswith(" samples/s")
