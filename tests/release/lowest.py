"""A part of the suite, with the oldest releases that pyproject.toml allows.

    PYTHONPATH=FOLDER python -m fdet.tests.release.lowest

FOLDER has the checkout under the name fdet. What fdet asks for is taken at its lower bound; what that asks
for in its turn is the newest that goes with it, as a person would get it.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from .environments import ROOT, empty, install, interpreters, run

# Extras with a test in SMOKE; the others take hundreds of megabytes, a service, or, to export, a newer torch.
EXTRAS = ("objects", "optuna", "parquet", "tensorboard", "video")
TESTED_WITH = ("pydantic>=2", "pytest>=8.3", "setuptools>=77")
SMOKE = (
    "tests/test_readme.py",
    "tests/cache/stores",
    "tests/cache/test_kept.py",
    "tests/pipeline/test_cli.py",
    "tests/pipeline/runs/test_older.py",
    "tests/pipeline/backbones",
    "tests/pipeline/evaluation",
    "tests/pipeline/pictures",
    "tests/pipeline/tools/reporting",
)


def main() -> None:
    given = parse()
    work = given.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    (work / "path").mkdir(parents=True)
    (work / "path" / "fdet").symlink_to(ROOT)
    python = empty(work / "venv", given.python or interpreters()[0])
    install(python, "--no-deps", "--requirement", compiled(work, python))
    # Old releases warn of what came after them, so warnings are no errors here.
    options = ["--override-ini", "filterwarnings=default", "-W", "ignore::DeprecationWarning"]
    tests = [python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "-m", "not slow"]
    environment = {**os.environ, "PYTHONPATH": str(work / "path"), "OMP_NUM_THREADS": "1"}
    run([*tests, *options, *(given.tests or SMOKE)], cwd=work / "path" / "fdet", env=environment)


def compiled(work: Path, python: Path) -> Path:
    """Write the list of what is installed, every release by its number."""
    tools = empty(work / "tools", Path(sys.executable))
    install(tools, "uv>=0.5")
    out, own = work / "lowest.txt", work / "tests.in"
    own.write_text("\n".join(TESTED_WITH))
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    options = ["--resolution", "lowest-direct", "--no-header", "--no-annotate", "--quiet"]
    sources = [ROOT / "pyproject.toml", own]
    uv = [tools.parent / "uv", "pip", "compile", *options, "--python", python, *extras]
    run([*uv, *sources, "--output-file", out])
    return out


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", nargs="*", help="what to run; default: a part of the suite")
    parser.add_argument("--python", type=Path, help="default: the oldest at hand")
    parser.add_argument("--work", type=Path, default=Path("lowest"), help="a folder to make anew")
    return parser.parse_args()


if __name__ == "__main__":
    main()
