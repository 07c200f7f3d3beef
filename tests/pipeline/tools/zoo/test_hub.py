"""Entries that go to the Hugging Face Hub and come back, by its own library; the hub is on this machine."""

import os
import subprocess
import sys

import pytest

from fdet.pipeline.zoo.entries import cards, fetched

from ..reporting.made_up import write_run
from .hub_stub import hub


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("huggingface_hub")
    with hub() as started:
        yield started


@pytest.fixture
def fdet(server, tmp_path):
    """Runs `fdet zoo` in a process of its own, since the library reads its endpoint when it is loaded."""

    def run(*words, token="good", zoo="zoo", cache="hub"):
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(tmp_path / cache),
            "HF_TOKEN": token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "FDET_ZOO": str(tmp_path / zoo),
        }
        command = [sys.executable, "-m", "fdet", "zoo", *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def test_an_entry_is_pushed_and_pulled_and_is_the_same(fdet, server, tmp_path):
    run = write_run(tmp_path / "cells", 0.4)
    assert fdet("add", run, "--data", "BCCD", "--licence", "CC-BY-4.0").returncode == 0
    pushed = fdet("push", "cells", "lab/heads")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.strip().startswith(f"{server.url}/lab/heads/commit/")
    assert set(server.files["lab/heads"]) == {"card.json", "run.tar", "README.md"}
    readme = server.files["lab/heads"]["README.md"].decode()
    assert "license: cc-by-4.0" in readme and "AP 40.0" in readme and str(tmp_path) not in readme
    pulled = fdet("pull", "lab/heads", "--name", "theirs", zoo="other")
    assert pulled.returncode == 0, pulled.stderr
    (mine,), (theirs,) = (cards(tmp_path / name) for name in ("zoo", "other"))
    assert (theirs.name, theirs.archive_sha256) == ("theirs", mine.archive_sha256)
    folder = fetched("theirs", tmp_path / "other")
    assert (folder / "run.json").read_bytes() == (run / "run.json").read_bytes()


def test_a_run_directory_is_pushed_too(fdet, server, tmp_path):
    write_run(tmp_path / "zoo" / "plain", 0.3)
    assert fdet("push", "plain", "lab/plain").returncode == 0
    assert fdet("pull", "lab/plain", zoo="other").returncode == 0
    assert [card.name for card in cards(tmp_path / "other")] == ["plain"]


def test_what_comes_from_the_hub_is_checked(fdet, server, tmp_path):
    write_run(tmp_path / "zoo" / "plain", 0.3)
    assert fdet("push", "plain", "lab/bad").returncode == 0
    archive = bytearray(server.files["lab/bad"]["run.tar"])
    archive[700] ^= 1
    server.files["lab/bad"]["run.tar"] = bytes(archive)
    done = fdet("pull", "lab/bad", zoo="other")
    assert done.returncode == 2 and "damaged or altered" in done.stderr
    assert cards(tmp_path / "other") == []


@pytest.mark.parametrize(
    ("words", "token", "said"),
    [
        (("pull", "lab/absent"), "good", "lab/absent: no such repository"),
        (("pull", "lab/empty"), "good", "lab/empty: it has no entry that `fdet zoo push` made"),
        (("pull", "not a repository"), "good", "not a repository: "),
        (("push", "plain", "lab/mine"), "bad", "lab/mine: the hub does not answer as expected: "),
    ],
)
def test_a_refusal_is_one_line(fdet, server, tmp_path, words, token, said):
    server.files["lab/empty"] = {}
    write_run(tmp_path / "zoo" / "plain", 0.3)
    done = fdet(*words, token=token)
    assert done.returncode == 2 and done.stderr.startswith(f"fdet: {said}"), done.stderr
    assert done.stderr.count("\n") == 1
