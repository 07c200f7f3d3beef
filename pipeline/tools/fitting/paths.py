"""Paths as words of commands, as options are compared, and as fit.json keeps them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

# In fit.json it stands for the folder of the fit, which may get another name.
OUT = "{out}"


def word_of(path: Path | str) -> str:
    """Return a path as a word that no command takes for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def tidied(path: Path) -> Path:
    """Return an absolute path, without ".." where it leads to the same place so."""
    short = os.path.normpath(path.absolute())
    return Path(short) if os.path.realpath(short) == os.path.realpath(path) else path.absolute()


def tidied_file(text: str) -> str:
    """Return the absolute path of a file, with what stands behind "#"; other texts stay."""
    name, separator, rest = text.partition("#")
    path = Path(name)
    return f"{tidied(path)}{separator}{rest}" if name and path.is_file() else text


def same_place(before: object, now: object, folder: str) -> bool:
    """Return whether two values are paths of one file or folder. folder: what `before` is relative to."""
    if not (isinstance(before, str) and isinstance(now, str) and Path(now).is_absolute()):
        return False
    return os.path.realpath(Path(folder, before)) == os.path.realpath(now)


def kept_words(words: Iterable[str], out: Path) -> tuple[str, ...]:
    """Return the words of a command as fit.json keeps them."""
    return tuple(_replaced(word, str(out), OUT) for word in words)


def filled_words(words: Iterable[str], out: Path) -> tuple[str, ...]:
    """Return the words of a command that fit.json has kept."""
    return tuple(_replaced(word, OUT, str(out)) for word in words)


def _replaced(word: str, before: str, after: str) -> str:
    is_within = word == before or word.startswith(f"{before}/")
    return after + word[len(before) :] if is_within else word
