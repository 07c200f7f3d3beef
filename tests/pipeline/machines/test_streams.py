"""Whatever the terminal's encoding, and even without a reader, a command does its work."""

import shutil
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from fdet.pipeline.machines.progress import progress_line
from fdet.pipeline.machines.streams import use_tolerant_streams
use_tolerant_streams()
from fdet.pipeline.command import echo
from rich.console import Console
from rich.table import Table
logging.basicConfig()
for k in range(int(sys.argv[1])):
    print("円盤 é ящик \\udcff", k)
    echo("円盤 é ящик")
    echo("円盤 é ящик", err=True)
    logging.getLogger("fdet").warning("円盤 é ящик")
    print("円盤 é ящик \\udcff", file=sys.stderr)
table = Table("円盤", "é")
table.add_row("ящик", "\\U0001f4e6")
Console().print(table)
Console(stderr=True).print(table)
with progress_line("円盤", 2) as progress:
    progress.console.print("円盤: 1/2")
    progress.advance()
with open(sys.argv[2], "w") as file:
    file.write("done")
"""


@pytest.fixture
def run(tmp_path):
    def run(count=2, redirected="", **variables):
        """The exit status and what was written, as bytes."""
        command = f'"$0" "$1" {count} "$2" {redirected}; echo "status $?" >&3'
        (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
        script = ["bash", "-c", f"exec 3>{tmp_path}/status; {command}"]
        done = subprocess.run(
            [*script, sys.executable, str(tmp_path / "program.py"), str(tmp_path / "done")],
            capture_output=True,
            env={"PATH": "/usr/bin:/bin", **variables},
        )
        assert (tmp_path / "done").read_text() == "done", done.stderr.decode(errors="replace")
        assert (tmp_path / "status").read_text() == "status 0\n"
        return done.stdout, done.stderr

    return run


ENCODINGS = ["ascii", "latin-1", "cp1252", "gbk", "iso8859-2", "shift_jis", "utf-8", "utf-16"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_a_stream_cannot_encode_is_replaced(encoding, run):
    for given in (encoding, f"{encoding}:strict"):
        stdout, stderr = run(PYTHONIOENCODING=given)
        assert b"Traceback" not in stderr
        assert b"Error" not in stderr
        text = stdout.decode(encoding)
        assert ("é" in text) == ("é".encode(encoding, "replace") != b"?")


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}])
def test_a_locale_that_knows_ascii_alone_is_no_error(variables, run):
    _, stderr = run(**variables, PYTHONCOERCECLOCALE="0")
    assert b"Traceback" not in stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("redirected", ["| head -1", "2>&1 | head -1", "2>&1 >/dev/null | head -1"])
def test_a_pipe_that_closes_lets_the_work_be_done(redirected, unbuffered, run):
    # The status is that of the program, not that of head.
    command = f"{redirected}; set -- ${{PIPESTATUS[0]}}; (exit $1)"
    _, stderr = run(2000, command, PYTHONUNBUFFERED=unbuffered, PYTHONIOENCODING="utf-8")
    assert b"Traceback" not in stderr
    assert b"Broken" not in stderr


@pytest.mark.parametrize("redirected", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(redirected, run):
    _, stderr = run(2, redirected, PYTHONIOENCODING="utf-8")
    assert b"Traceback" not in stderr


def test_text_that_can_be_encoded_stays_as_it_is(run):
    stdout, stderr = run(1, PYTHONIOENCODING="utf-8")
    assert "円盤 é ящик" in stdout.decode()
    assert "WARNING:fdet:円盤 é ящик" in stderr.decode()


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "latin-1"])
def test_the_program_uses_such_streams(encoding, quick_caches, tmp_path):
    cache = tmp_path / "円盤é.fdet"
    shutil.copytree(quick_caches["zarr"], cache)
    done = subprocess.run(
        [sys.executable, "-m", "fdet", "cache", "verify", str(cache)],
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": f"{encoding}:strict"},
    )
    assert done.returncode == 0, done.stderr
    assert f"{cache}: sound".encode(encoding, "replace") in done.stdout
