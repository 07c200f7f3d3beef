"""The options --tiles, --overlap and --whole, which several commands have; it imports next to nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from ...cache.errors import InputError
from ...heads.ranges import between
from ..command import opt
from .tiling import DEFAULT_OVERLAP, MAX_OVERLAP, MIN_SIDE, Tiling

AUTO: Literal["auto"] = "auto"
NONE: Literal["none"] = "none"
AutoTiles = int | Literal["auto"] | None
OwnTiles = int | Literal["none"] | None
TILES = "Tiles"


def tiles_value(text: str) -> Any:
    """Return the value of --tiles; anything but a number stays a text, which the checks refuse."""
    try:
        return int(text)
    except ValueError:
        return text


Tiles = Annotated[
    AutoTiles,
    opt(
        "cut images larger than N px into tiles of N x N px; auto: a side that the objects' sizes suggest",
        group=TILES,
        parser=tiles_value,
        metavar="N|auto",
    ),
]
TilesOrNone = Annotated[
    OwnTiles,
    opt(
        "look at images larger than N px in tiles of N x N px; none: at whole images; default: as the cache "
        "of the run has it",
        group=TILES,
        parser=tiles_value,
        metavar="N|none",
    ),
]
Overlap = Annotated[
    float | None,
    between(0, MAX_OVERLAP),
    opt(
        f"share of its side that a tile has in common with the next one; default: {DEFAULT_OVERLAP}",
        group=TILES,
    ),
]
Whole = Annotated[bool, opt("with --tiles: each whole image beside its tiles", group=TILES)]


def check_tiles(given: object, overlap: float | None, whole: bool, word: str) -> None:
    """Raise InputError for a side of tiles that cannot be, and for options that belong to tiles.

    word: what --tiles takes besides a number.
    """
    cut = given is not None and given != NONE
    for option, is_given in (("--overlap", overlap is not None), ("--whole", whole)):
        if is_given and not cut:
            raise InputError(f"{option}: it belongs to --tiles; give that too, or leave it out")
    if given is None or given == word:
        return
    if not isinstance(given, int) or given < MIN_SIDE:
        raise InputError(
            f"--tiles: expected a side of at least {MIN_SIDE} px, or {word}, got {given}"
        )


def tiling_from(given: object, overlap: float | None, whole: bool) -> Tiling | None:
    """Return the tiling that checked options name; None where they name none."""
    if given is None or given == NONE:
        return None
    share = DEFAULT_OVERLAP if overlap is None else overlap
    return Tiling(cast(int, given), share, whole)
