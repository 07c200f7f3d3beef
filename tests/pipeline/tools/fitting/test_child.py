"""Commands in processes of their own: their output, their status, and Ctrl-C once and twice."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.machines import interrupt
from fdet.pipeline.tools.fitting import child
from fdet.pipeline.tools.fitting.child import Ended, check_usable, has_accelerator, run_command


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A function that puts a shell script in the place of fdet."""

    def put(text: str) -> Path:
        script = tmp_path / "stand-in"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))
        return script

    return put


def test_a_command_is_this_program_and_its_lines_can_be_taken():
    lines = []
    assert run_command(["settings", "optim"], lines.append) == Ended(0)
    assert any("optim.lr" in line for line in lines)


def test_nothing_is_imported_from_the_folder_of_the_data(tmp_path, monkeypatch):
    (tmp_path / "typer.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert run_command(["settings", "optim"], lambda line: None) == Ended(0)


def test_its_status_is_returned_and_what_it_says_goes_to_the_terminal(capfd):
    assert run_command(["settings", "optimm"]) == Ended(2)
    assert "did you mean 'optim'" in capfd.readouterr().err


def test_it_gets_its_words_as_they_are(stand_in):
    stand_in('for word in "$@"; do echo "<$word>"; done')
    lines = []
    run_command(["extract", "a b", "it's", ""], lines.append)
    assert lines == ["<-P>", "<-m>", "<fdet>", "<extract>", "<a b>", "<it's>", "<>"]


def test_much_output_does_not_block_it(stand_in):
    stand_in("seq 200000; exit 4")
    lines = []
    assert run_command(["plan"], lines.append) == Ended(4)
    assert len(lines) == 200_000


def test_it_is_in_the_same_process_group(stand_in):
    stand_in("ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat")
    lines = []
    run_command(["plan"], lines.append)
    assert int(lines[0]) == os.getpgrp()


def interrupting(ready: Path, times: int, apart: float) -> None:
    """Send SIGINT to this process some times, once a file is there."""

    def send() -> None:
        while not ready.exists():
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(apart)

    Thread(target=send, daemon=True).start()


def test_a_request_to_stop_is_passed_on_and_the_end_is_waited_for(stand_in, tmp_path):
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    stand_in(f"trap 'sleep 0.2; touch {saved}; exit 130' INT; touch {ready}; sleep 60 & wait $!")
    interrupting(ready, 1, 0)
    assert run_command(["train-heads"]) == Ended(130, interrupted=True)
    assert saved.exists()


def test_a_second_request_ends_a_command_that_does_not_stop(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(interrupt, "_AT_ONCE_SECONDS", 0.1)
    ready, number = tmp_path / "ready", tmp_path / "number"
    stand_in(f"trap '' INT; echo $$ >{number}; touch {ready}; exec sleep 60")
    interrupting(ready, 2, 0.3)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_command(["train-heads"])
    assert time.monotonic() - began < 50
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


def test_it_ends_with_this_process_although_that_is_killed(tmp_path):
    number, script = tmp_path / "number", tmp_path / "command.py"
    script.write_text(
        "import os, pathlib, time\n"
        "from fdet.pipeline.machines.launching import end_with_launcher\n"
        "end_with_launcher()\n"
        f"pathlib.Path({str(number)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    stand_in = tmp_path / "stand-in"
    stand_in.write_text(f"#!/bin/sh\nexec {sys.executable} {script}\n")
    stand_in.chmod(0o755)
    text = (
        "import sys\n"
        "from fdet.pipeline.tools.fitting.child import run_command\n"
        f"sys.executable = {str(stand_in)!r}\n"
        "run_command(['train-heads'])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", text])
    try:
        wait_until(lambda: number.exists() and number.read_text())
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not runs(int(number.read_text())))


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(process: int) -> bool:
    """Whether a process is alive, and no zombie that nobody waits for."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_the_handlers_of_signals_are_those_of_before(stand_in):
    stand_in("exit 0")
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_command(["plan"])
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


@pytest.mark.parametrize(("device", "there"), [("cpu", False), ("cuda", True), ("cuda:1", True)])
def test_a_device_that_is_named_is_believed(device, there):
    assert has_accelerator(device) == there


@pytest.mark.parametrize("status", [0, 1])
def test_torch_is_asked_only_where_there_is_a_driver(status, stand_in, tmp_path, monkeypatch):
    asked, driver = tmp_path / "asked", tmp_path / "driver"
    stand_in(f'test "$1" = -P || exit 9; touch {asked}; exit {status}')
    monkeypatch.setattr(child, "_DRIVERS", (str(driver),))
    assert not has_accelerator("auto") and not asked.exists()
    driver.touch()
    assert has_accelerator("auto") == (status == 0) and asked.exists()


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_processor_is_not_asked_for(device, stand_in):
    stand_in("exit 1")
    check_usable(device)


def test_a_device_that_cannot_be_used_is_said_in_one_line(stand_in):
    stand_in("echo a warning of torch >&2; echo '--device cuda: not usable here' >&2; exit 1")
    with pytest.raises(InputError, match=r"^--device cuda: not usable here$"):
        check_usable("cuda")
    stand_in("exit 1")
    with pytest.raises(InputError, match="--device cuda:1: not usable here"):
        check_usable("cuda:1")
    stand_in("exit 0")
    check_usable("cuda")
