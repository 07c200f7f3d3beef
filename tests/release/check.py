"""What is released: built, checked, and installed in empty environments, in which the first steps are made.

    PYTHONPATH=FOLDER python -m fdet.tests.release.check [PYTHON ...]

FOLDER has the checkout under the name fdet. Without a PYTHON, the oldest and the newest at hand.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .environments import ROOT, empty, install, interpreters, run, version_of

# The data set is made by the environment's own Pillow.
MAKE_DATA = """
import sys
from pathlib import Path
from generated import make_dataset
make_dataset(Path(sys.argv[1]))
"""
# The README's steps, small. {data}: annotations.json, {images}: their folder.
STEPS = (
    "fdet --version",
    "fdet doctor",
    "fdet dataset check {data} --images {images}",
    "fdet plan {data} --images {images} --out train.fdet --size 64 "
    "--write-trial 2MB --trial-images 2",
    "fdet extract {data} --images {images} --out train.fdet --size 64 --views plain,hflip",
    "fdet train-heads train.fdet --val train.fdet --out runs/first "
    "--set train.epochs=1 --set neck.channels=16",
    "fdet evaluate runs/first train.fdet",
    "fdet predict runs/first {images} --out found",
    "fdet report runs/first --out report.html",
    "fdet fit data --out work --size 64 --views plain --set train.epochs=1",
)
# These end with 3 where there is something to warn of.
WARNING = ("fdet doctor", "fdet dataset check")
PLAN = """
cache = "train.fdet"
val = "train.fdet"
out = "grid"
seeds = [0]
[base.train]
epochs = 2
[axes]
"head.name" = ["tal", "fcos"]
[pruning]
name = "median"
"""
# What needs an extra, and says so in one line.
NEEDS = {
    "objects": "fdet cache info s3://bucket/train.fdet",
    "export": "fdet export runs/first --out model.onnx",
    "video": "fdet predict runs/first film.mp4 --out frames",
    "ray": "fdet extract {data} --images {images} --out ray.fdet --size 64 --engine ray",
    "optuna": "fdet ablate plan.toml",
    "tensorboard": "fdet train-heads train.fdet --out runs/other --track tensorboard",
    "wandb": "fdet train-heads train.fdet --out runs/other --track wandb",
    "mlflow": "fdet train-heads train.fdet --out runs/other --track mlflow",
}
# Extras that no command ends for: an ablation's results have CSV and JSON in any case, and an image that is
# too large fails alone, with a line that names the extra (tests/pipeline/dataset/images/test_photographs.py).
SILENT = {"distributed", "parquet", "large", "docs", "test"}
# Nothing may be fetched once fdet is installed.
OFFLINE = {
    **dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    ),
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def main() -> None:
    given = parse()
    work = given.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    wheel = built(work)
    for python in given.pythons or interpreters():
        version = ".".join(map(str, version_of(python)))
        print(f"== Python {version}: {python}", flush=True)
        folder = work / version
        own = empty(folder / "venv", python)
        install(own, wheel)
        steps(own, folder / "steps")
        shutil.rmtree(folder)
    print("release-check: well")


def built(work: Path) -> Path:
    """Build the source distribution and, from it, the wheel; return the wheel."""
    tools = empty(work / "tools", Path(sys.executable))
    install(tools, "build>=1.2", "twine>=6")
    run([tools, "-m", "build", "--outdir", work / "dist", ROOT])
    files = sorted((work / "dist").iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"] or len(files) == 2, files
    run([tools, "-m", "twine", "check", "--strict", *files])
    (wheel,) = (work / "dist").glob("*.whl")
    return wheel


def steps(python: Path, folder: Path) -> None:
    """Make the README's first steps on made-up data, and ask for every extra that is missing."""
    (data := folder / "data").parent.mkdir(parents=True)
    tests = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    run([python, "-c", MAKE_DATA, data], env=tests)
    (folder / "plan.toml").write_text(PLAN)
    (folder / "film.mp4").write_bytes(b"no film")
    for step in STEPS:
        done = started(python, folder, step)
        print(f"{done.returncode} {step}", flush=True)
        allowed = (0, 3) if step.startswith(WARNING) else (0,)
        if done.returncode not in allowed:
            sys.exit(done.stdout + done.stderr)
    for extra, command in NEEDS.items():
        done = started(python, folder, command)
        print(f"{done.returncode} {command}\n  {done.stderr.strip()}", flush=True)
        if problem := wrong(extra, done.returncode, done.stderr):
            sys.exit(f"{extra}: {problem}\n{done.stdout}{done.stderr}")


def started(python: Path, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment in a folder, without a network."""
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command.format(data="data/annotations.json", images="data/images").split(),
        cwd=folder,
        env={**clean, **OFFLINE, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def wrong(extra: str, status: int, said: str) -> str:
    """What is wrong with the answer to a command whose extra is missing, "" for nothing."""
    if status != 2:
        return f"expected status 2, got {status}"
    lines = [line for line in said.splitlines() if line.strip()]
    if len(lines) != 1:
        return f"expected one line, got {len(lines)}"
    if not re.search(rf"pip install 'frozendet\[{extra}\]'", lines[0]):
        return "the line does not say what to install"
    return ""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "pythons", type=Path, nargs="*", help="interpreters; default: oldest and newest"
    )
    parser.add_argument("--work", type=Path, default=Path("release"), help="a folder to make anew")
    return parser.parse_args()


if __name__ == "__main__":
    main()
