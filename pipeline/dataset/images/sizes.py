"""The sizes of images whose annotations name none, from the headers of their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .decoding import ImageError, read_header_of_any_size
from .threads import in_threads


def read_sizes(files: Sequence[Path]) -> list[tuple[int, int] | str]:
    """Return (rows, columns) of each upright image, or why they are not known."""
    return in_threads("reading image sizes", _size, files)


def _size(file: Path) -> tuple[int, int] | str:
    try:
        return read_header_of_any_size(file).upright_hw
    except ImageError as error:
        return str(error)
