"""The errors that fdet reports to its users; the command line prints one line and exits with status 2.

    FdetError
    ├── InputError        something the user gave: a file, an image, an option
    ├── ConfigError       a setting that is unknown, of the wrong type or impossible
    ├── KeyMismatch       a cache made from inputs other than those this run needs
    ├── CorruptCache      bytes that are not what was written
    ├── IncompleteCache   a cache whose extraction has not finished
    ├── MissingSample     a sample that the cache does not hold, or holds as failed
    ├── FeatureError      a feature value that the codec cannot store
    └── StorageError      the disk refused: no space, no permission

A message says what is wrong, what was expected, what was found and what to do.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Literal

from .wording import listed

# What to do with a damaged sample.
OnCorrupt = Literal["raise", "skip"]


class FdetError(Exception):
    """The base of all errors that carry a message for the user; a bug never raises one of these."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


class InputError(FdetError):
    """An input of the user cannot be used: a file, an image or an option."""


class ConfigError(FdetError):
    """A setting is unknown, of the wrong type, or impossible in combination with others."""


class KeyMismatch(FdetError):
    """A cache was made from inputs other than those this run needs; the message names them."""


class CorruptCache(FdetError):
    """Bytes on the disk are not the bytes that were committed."""


class IncompleteCache(FdetError):
    """The extraction has not finished: some shard has no record yet, or the manifest is absent."""


class MissingSample(FdetError):
    """The cache holds no features of this image and view: it was never in it, or it failed."""


class FeatureError(FdetError):
    """A feature is NaN, infinite, or beyond the range of the codec.

    index: the position of the offending sample in the batch that was encoded.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class StorageError(FdetError):
    """The disk or the system refused: no space, no permission, a failed fsync, too many open files."""


def shown(text: str) -> str:
    """Return arbitrary text in a form that is safe for a terminal: printable and of bounded length."""
    return _cut(printable(_cut(text)))


def printable(text: str) -> str:
    """Escape control characters and invalid UTF-8, so that the text cannot control a terminal.

    Line ends and tabs stay.
    """
    if text.translate(_KEPT).isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


_KEPT = str.maketrans("\n\t", "  ")


def _cut(text: str) -> str:
    return text if len(text) <= 1500 else f"{text[:1000]} ... {text[-400:]}"


# More names than any table of fdet has.
_MAX_LISTED = 40


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" with the nearest known name, or a list of known names."""
    known = sorted(known)
    nearest = near_names(name, known)
    return asked(nearest) if nearest else f"; known: {listed(known, _MAX_LISTED)}"


def asked(names: Sequence[str]) -> str:
    """Return "; did you mean 'x', 'y' or 'z'?", or an empty text without names."""
    *others, last = [repr(name) for name in names] or [""]
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?" if names else ""


def near_names(name: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known names that are spelt most like `name`, the nearest first.

    Upper and lower case are the same, and so are - and _. cutoff: the least similarity, from 0 to 1.
    """
    plain: dict[str, str] = {}
    for each in sorted(known):
        plain.setdefault(_plain(each), each)
    # Comparing is quadratic, and no known name is longer.
    return [plain[near] for near in get_close_matches(_plain(name[:200]), plain, count, cutoff)]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
