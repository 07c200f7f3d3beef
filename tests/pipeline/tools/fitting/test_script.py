"""commands.sh: it finds fdet, runs as often as one likes, and knows when its folder was moved."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fdet.pipeline.tools.fitting import script
from fdet.pipeline.tools.fitting.script import write_script
from fdet.pipeline.tools.fitting.state import Done

from .fake import fitted, option
from .test_fit import tables


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    """The file to which a stand-in for Python writes its arguments; it ends as tmp_path/status says."""
    python, log = tmp_path / "its python", tmp_path / "log"
    python.write_text(
        f'#!/bin/sh\necho "$*" >>{log}\nexit $(cat {tmp_path}/status 2>/dev/null || echo 0)\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", os.defpath)
    return log


def run(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", path], capture_output=True, text=True, check=False)


def write(tmp_path: Path, **steps: Done) -> Path:
    out = tmp_path / "work"
    out.mkdir(exist_ok=True)
    (out / "fit.json").touch()
    write_script(Path("work"), out / "commands.sh", str(tmp_path), steps)
    return out / "commands.sh"


def test_it_runs_the_fdet_that_wrote_it_where_none_is_found(log, tmp_path):
    path = write(tmp_path, evaluate=Done(("evaluate", "a b"), 1.0, 0))
    assert path.stat().st_mode & stat.S_IXUSR
    assert run(path).returncode == 0
    assert log.read_text() == "-P -m fdet evaluate a b\n"


def test_it_runs_the_fdet_of_the_user_where_there_is_one(log, tmp_path, monkeypatch):
    own = tmp_path / "bin" / "fdet"
    own.parent.mkdir()
    own.write_text(f"#!/bin/sh\necho own >>{log}\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", f"{own.parent}:{os.defpath}")
    assert run(write(tmp_path, evaluate=Done(("evaluate",), 1.0, 0))).returncode == 0
    assert log.read_text() == "own\n"


@pytest.mark.parametrize("before", [0, 2, 3])
@pytest.mark.parametrize("now", [0, 1, 2, 3])
def test_a_check_may_find_more_or_less_than_it_did(before, now, log, tmp_path):
    path = write(tmp_path, **{"check 1": Done(("dataset", "check"), 1.0, before)})
    (tmp_path / "status").write_text(str(now))
    goes_on = now in (0, 3) or (now == 2 and before == 2)
    assert (run(path).returncode == 0) == goes_on


@pytest.mark.parametrize("name", ["extract train.fdet", "extract val.fdet", "predict"])
def test_remarks_of_a_command_do_not_stop_it(name, log, tmp_path):
    path = write(tmp_path, **{name: Done((name.split()[0], "--out", "x"), 1.0, 0)})
    for status, goes_on in ((3, True), (2, False), (1, False)):
        (tmp_path / "status").write_text(str(status))
        assert (run(path).returncode == 0) == goes_on


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_in_another_folder_of_a_fit_it_does_nothing(how, log, tmp_path):
    write(tmp_path, evaluate=Done(("evaluate",), 1.0, 0))
    how(tmp_path / "work", tmp_path / "new name")
    done = run(tmp_path / "new name" / "commands.sh")
    assert done.returncode == 2 and not log.exists()
    assert "run the same fdet fit with --out" in done.stderr and done.stderr.count("\n") == 1


def test_a_copy_of_it_makes_everything_elsewhere(log, tmp_path):
    path = write(tmp_path, evaluate=Done(("evaluate",), 1.0, 0))
    copy = shutil.copy(path, tmp_path / "mine.sh")
    shutil.rmtree(tmp_path / "work")
    assert run(Path(copy)).returncode == 0 and log.exists()


def test_a_file_that_no_command_makes_is_named(log, tmp_path, as_for_users):
    tables(tmp_path, {"one": "abc", "two": "bc"})
    fitted(tmp_path / "one", val=tmp_path / "two", ignore_errors=True)
    assert run(Path("work/commands.sh")).returncode == 0
    log.unlink()
    Path("work/parts/val.json").unlink()
    done = run(Path("work/commands.sh"))
    assert (done.returncode, log.exists()) == (2, False)
    assert done.stderr == "work/parts/val.json: missing; fdet fit makes it again\n"


def test_every_other_file_that_it_names_in_the_folder_is_made_by_it(data, as_for_users):
    fake = fitted(data / "train.json", images=data / "images")
    made = {option(words, "--out") for words in fake.calls} | {fake.of("cache")[0][3]}
    for words in fake.calls:
        for word in words[1:]:
            if word.startswith("work/"):
                assert any(word == m or word.startswith(f"{m}/") for m in made), word
    assert script.NAME == "fit.json"
