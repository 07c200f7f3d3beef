"""A progress line in a log: how far, and how long it will take, as soon as that is known."""

import re

from fdet.pipeline.machines import progress
from fdet.pipeline.machines.progress import progress_line


def test_a_log_has_a_line_with_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    with progress_line("train", 10, 4) as line:
        line.note("loss 0.5")
        line.advance()
    assert re.search(r"train: 5/10, loss 0.5, \d+ s left", capsys.readouterr().err)


def test_where_nothing_was_done_yet_no_time_is_made_up(monkeypatch, capsys):
    """Of a command that goes on, what was done before is no measure."""
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    with progress_line("ablate", 1000, 850) as line:
        line.note("1 of 51 trials finished")
        line.advance(0)
    assert capsys.readouterr().err.strip() == "ablate: 850/1000, 1 of 51 trials finished"
