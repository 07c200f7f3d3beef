"""Processes of this program: their words, their status, and Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fdet.pipeline.machines import launching
from fdet.pipeline.machines.launching import launched


def program(monkeypatch, text):
    """Instead of fdet."""
    popen = subprocess.Popen

    def started(words, **more):
        return popen([sys.executable, "-S", "-c", text, *words[words.index("fdet") + 1 :]], **more)

    monkeypatch.setattr(launching.subprocess, "Popen", started)


def test_a_process_gets_its_words_and_its_status_is_told(monkeypatch):
    program(monkeypatch, "import sys; sys.exit(7 if sys.argv[1:] == ['a', 'b c'] else 0)")
    assert launched(["a", "b c"]) == 7
    assert launched(["a"]) == 0


def test_nothing_is_imported_from_the_current_folder(monkeypatch, tmp_path):
    (tmp_path / "typer.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert launched(["settings", "optim"]) == 0


@pytest.mark.parametrize("ends", ["sys.exit(130)", "sys.exit(0)"])
def test_ctrl_c_asks_the_process_once_and_waits_for_it(ends, monkeypatch, tmp_path):
    told = tmp_path / "told"
    text = (
        "import os, signal, sys, time\n"
        "def note(*_):\n"
        f"    open({str(told)!r}, 'a').write('asked ')\n"
        "signal.signal(signal.SIGINT, note)\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        f"while not os.path.exists({str(told)!r}): time.sleep(0.01)\n"
        f"time.sleep(0.2)\n{ends}\n"
    )
    program(monkeypatch, text)
    assert launched([]) == 130
    assert told.read_text() == "asked "


def test_a_second_ctrl_c_ends_it_at_once(monkeypatch, tmp_path):
    mine = tmp_path / "process"
    text = (
        "import os, signal, time\n"
        "def again(*_):\n"
        "    time.sleep(1.5)  # what comes within a second is the same wish\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, again)\n"
        f"open({str(mine)!r}, 'w').write(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    program(monkeypatch, text)
    with pytest.raises(KeyboardInterrupt):
        launched([])
    with pytest.raises(ProcessLookupError):
        os.kill(int(mine.read_text()), signal.SIGKILL)


def test_a_process_ends_with_the_one_that_started_it_although_that_was_killed(tmp_path):
    """Its own processes have another input, so they are not told to end at once."""
    started = tmp_path / "started"
    command = (
        "import os, pathlib, subprocess, sys, time\n"
        "from fdet.pipeline.machines.launching import end_with_launcher\n"
        "end_with_launcher()\n"
        "assert not [name for name in os.environ if name.startswith('FDET_ENDS')]\n"
        f"pathlib.Path({str(started)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "command.py").write_text(command)
    launcher = (
        "import sys\n"
        "from pathlib import Path\n"
        "from fdet.pipeline.machines.launching import children\n"
        "with children() as own:\n"
        f"    own.start(['command'], Path({str(tmp_path / 'log')!r}))\n"
        "    while not own.ended(): pass\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", launcher], env=environment)
    try:
        _wait_until(lambda: started.exists() and started.read_text(), parent)
    finally:
        parent.kill()
        parent.wait()
    _wait_until(lambda: not _lives(int(started.read_text())), None)


def _wait_until(holds, parent):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        assert parent is None or parent.poll() is None, "it ended by itself"
        time.sleep(0.05)


def _lives(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
