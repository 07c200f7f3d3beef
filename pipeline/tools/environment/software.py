"""The interpreter, the machine, and the libraries that the installed distribution asks for."""

from __future__ import annotations

import os
import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from .facts import Level, Library, Problem, System, without_home

DISTRIBUTION = "frozendet"
# Extras whose libraries build and test fdet itself.
_OF_DEVELOPERS = frozenset({"test", "docs"})
# What changes how fdet computes or where it looks for weights; none of these holds a secret.
_VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "MKL_NUM_THREADS"),
    *(
        "OMP_NUM_THREADS",
        "PYTHONPATH",
        "PYTORCH_CUDA_ALLOC_CONF",
        "RANK",
        "TORCH_HOME",
        "WORLD_SIZE",
    ),
)


def system() -> System:
    """Return what the interpreter and the machine are."""
    memory = _numbers(Path("/proc/meminfo"))
    return System(
        f"{platform.python_implementation()} {platform.python_version()}",
        without_home(sys.executable),
        platform.platform(),
        _processor(Path("/proc/cpuinfo")),
        len(os.sched_getaffinity(0)),
        memory.get("MemTotal", 0) * 1024,
        memory.get("MemAvailable", 0) * 1024,
        {name: without_home(os.environ[name]) for name in _VARIABLES if name in os.environ},
    )


def _processor(path: Path) -> str:
    found = re.search(r"model name\s*:\s*(.+)", path.read_text()) if path.exists() else None
    return found[1] if found else platform.machine()


def _numbers(path: Path) -> dict[str, int]:
    text = path.read_text() if path.exists() else ""
    return {name: int(number) for name, number in re.findall(r"(\w+):\s+(\d+)", text)}


def libraries() -> tuple[Library, ...]:
    """Return the libraries that fdet asks for, those that it always needs first."""
    found = [
        Library(wanted.name, has, str(wanted.specifier), extra, _fits(wanted, has))
        for wanted, extra in _requirements()
        if extra not in _OF_DEVELOPERS
        for has in [_version(wanted.name)]
    ]
    return tuple(sorted(found, key=lambda library: (library.extra, library.name)))


def problems_of(libraries: tuple[Library, ...]) -> Iterator[Problem]:
    """Yield what is wrong: a library that is missing or too old; an extra that is missing is a choice."""
    for library in libraries:
        install = f"pip install '{library.name}{library.wanted}'"
        if library.version is None and not library.extra:
            yield Problem("error", f"{library.name} is not installed: `{install}`")
        elif library.version is not None and not library.fits:
            level: Level = "warning" if library.extra else "error"
            has = f"{library.name} is {library.version}, fdet needs {library.wanted}"
            yield Problem(level, f"{has}: `{install}`")


def _requirements() -> Iterator[tuple[Requirement, str]]:
    """Yield each requirement with its extra: of the checkout, else of the installed distribution."""
    project = Path(__file__).parents[3] / "pyproject.toml"
    for text, extra in _of_checkout(project) if project.is_file() else _of_distribution():
        yield Requirement(text), extra


def _of_distribution() -> list[tuple[str, str]]:
    try:
        parts = [text.partition(";") for text in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        return []
    extras = [re.search(r"extra == [\"'](.*?)[\"']", marker) for _, _, marker in parts]
    return [(p[0], found[1] if found else "") for p, found in zip(parts, extras, strict=True)]


def _of_checkout(path: Path) -> list[tuple[str, str]]:
    project = tomllib.loads(path.read_text())["project"]
    extras = project["optional-dependencies"].items()
    always = [(text, "") for text in project["dependencies"]]
    return always + [(text, extra) for extra, texts in extras for text in texts]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _fits(wanted: Requirement, has: str | None) -> bool:
    return has is not None and wanted.specifier.contains(has, prereleases=True)
