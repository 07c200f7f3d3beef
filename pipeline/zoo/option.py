"""The argument RUN of commands: a run directory, or zoo:NAME."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..command import argument, opt
from .places import SCHEME


def run_place(given: str | Path) -> Path:
    """Return the directory of a run; zoo:NAME is fetched from the zoo. Raises as `fetched` does."""
    text = str(given)
    if not text.startswith(SCHEME):
        return Path(text)
    from .entries import fetched

    return fetched(text.removeprefix(SCHEME))


def run_argument(help: str) -> Any:
    """Return a positional argument for a run directory or zoo:NAME."""
    return argument(f"{help}, or zoo:NAME", parser=run_place, metavar="RUN")


def run_opt(help: str, *flags: str, group: str | None = None) -> Any:
    """Return an option for a run directory or zoo:NAME."""
    return opt(f"{help}, or zoo:NAME", *flags, group=group, parser=run_place, metavar="RUN")
