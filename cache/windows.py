"""Windows of image files: the part of a file that a name such as photo.jpg#xywh=640,0,640,640 means.

The end of the name is a media fragment of the W3C: the corner and the size of the window, in px of the
upright image.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_FRAGMENT = re.compile(r"#xywh=(\d{1,9}),(\d{1,9}),([1-9]\d{0,8}),([1-9]\d{0,8})\Z")


class Window(NamedTuple):
    """A rectangle of whole pixels of an upright image: its left upper corner and its size."""

    x: int
    y: int
    width: int
    height: int

    @property
    def hw(self) -> tuple[int, int]:
        """Its size in px, (rows, columns)."""
        return self.height, self.width

    def lies_in(self, hw: tuple[int, int]) -> bool:
        """Return whether it lies within an image of that size, (rows, columns) in px."""
        return self.x + self.width <= hw[1] and self.y + self.height <= hw[0]


def split_name(name: str) -> tuple[str, Window | None]:
    """Return the name of the file, and the window of it that a name means; None for all of it."""
    found = _FRAGMENT.search(name)
    if found is None:
        return name, None
    return name[: found.start()], Window(*map(int, found.groups()))


def window_name(name: str, window: Window) -> str:
    """Return the name of a window of a file."""
    return f"{name}#xywh={','.join(map(str, window))}"
