"""Every command of the README and the tutorials runs, small, or the page says why it does not."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ..generated import make_dataset
from ..test_examples import PHOTOGRAPHS, make_photograph
from .blocks import Block, blocks

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted(p.name for p in (ROOT / "docs" / "tutorial").glob("*.md"))
PAGES = ["README.md", "docs/install.md", *(f"docs/tutorial/{name}" for name in TUTORIALS)]
# What every command gets in place of what the page says: small images, and little training.
SMALLER = [
    (r"--size \d+", "--size 64"),
    (r"--short \d+( --long \d+)?", "--short 64 --long 64"),
    (r"train\.epochs=\d+", "train.epochs=1"),
    (r"epochs = \d+\neval_every = \d+", "epochs = 1\neval_every = 1"),
    (r"seeds = \[0, 1\]", "seeds = [0]"),
    (r"faster-fpn-s ", "tal-fpn-s "),
]
# Options that are added where a command has no such option.
ADDED = {
    "extract": {"--workers": "0", "--threads": "1"},
    "plan": {"--write-trial": "2MB", "--trial-images": "2", "--threads": "1"},
    "train-heads": {"--threads": "1", "--set train.epochs": "=1"},
    "retrain-classifier": {"--epochs": "1", "--threads": "1"},
    "predict": {"--threads": "1"},
    "evaluate": {"--threads": "1"},
    "ablate": {"--threads": "1"},
}


def smaller(text: str) -> str:
    """A block at its smallest size; a command that goes on over lines becomes one."""
    text = text.replace("\\\n", " ")
    for long, short in SMALLER:
        text = re.sub(long, short, text)
    return "\n".join(map(_with_added, text.splitlines())) + "\n"


def _with_added(line: str) -> str:
    command = re.match(r"fdet ([\w-]+)", line)
    added = ADDED.get(command[1], {}) if command else {}
    more = [
        f"{flag}{'' if value.startswith('=') else ' '}{value}"
        for flag, value in added.items()
        if flag not in line
    ]
    # Both end with 3 where they have warnings, e.g. of few objects, or of a disk that is nearly full.
    warns = line.startswith(("fdet doctor", "fdet dataset check"))
    body, comment, rest = line.partition("  #")
    return " ".join([body.rstrip(), *more, *(["|| test $? -eq 3"] * warns)]) + comment + rest


def run(page: str, folder: Path, warm) -> int:
    """Run the blocks of a page in a folder, in their order; returns how many were run."""
    count = 0
    for block in blocks((ROOT / page).read_text()):
        if block.file:
            (folder / block.file).write_text(smaller(block.text))
        elif block.is_command and not block.reason:
            _run_block(block, folder, warm)
            count += 1
    return count


def _run_block(block: Block, folder: Path, warm) -> None:
    if block.language == "python":
        (folder / "block.py").write_text(block.text)
        words = [str(warm.python), "block.py"]
    else:
        words = ["bash", "-euc", smaller(block.text)]
    path = f"{warm.python.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": path},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def trees(tmp_path_factory, warm) -> Path:
    """Where the first tutorial was done, on photographs that are drawn."""
    folder = tmp_path_factory.mktemp("trees")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=lambda *_: ["work"])
    for name in PHOTOGRAPHS:
        make_photograph(folder / "trees/photographs/deepforest/data" / name)
    assert run("docs/tutorial/first-detector.md", folder, warm) == 9
    return folder


@pytest.fixture
def classes(tmp_path) -> Path:
    """A data set of several classes, as the long tail's tutorial and the README name it."""
    path = make_dataset(tmp_path / "made", images=12)
    shutil.copytree(path.parent / "images", tmp_path / "photos")
    shutil.copytree(path.parent / "images", tmp_path / "new_photos")
    data = json.loads(path.read_text())
    for name, images in (("train.json", data["images"][:8]), ("val.json", data["images"][8:])):
        ids = {image["id"] for image in images}
        objects = [each for each in data["annotations"] if each["image_id"] in ids]
        part = {**data, "images": images, "annotations": objects}
        (tmp_path / name).write_text(json.dumps(part))
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=lambda *_: ["work"])
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_run_or_marked_with_a_reason(page):
    commands = [block for block in blocks((ROOT / page).read_text()) if block.is_command]
    assert commands
    assert all(len(block.reason.split()) >= 3 for block in commands if block.reason)


def test_every_page_has_a_test():
    named = {"docs/tutorial/first-detector.md", *IN_TREES, *OF_CLASSES, "docs/install.md"}
    assert named == set(PAGES)


IN_TREES = {
    "docs/tutorial/ablate-heads.md": 3,
    "docs/tutorial/deploy.md": 2,
    "docs/tutorial/low-memory.md": 4,
}
OF_CLASSES = {"README.md": 1, "docs/tutorial/long-tail.md": 5}


@pytest.mark.slow
def test_the_first_tutorial_runs(trees):
    assert (trees / "runs/first/best.safetensors").is_file()
    assert json.loads((trees / "found/detections.json").read_text()) is not None
    assert len(list((trees / "found/pictures").iterdir())) == 1
    assert (trees / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", IN_TREES)
def test_a_tutorial_that_goes_on_from_the_first_runs(page, trees, warm):
    assert run(page, trees, warm) == IN_TREES[page]


@pytest.mark.slow
@pytest.mark.parametrize("page", OF_CLASSES)
def test_a_page_on_data_of_several_classes_runs(page, classes, warm):
    assert run(page, classes, warm) == OF_CLASSES[page]


def test_the_commands_of_the_installation_run(tmp_path, warm):
    assert run("docs/install.md", tmp_path, warm) == 1


def test_blocks_are_found_with_what_stands_before_them():
    page = (
        "Text\n\n    fdet a\n\n    more\n\n<!-- not run: it is too long -->\n```bash\nfdet b\n```\n"
        "<!-- file: c.toml -->\n```toml\nc = 1\n```\n\n- item\n  text\n\n    indented\n"
    )
    assert list(blocks(page)) == [
        Block("", "fdet a\n\nmore\n"),
        Block("bash", "fdet b\n", reason="it is too long"),
        Block("toml", "c = 1\n", file="c.toml"),
        Block("", "indented\n"),
    ]


def test_commands_become_small():
    text = "fdet extract a --size 640 \\\n    --out b  # note\nfdet train-heads b\n"
    assert smaller(text) == (
        "fdet extract a --size 64      --out b --workers 0 --threads 1  # note\n"
        "fdet train-heads b --threads 1 --set train.epochs=1\n"
    )
