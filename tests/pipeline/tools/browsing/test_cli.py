"""`fdet browse` in a shell: the address, the end, and what is refused."""

import json
import signal
import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract

from ...quick import quick


@pytest.fixture(params=["zarr"])
def store(request):
    """One is enough here."""
    return request.param


def fdet(*words):
    return CliRunner().invoke(app, ["browse", *map(str, words)])


def _heeds_ctrl_c():
    """Whatever this process was told: a shell's background jobs ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_it_says_its_address_serves_and_ends_with_zero_at_ctrl_c(whole):
    command = [sys.executable, "-m", "fdet", "browse", str(whole)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heeds_ctrl_c
    ) as run:
        try:
            address, advice = run.stdout.readline().strip(), run.stdout.readline()
            with urllib.request.urlopen(address + "about", timeout=60) as reply:
                assert json.load(reply)["name"] == whole.name
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=60)
        finally:
            run.kill()
    assert address.startswith("http://127.0.0.1:")
    assert (run.returncode, errors) == (0, "")
    assert advice == "only this machine can open it; Ctrl-C ends it\n"


def test_an_unfinished_cache_is_one_line(dataset, tmp_path, store):
    extract(quick(dataset, tmp_path / "c", store=store, rank=0, world=4))
    result = fdet(tmp_path / "c")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "1 of 4 shards are written; run the same command again" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--images", "TMP/no"], "--images TMP/no: no such folder"),
        (["--annotations", "TMP/no.json"], "no.json: No such file"),
        (["--annotations", "TMP/other.json"], "none of its images is in"),
    ],
)
def test_bad_input_is_one_line(whole, tmp_path, options, said):
    (tmp_path / "other.json").write_text(
        '{"images": [{"id": 10, "file_name": "x", "height": 9, "width": 9}], "annotations": [],'
        '"categories": [{"id": 1, "name": "a"}]}'
    )
    result = fdet(whole, *(word.replace("TMP", str(tmp_path)) for word in options))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said.replace("TMP", str(tmp_path)) in result.stderr
    assert result.stderr.startswith("fdet: ") and result.stderr.count("\n") == 1
