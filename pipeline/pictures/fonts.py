"""The fonts of pictures: Pillow's own, those of installed packages, and those of the system, in that order.

A font is looked into only where those before it lack a letter, so that Latin names cost nothing.
"""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont, features

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
# A file with a font, or None for the one that Pillow has built in.
Face = Path | None
# The fonts of packages: the name of the package, and its files.
_PACKAGED = (
    ("manimgx_fonts", "NotoSans[[]*.ttf"),
    ("manimgx_fonts", "NotoSans[A-Z]*.ttf"),
    ("manimgx_fonts", "NotoEmoji*.ttf"),
    ("matplotlib", "mpl-data/fonts/ttf/DejaVuSans.ttf"),
    ("noto_cjk_sans_otc", "*.ttc"),
)
_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
# Its glyphs only say to which block a character belongs.
_NO_LETTERS = "LastResort"


def face_of(text: str, *, in_system: bool) -> Face:
    """Return the first font that has all letters of a text. Raises LookupError where none has.

    in_system: whether to search the fonts of the system too, which may be thousands.
    """
    if text.isascii():
        return None
    for face in (None, *_packaged(), *(_of_system() if in_system else ())):
        if all(has(face, letter) for letter in text):
            return face
    raise LookupError(text)


def has(face: Face, letter: str) -> bool:
    """Return whether a font has a letter; what is never visible needs none."""
    invisible = unicodedata.category(letter) == "Cf" or "\ufe00" <= letter <= "\ufe0f"
    return invisible or ord(letter) in _letters(face)


def needs_shaping(text: str) -> bool:
    """Return whether a text is unreadable where each letter is simply put after the last one."""
    return any(
        unicodedata.bidirectional(letter) in ("R", "AL") or unicodedata.category(letter)[0] == "M"
        for letter in text
    )


def can_shape() -> bool:
    """Return whether Pillow puts letters in order and joins them, as Arabic and Indic scripts need."""
    return bool(features.check_feature("raqm"))


@cache
def opened(face: Face, size: int) -> Font:
    """Return a font at a size in px."""
    return ImageFont.load_default(size) if face is None else ImageFont.truetype(face, size)


@cache
def _letters(face: Face) -> frozenset[int]:
    """Return the code points for which a font has glyphs; none where it cannot be used."""
    from fontTools.ttLib import TTFont

    try:
        font = opened(face, 20)
        if isinstance(font, ImageFont.ImageFont):
            return frozenset(range(32, 127))
        source = io.BytesIO(font.path.getvalue()) if isinstance(font.path, io.BytesIO) else face
        with TTFont(source, fontNumber=0, lazy=True) as tables:
            return frozenset(tables.getBestCmap() or ())
    except Exception:  # A font of the system may be damaged, or of a kind that has no outlines.
        return frozenset()


@cache
def _packaged() -> tuple[Path, ...]:
    """Return the fonts of the packages that are installed."""
    found: list[Path] = []
    for package, pattern in _PACKAGED:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found += sorted(Path(folder).glob(pattern))
    return tuple(found)


@cache
def _of_system() -> tuple[Path, ...]:
    """Return the fonts in the folders where systems keep them."""
    return tuple(font for folder in _system_folders() for font in _fonts_below(folder))


def _system_folders() -> Iterator[Path]:
    home, data = Path.home(), os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share")
    yield from (home / ".fonts", home / ".local" / "share" / "fonts", home / "Library" / "Fonts")
    yield Path(sys.prefix) / "share" / "fonts"
    yield from (Path(part) / "fonts" for part in data.split(":") if part)
    yield from (Path("/Library/Fonts"), Path("/System/Library/Fonts"))


def _fonts_below(folder: Path) -> list[Path]:
    return sorted(
        Path(root) / name
        for root, _, files in os.walk(folder)
        for name in files
        if name.lower().endswith(_SUFFIXES) and _NO_LETTERS not in name
    )
