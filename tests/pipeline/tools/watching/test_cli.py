"""`fdet watch` in a shell: one page, written whole, again and again until Ctrl-C."""

import threading

import pytest
from typer.testing import CliRunner

from fdet.pipeline.cli import app
from fdet.pipeline.tools.watching import watch as watching
from fdet.pipeline.tools.watching.watch import watch

from ..reporting.made_up import write_run


def fdet(*words):
    return CliRunner().invoke(app, ["watch", *map(str, words)])


def test_once_writes_the_page_into_the_first_folder(tmp_path):
    write_run(tmp_path / "runs" / "a")
    done = fdet(tmp_path / "runs", "--once")
    page = tmp_path / "runs" / "watch.html"
    assert done.exit_code == 0 and done.stdout.splitlines() == [page.as_uri(), "1 run"]
    assert ">a</a>" in page.read_text() and "refresh" not in page.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent"], "no such folder"),
        ([".", "--out", "page.txt"], "ends in .html"),
        ([".", "--out", "no/page.html"], "folder that exists"),
        ([".", "--every", "0"], "--every"),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    done = fdet(*words)
    assert done.exit_code == 2 and said in done.stderr
    assert not list(tmp_path.iterdir())


def test_it_goes_on_until_a_stop_is_requested_and_runs_may_come_later(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "_PATIENCE", 0.01)
    page, stop = tmp_path / "watch.html", []
    thread = threading.Thread(target=watch, args=([tmp_path], page, 0.01, stop))
    thread.start()
    try:
        eventually(lambda: page.exists() and "No run yet" in page.read_text())
        write_run(tmp_path / "late")
        eventually(lambda: ">late</a>" in page.read_text())
        assert "refresh" in page.read_text()
    finally:
        stop.append(0.0)
        thread.join()
    assert "refresh" not in page.read_text()


def eventually(holds):
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never holds")


def test_a_disk_that_refuses_once_does_not_end_it(tmp_path, monkeypatch, caplog):
    write_run(tmp_path / "a")
    failures, stop = [watching.FdetError("disk full")] * 2, []

    def write(readings, out, every):
        if failures:
            raise failures.pop()
        stop.append(0.0)

    monkeypatch.setattr(watching, "_write", write)
    monkeypatch.setattr(watching, "_PATIENCE", 0.001)
    watch([tmp_path], tmp_path / "watch.html", 0.001, stop)
    assert [record.message for record in caplog.records] == ["disk full; it is tried again"]


def test_no_more_than_a_number_of_runs_those_that_changed_last(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "RUNS", 2)
    for k in range(4):
        write_run(tmp_path / f"run-{k}")
    fdet(tmp_path, "--once")
    text = (tmp_path / "watch.html").read_text()
    assert ">run-3</a>" in text and ">run-0</a>" not in text
