"""Names of runs, classes and files as they are displayed: told apart, cut where long, quoted in commands."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from ...cache.errors import shown

# What stands between the parts of a name.
_BETWEEN = re.compile(r"([_/, ]+)")


def unique_names(runs: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that distinguish all runs, in a form that is safe to print."""
    parts = [run.resolve().parts for run in runs]
    length = 1
    while len({p[-length:] for p in parts}) < len(parts):
        length += 1
    return [shown("/".join(p[-length:])) for p in parts]


def shell_word(value: Path | str) -> str:
    """Return a value as a word of a shell command; a path below the current folder is relative to it.

    The paths that a run keeps are absolute.
    """
    if isinstance(value, Path) and value.is_relative_to(here := Path.cwd()):
        value = value.relative_to(here)
    return shlex.quote(str(value))


def shortened(text: str, length: int) -> str:
    """Return at most `length` characters of a text: its beginning and its end, which tell names apart."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[len(text) - end :]}"


def telling_names(names: Sequence[str], length: int) -> list[str]:
    """Return at most `length` characters of each name, without the parts that most of the names share.

    Parts stand between underscores, slashes, commas and spaces. A name that is short enough stays as it is,
    and where what is left no longer tells the names apart, each is cut in the middle. Control characters,
    line ends among them, are escaped.
    """
    names = [_on_one_line(name) for name in names]
    split = [_BETWEEN.split(name) for name in names]
    counts = Counter(part for own in split for part in set(own[::2]))
    common = {part for part, count in counts.items() if len(names) > 1 and 2 * count > len(names)}
    found = [
        name if len(name) <= length else shortened(_without(own, common) or name, length)
        for name, own in zip(names, split, strict=True)
    ]
    return found if len(set(found)) == len(set(names)) else [shortened(n, length) for n in names]


def _on_one_line(name: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _without(split: Sequence[str], left_out: Collection[str]) -> str:
    """Return a name with "…" for each run of parts that are left out; "" where all of them are.

    split: its parts, and between each two what separates them.
    """
    text, cut = "", False
    for separator, part in zip(["", *split[1::2]], split[::2], strict=True):
        if part in left_out:
            text += "" if cut else "…"
        else:
            text += part if cut else separator + part
        cut = part in left_out
    return text.strip("…") and text
