"""One hostile thing: how it is made, what is then called, and what may come of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fdet.cache.errors import FdetError

OUTSIDE = "outside"

Thunk = Callable[[], object]
Attempts = Callable[[Path], Iterable[tuple[str, Thunk]]]


@dataclass(frozen=True)
class Case:
    """prepare: makes the thing in an empty folder, beside which `good` things lie.

    attempts: what is then called, each with a name, one after the other. A call that ends without an
    error vouches for what it returned. expected: the errors that may come. refused: at least one
    call must raise one of them. named: a message must name a path below the folder. seconds: for
    all attempts together.
    """

    name: str
    prepare: Callable[[Path], object]
    attempts: Attempts
    expected: tuple[type[Exception], ...] = (FdetError,)
    refused: bool = True
    named: bool = True
    seconds: float = 60.0


def outside_of(folder: Path) -> Path:
    """A folder of which nothing may ever be opened, created or changed."""
    return folder / OUTSIDE


def good_of(folder: Path) -> Path:
    """Where the good things lie that a case copies and spoils."""
    return folder.parent / "good"
