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

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" with the nearest known name, or a list of all known names."""
    known = sorted(known)
    nearest = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; known: {', '.join(known)}"
