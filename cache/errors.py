"""What can go wrong, as one tree: the command line prints these as one line and exits with status 2.

    FdetError
    ├── InputError        something the user gave: a file, an image, an option
    ├── ConfigError       a setting that is unknown, of the wrong type or impossible
    ├── KeyMismatch       a cache made from other inputs than this run needs
    ├── CorruptCache      bytes that are not what was written
    ├── IncompleteCache   a cache whose extraction has not finished
    ├── MissingSample     a sample that the cache does not hold, or holds as failed
    ├── FeatureError      a feature value that the codec cannot store
    └── StorageError      the disk refused: no room, no permission

A message says what is wrong, what was expected, what was found and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class FdetError(Exception):
    """Anything fdet refuses with a message for its user; a bug is never one of these."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


class InputError(FdetError):
    """Something the user gave cannot be used: a file, an image, an option."""


class ConfigError(FdetError):
    """A setting is unknown, of the wrong type, or impossible in combination."""


class KeyMismatch(FdetError):
    """A cache was made from other inputs than this run needs; the message names them."""


class CorruptCache(FdetError):
    """Bytes on the disk are not the bytes that were committed."""


class IncompleteCache(FdetError):
    """The extraction has not finished: some shard has no record yet, or the manifest is absent."""


class MissingSample(FdetError):
    """The cache holds no features for this image and view (never in it, or failed)."""


class FeatureError(FdetError):
    """A feature is NaN, infinite, or beyond the range of the codec.

    index: position of the offending sample in the batch that was encoded.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class StorageError(FdetError):
    """The disk or the system refused: no room, no permission, a failed fsync, too many open files."""


def shown(text: str) -> str:
    """Text that may hold anything, as a terminal may have it: printable, and of bounded length."""
    return _cut(printable(_cut(text)))


def printable(text: str) -> str:
    """Text of which a terminal is told nothing: control characters, and what is no UTF-8, as escapes. Line
    ends and tabs stay.
    """
    if text.translate(_KEPT).isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


_KEPT = str.maketrans("\n\t", "  ")


def _cut(text: str) -> str:
    return text if len(text) <= 1500 else f"{text[:1000]} ... {text[-400:]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the nearest known name, or the list of all of them."""
    known = sorted(known)
    nearest = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; known: {', '.join(known)}"
