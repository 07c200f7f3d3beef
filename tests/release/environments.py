"""Interpreters that are at hand, and empty environments of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST, MINORS = (3, 11), range(11, 20)
# Where an interpreter is not asked for, the oldest and the newest of these.
_VERSION = "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3])"


def interpreters() -> list[Path]:
    """The oldest and the newest Python that fdet supports and that starts here; one where both are one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = [shutil.which(f"python3.{minor}") for minor in MINORS]
    paths = [*(Path(p) for p in named if p), *pyenv.glob("3.*/bin/python"), Path(sys.executable)]
    found = {version: path for path in paths if (version := version_of(path)) >= OLDEST}
    return [found[v] for v in sorted({min(found), max(found)})]


def version_of(python: Path) -> tuple[int, ...]:
    """(major, minor, micro) of an interpreter, () where it does not start."""
    asked = subprocess.run([python, "-c", _VERSION], capture_output=True, text=True, check=False)
    if asked.returncode:
        return ()
    return tuple(map(int, asked.stdout.split(".")))


def empty(folder: Path, python: Path) -> Path:
    """Make an environment without packages; return its interpreter."""
    run([python, "-m", "venv", "--clear", folder])
    return folder / "bin" / "python"


def install(python: Path, *words: object) -> None:
    """Install packages by pip."""
    options = ["--quiet", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    run([python, "-m", "pip", "install", *options, *words])


def run(words: list[object], **more) -> None:
    """Run a command, after its line; one that fails ends the program."""
    print("$", *words, flush=True)
    done = subprocess.run([*map(str, words)], check=False, **more)
    if done.returncode:
        sys.exit(f"it ended with {done.returncode}")
