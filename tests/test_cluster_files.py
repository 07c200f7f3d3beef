"""The job files of examples/cluster: bash reads them, and fdet their commands; functions play SLURM."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import typer

from fdet.pipeline.cli import app

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "examples" / "cluster").iterdir())
PAGE = (ROOT / "docs" / "cluster.md").read_text()
VARIABLES = {
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NUM_NODES": "4",
    "SLURM_JOB_NODELIST": "n[1-4]",
    "SLURM_CPUS_PER_TASK": "32",
}
# Programs that are not there: each tells what it was asked, and srun and torchrun go on with their command.
STUBS = r"""
tell() { local words; words=$(printf ' %q' "$@"); printf 'ASKED%s\n' "$words"; }
fdet() { tell fdet "$@"; }
ray() { tell ray "$@"; }
torchrun() { while [ "$1" != -m ]; do tell "$1" >/dev/null; shift; done; shift; "$@"; }
srun() { while [[ "$1" == --* ]]; do shift; done; "$@"; }
scontrol() { printf 'n1\nn2\n'; }
hostname() { echo 10.0.0.1; }
mkdir() { :; }
export -f tell fdet ray torchrun srun scontrol hostname mkdir
"""


def asked(path: Path, folder: Path, **variables: str) -> list[list[str]]:
    """The commands that a job file gives."""
    program = f"{STUBS}\nsource {path}\nwait"
    environment = {**os.environ, **VARIABLES, "TMPDIR": str(folder), **variables}
    done = subprocess.run(
        ["bash", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ASKED ")]
    return [line.split()[1:] for line in lines]


def parsed(words: list[str]) -> dict[str, object]:
    """What fdet's own parser makes of a command."""
    group = typer.main.get_command(app)
    name, *rest = words
    command = group.commands[name]
    return command.make_context(name, rest, resilient_parsing=False).params


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def path(request) -> Path:
    return request.param


def test_bash_reads_it(path):
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_fdet_understands_its_commands(path, tmp_path):
    commands = [words[1:] for words in asked(path, tmp_path) if words[0] == "fdet"]
    assert commands
    for words in commands:
        assert parsed(words)


def test_the_parts_of_an_array_are_the_ranks_of_its_world(tmp_path):
    path = ROOT / "examples" / "cluster" / "extract-array.sbatch"
    (words,) = asked(path, tmp_path)
    found = parsed(words[1:])
    first, last = re.search(r"--array=(\d+)-(\d+)", path.read_text()).groups()
    assert (found["rank"], found["world"]) == (3, int(last) + 1) and first == "0"


def test_training_goes_on_where_there_is_a_run(tmp_path):
    (tmp_path / "run.json").touch()
    for name in ("train-srun.sbatch", "train-torchrun.sbatch"):
        file = ROOT / "examples" / "cluster" / name
        (fresh,) = asked(file, tmp_path, RUN=str(tmp_path / "new"))
        (again,) = asked(file, tmp_path, RUN=str(tmp_path))
        assert not parsed(fresh[1:])["resume"] and parsed(again[1:])["resume"]


def test_the_head_is_where_the_workers_and_fdet_look_for_it(tmp_path):
    commands = asked(ROOT / "examples" / "cluster" / "ray.sbatch", tmp_path)
    head = next(words for words in commands if "--head" in words)
    address = f"{head[head.index('--node-ip-address') + 1]}:{head[head.index('--port') + 1]}"
    worker = next(words for words in commands if "--block" in words)
    assert worker[worker.index("--address") + 1] == address == "10.0.0.1:6379"
    engines = [parsed(words[1:]) for words in commands if words[0] == "fdet"]
    assert {(found["engine"], found["ray_address"]) for found in engines} == {("ray", address)}
    assert commands[-1] == ["ray", "stop"]


def test_the_page_names_every_file_and_no_other():
    named = set(re.findall(r"examples/cluster/([\w-]+\.\w+)", PAGE))
    assert named == {path.name for path in FILES}


def test_the_commands_of_the_page_are_understood():
    lines = re.findall(r"^    (fdet (?:.*\\\n)*.*)$", PAGE, flags=re.MULTILINE)
    assert lines
    for line in lines:
        words = line.replace("\\\n", " ").partition("  #")[0].split()
        assert parsed(words[1:]), line
