"""Every command of benchmarks/ runs, at its smallest size, on generated data."""

import os
import subprocess
from pathlib import Path

import pytest

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from .conftest import extraction
from .generated import make_dataset
from .warm import Warm

FOLDER = Path(__file__).parent.parent / "benchmarks"
COMMANDS = sorted(p.name for p in FOLDER.glob("*.py") if "__main__" in p.read_text())
SMALL = "--short 64 --long 64"
# {data}: a folder of train.json, val.json and images/; {exact}, {coded}: caches of them; {run}: a run on the
# latter; {out}: an empty folder.
ARGUMENTS = {
    "audit.py": "{run} {coded} --out {out} --share 0.5 --folds 2 --device cpu --threads 1 --pictures none",
    "codecs.py": f"{{data}} --out {{out}} {SMALL} --config {{config}} --codecs int4+pca64 "
    "--trained int4+pca64 --seeds 0 --rounds 2 --images 2",
    "coders.py": "{exact} --images 1",
    "engines.py": "{data}/train.json {data}/images --limit 2 --rounds 1 --workers 1",
    "exports.py": "{coded} {data}/images {run} --out {out} --check 2 --formats onnx",
    "extraction.py": f"{{data}}/train.json {{data}}/images {SMALL} --limit 2 --rounds 1 --threads 1",
    "heads.py": "--rounds 1 --side 64 --channels 64 --batch-size 1 --classes 3 --threads 1",
    "many_shards.py": "--shards 2 --images 2",
    "memory.py": "--backbones test_resnet --modes cached,finetune,tail,adapters,frozen,behind --side 64 "
    "--batch-size 1 --steps 2 --channels 32 --threads 1",
    "moving.py": "{coded} {coded} {run} --out {out} --config {config} --fractions 0.5,1 --seeds 0 --steps 1",
    "object_store.py": "--images 4 --batch 2 --side 64 --rounds 1",
    "peer_torchvision.py": "{data}/train.json {data}/val.json --images {data}/images --height 64 "
    "--width 64 --epochs 1 --threads 1 --mode finetune --limit 4",
    "presets.py": "{coded} {coded} --out {out} --presets faster-fpn-s --epochs 1 --steps 2",
    "random_read.py": "--samples 4 --batch 2 --rounds 1",
    "refining.py": "{run} {coded} {coded} --out {out} --stages 1 --seeds 0 --steps 1 --device cpu",
    "scale.py": "",
    "startup.py": "--rounds 1",
    "tiles.py": "--out {out} --images 2 --width 160 --height 96 --size 64 --tiles 96 --epochs 1 "
    "--threads 1 --config {config}",
    "training_step.py": "{coded} {data}/images --channels 32 --batch-size 2 --steps 2 --rounds 1 "
    "--threads 1",
    "verifying.py": "--images 2 --rounds 1",
    "views.py": f"{{data}} --out {{out}} {SMALL} --config {{config}} --choices int4-7 --epochs 1 --seeds 0",
    "waiting.py": "--images 8 --batch 4 --epochs 1",
}
# What a command measures besides where it is installed; it is in no extra.
OPTIONAL = [
    ("coders.py", "pcodec"),
    ("coders.py", "constriction"),
    ("random_read.py", "zarrs"),
]
CONFIG = """
[neck]
name = "fpn"
channels = 32
max_level = 6

[train]
epochs = 1
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """What {data} and the others stand for, but {out}."""
    folder = tmp_path_factory.mktemp("benchmarks")
    whole = make_dataset(folder / "data", images=4)
    for part in ("train", "val"):
        (whole.parent / f"{part}.json").write_bytes(whole.read_bytes())
    config = folder / "small.toml"
    config.write_text(CONFIG)
    found = {"data": whole.parent, "config": config}
    for name, codec in (("exact", "fp32"), ("coded", "int5")):
        found[name] = folder / f"{name}.fdet"
        extract(extraction(whole, found[name], size=64, codec=codec))
    found["run"] = folder / "run"
    train(load_config(config), TrainOptions(cache=found["coded"], out=found["run"], threads=1))
    return found


def printed(name: str, warm: Warm, places: dict[str, Path], out: Path) -> str:
    """By the command, which must end well."""
    words = ARGUMENTS[name].format(**places, out=out).split()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(out)}
    done = subprocess.run(
        [str(warm.python), str(FOLDER / name), *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{name} {' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_command_has_its_arguments_and_no_other_file():
    assert sorted(ARGUMENTS) == COMMANDS


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_runs(name, warm, places, tmp_path):
    assert printed(name, warm, places, tmp_path).strip()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "package"), OPTIONAL)
def test_a_package_that_is_installed_is_measured(name, package, warm, places, tmp_path):
    pytest.importorskip(package)
    found = printed(name, warm, places, tmp_path)
    assert package in found and "not installed" not in found
