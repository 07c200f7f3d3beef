"""Every script of examples/ runs, in a copy of the folder, on generated data and at its smallest size."""

import os
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from fdet.pipeline.runs.config import RunConfig, load_config
from fdet.pipeline.tools.ablation.combinations import combinations_of
from fdet.pipeline.tools.ablation.plan import merged, read_plan

from .generated import make_dataset

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = {
    str(p.relative_to(FOLDER)) for p in FOLDER.glob("*/*") if p.suffix in {".sh", ".py", ".sbatch"}
}
# Words and environment of each, in turn: the ablation goes on with the caches of the trees.
SMALL = {"SHORT": "64", "LONG": "64", "EPOCHS": "1"}
COMMANDS = {
    "trees/run.sh": ("", {"SIZE": "128", "EPOCHS": "1"}),
    "trees/long.sh": ("", {"SIZE": "128", "EPOCHS": "1"}),
    "ablation/run.sh": ("--threads 1", {"SIZE": "128"}),
    "augmentation/run.sh": ("{data} --threads 1", SMALL),
    "recipe/run.sh": ("{data} generated --threads 1", {**SMALL, "PLANS": "heads"}),
    "paper-claim/run.sh": (
        "{data} --threads 1",
        {**SMALL, "SEEDS": "0", "PRESETS": "faster-fpn-s"},
    ),
}
CALLED = {
    "trees/prepare.py": "trees/run.sh",
    "paper-claim/table.py": "paper-claim/run.sh",
    "paper-claim/long_tail.py": "paper-claim/run.sh",
}
# tests/test_cluster_files.py has these.
JOBS = {name for name in SCRIPTS if name.startswith("cluster/")}
# Of the plans, which say themselves how long they take: fewer epochs, and less to choose from.
SHORTER = {
    "ablation/plan.toml": [("epochs = 6\neval_every = 3", "epochs = 1\neval_every = 1")],
    "recipe/heads.toml": [
        ("seeds = [0, 1, 2]", "seeds = [0]"),
        ("epochs = 8\neval_every = 8", "epochs = 1\neval_every = 1"),
    ],
    "augmentation/plan.toml": [
        ("seeds = [0, 1, 2]", "seeds = [0]"),
        (
            '    { label = "10 %", "train.fraction" = 0.1, "train.epochs" = 60, "train.eval_every" = 60 },\n',
            "",
        ),
        (
            '    { label = "30 %", "train.fraction" = 0.3, "train.epochs" = 20, "train.eval_every" = 20 },\n',
            "",
        ),
        (
            '"train.epochs" = 6, "train.eval_every" = 6',
            '"train.epochs" = 1, "train.eval_every" = 1',
        ),
    ],
}
PHOTOGRAPHS = ("2019_YELL_2_528000_4978000_image_crop2", "2019_YELL_2_541000_4977000_image_crop")


def make_photograph(path: Path, side: int = 340) -> None:
    """Crowns in the middle of every quarter, and Pascal VOC's file of them, so that nothing is fetched.

    The ground of each photograph has a colour of its own, as no two are the same.
    """
    ground = (150, 130, zlib.crc32(path.name.encode()) % 128)
    picture, boxes = Image.new("RGB", (side, side), ground), ""
    for x, y in [(60, 60), (240, 60), (60, 240), (240, 240)]:
        ImageDraw.Draw(picture).ellipse((x, y, x + 40, y + 40), fill=(40, 90, 40))
        sides = zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + 40, y + 40), strict=True)
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in sides)
        boxes += f"<object><name>Tree</name><bndbox>{inside}</bndbox></object>"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path.with_suffix(".png"))
    path.with_suffix(".xml").write_text(f"<annotation>{boxes}</annotation>")


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    """A copy, with shorter plans and photographs of its own."""
    copy = tmp_path_factory.mktemp("examples") / "examples"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("work"))
    for name in PHOTOGRAPHS:
        make_photograph(copy / "trees/work/photographs/deepforest/data" / name)
    for name, changes in SHORTER.items():
        text = (copy / name).read_text()
        for long, short in changes:
            assert text.count(long) == 1, (name, long)
            text = text.replace(long, short)
        (copy / name).write_text(text)
    return copy


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    whole = make_dataset(tmp_path_factory.mktemp("data") / "generated", images=6)
    for part in ("train", "val"):
        (whole.parent / f"{part}.json").write_bytes(whole.read_bytes())
    return whole.parent


def test_every_script_has_its_command():
    assert {*COMMANDS, *CALLED, *JOBS} == SCRIPTS
    for script, command in CALLED.items():
        assert f"python {Path(script).name}" in (FOLDER / command).read_text()


@pytest.mark.parametrize("plan", sorted(FOLDER.glob("*/*.toml")), ids=lambda p: p.stem)
def test_every_plan_has_settings_that_there_are(plan):
    """Each of its trials, and the defaults beside it where one changes nothing."""
    if plan.name == "train.toml":
        assert load_config(plan) != load_config()
        return
    read = read_plan(plan)
    for choices in combinations_of(read):
        RunConfig.from_mapping(merged(read.base, [choice.sections for choice in choices]))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_runs(name, examples, data, warm):
    """By forks; tests/pipeline/tools/fitting/test_end_to_end.py has `fdet fit` in processes of its own."""
    words, variables = COMMANDS[name]
    path = f"{warm.python.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(examples / name), *words.format(data=data).split()],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables, "PATH": path},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
