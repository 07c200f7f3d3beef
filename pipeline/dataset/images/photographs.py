"""Photographs of which windows are read: the last ones stay decoded, and large ones are read in parts.

A photograph of more pixels than are decoded at once is read by libvips (the extra `large`), which keeps what
it decodes in a temporary file. Functions raise ValueError with the reason, decoders errors of all kinds.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from ....cache.windows import Window

# A photograph of as many pixels as are decoded at once fits in, as 8-bit RGB.
KEPT_BYTES = 2**28
# The longer side of what is shown of a photograph that is not in memory, px.
SHOWN_SIDE = 4096
# (bands, whether the last is transparency).
_READ = {(1, False), (2, True), (3, False), (4, True)}


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph whose windows can be read.

    hw: (rows, columns) of the upright image in px. window: returns the pixels of a window. shown: returns all
    of it, scaled down to SHOWN_SIDE where it is not in memory. sha256: that of its file, "" for a frame.
    nbytes: the memory that it takes.
    """

    hw: tuple[int, int]
    window: Callable[[Window], Image.Image]
    shown: Callable[[], Image.Image]
    sha256: str = ""
    nbytes: int = 0

    @classmethod
    def of(cls, image: Image.Image, sha256: str = "") -> Photograph:
        """Return a photograph that is in memory as RGB."""

        def window(of: Window) -> Image.Image:
            if of == (0, 0, *image.size):
                return image
            return image.crop((of.x, of.y, of.x + of.width, of.y + of.height))

        hw = image.height, image.width
        return cls(hw, window, lambda: image, sha256, 3 * image.height * image.width)


class LastPhotographs:
    """The photographs that were read last, as many as fit in KEPT_BYTES, and at least the last one.

    However many threads ask for a photograph, it is read once.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Photograph] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], Photograph]) -> Photograph:
        """Return the photograph that is kept as `key`; read it where it is not."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            # What does not fit beside the new one goes first, so that both are never in memory.
            self._make_room(KEPT_BYTES // 2)
            self._kept[key] = read()
            self._make_room(KEPT_BYTES)
            return self._kept[key]

    def _make_room(self, limit: int) -> None:
        while len(self._kept) > 1 and sum(p.nbytes for p in self._kept.values()) > limit:
            self._kept.popitem(last=False)


def open_of_any_size(file: IO[bytes], formats: tuple[str, ...]) -> Image.Image | None:
    """Open an image without decoding it, and without Pillow's limit of pixels; None for other formats."""
    Image.init()
    prefix = file.read(16)
    for name in formats:
        factory, accept = Image.OPEN.get(name, (None, None))
        try:
            if factory is None or (accept is not None and accept(prefix) is not True):
                continue
            file.seek(0)
            image: Image.Image = factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
        return image
    return None


def open_in_parts(path: Path, sha256: str) -> Photograph:
    """Open a large photograph of 8-bit pixels, of which only the windows that are asked for stay in memory.

    Raises ValueError where the library is missing, or cannot read such a file.
    """
    if find_spec("pyvips") is None:
        raise ValueError(
            "so large an image needs one more library; install it with pip install 'frozendet[large]'"
        )
    import pyvips

    try:
        image = pyvips.Image.new_from_file(str(path), revalidate=True).autorot()
    except pyvips.Error as error:
        raise ValueError(
            f"so large an image is read from JPEG, PNG, TIFF or WebP; convert it ({_first(error)})"
        ) from error
    if image.format != "uchar" or (image.bands, bool(image.hasalpha())) not in _READ:
        raise ValueError(
            f"so large an image needs 8-bit grey or RGB, and it has {image.bands} bands of {image.format}; "
            "convert it"
        )

    def pixels(part: Any) -> Image.Image:
        try:
            return Image.fromarray(np.ascontiguousarray(part().numpy()))
        except pyvips.Error as error:
            raise ValueError(_first(error)) from error

    return Photograph(
        (image.height, image.width),
        lambda of: pixels(lambda: image.crop(*of)),
        lambda: pixels(lambda: image.thumbnail_image(SHOWN_SIDE, height=SHOWN_SIDE, size="down")),
        sha256,
    )


def _first(error: Any) -> str:
    """Return the last line of an error of libvips, which has its reason."""
    return str(error).strip().splitlines()[-1].strip()
