"""The pixels of an opened image as 8-bit RGB: deep ones are scaled down, transparency is laid over white.

Deep pixels are integers of more than 8 bits, and floating-point numbers. Pillow keeps only the upper byte of
16-bit colours; where both count, the file is decoded once more for the lower one. What is misread otherwise
is refused. Functions raise ValueError with the reason, and decoders raise errors of all kinds.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    TiffImageFile,
)

Values = npt.NDArray[Any]
_TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")
# How Pillow names 16-bit colours that it can also decode from the other end of each number.
_TWO_BYTES = ("RGB;16", "RGBX;16", "RGBA;16")
_OTHER_END = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_JPEG2000_SIZES = b"\xff\x4f\xff\x51"  # the markers SOC and SIZ
_JPEG2000_PRECISION = 42  # the distance from there to the precision of the first component, bytes
# The formats of whose 16-bit colours Pillow gives the upper byte alone.
_UPPER_BYTE_ALONE = ("PPM", "JPEG2000")
_CONVERT = "convert it to interleaved RGB, or to 8 bits"


@dataclass(frozen=True, slots=True)
class Stored:
    """The way in which an image stores its pixels, as it says before it is loaded.

    name: Pillow's name of the layout of its bytes, "" where it has none. maximum: the greatest value, where
    the file states it. planes: whether its colours have more than 8 bits and lie plane by plane.
    white_is_zero: whether 0 is white.
    """

    mode: str
    format: str
    name: str
    maximum: int | None
    planes: bool
    white_is_zero: bool

    @classmethod
    def of(cls, image: Image.Image) -> Stored:
        """Return it of an opened image; reading its EXIF may already load it."""
        layout = next((tile[3] for tile in getattr(image, "tile", ())), "")
        name, *further = layout if isinstance(layout, tuple) else (layout,)
        netpbm = image.format == "PPM" and image.mode != "F"
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
        depths = tags.get(BITSPERSAMPLE, ())
        return cls(
            mode=image.mode,
            format=image.format or "",
            name=name if isinstance(name, str) else "",
            maximum=(further[0] if further else 65535) if netpbm else None,
            planes=tags.get(PLANAR_CONFIGURATION) == 2 and len(depths) > 1 and max(depths) > 8,
            white_is_zero=tags.get(PHOTOMETRIC_INTERPRETATION) == 0,
        )

    @property
    def deep_grey(self) -> bool:
        return self.mode.startswith("I") or self.mode == "F"

    @property
    def deep(self) -> bool:
        """Return whether the pixels have more than 8 bits."""
        return self.deep_grey or ";16" in self.name or self.planes

    def states_its_range(self, raw: bytes) -> bool:
        """Return whether the file has a range other than that of 16 bits, to which Pillow scales it."""
        if self.format == "JPEG2000":
            at = raw.find(_JPEG2000_SIZES)
            return at < 0 or raw[at + _JPEG2000_PRECISION] & 0x7F != 15
        return self.maximum not in (None, 65535)


def to_rgb(image: Image.Image, stored: Stored, raw: bytes, bits: int) -> Image.Image:
    """Load an opened image and convert it to 8-bit RGB.

    raw: the bytes of its file. bits: how many bits deep pixels have; 0 stands for 16, and for floating-point
    pixels of 0 to 1. Raises ValueError where a pixel lies outside that range.
    """
    _refuse_misread(stored)
    stated = stored.states_its_range(raw)
    if stored.deep_grey:
        image.load()
        values = scaled(np.asarray(image), 0 if stated else bits)
        return Image.fromarray(values).convert("RGB")
    colours = None if stated or not bits else _colours(image, stored, raw)
    if colours is not None:
        return Image.fromarray(scaled(colours, bits))
    image.load()
    return over_white(image)


def deep_values(image: Image.Image, stored: Stored, raw: bytes) -> Values | None:
    """Load an opened image and return its deep values; None where it has none, or states their range."""
    _refuse_misread(stored)
    if stored.states_its_range(raw):
        return None
    if stored.deep_grey:
        image.load()
        return np.asarray(image)
    return _colours(image, stored, raw)


def scaled(values: Values, bits: int) -> npt.NDArray[np.uint8]:
    """Scale values to 0..255. Raises ValueError where one lies outside the range that `bits` gives."""
    floating = values.dtype.kind == "f"
    limit = 2**bits - 1 if bits else (1 if floating else 65535)
    low, high = values.min(), values.max()
    if floating and not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("it stores pixels that are NaN or infinite")
    step = limit / 255
    # Floating-point values that round to the ends of the range are within it.
    slack = step / 2 if floating else 0
    if low < -slack or high > limit + slack:
        kind = "floating-point pixels" if floating else "pixels"
        read_as = f" ({bits} bits; see --bits)" if bits else (" (see --bits)" if floating else "")
        raise ValueError(
            f"its {kind} reach {_shown(low)}..{_shown(high)}, expected 0..{limit}{read_as}"
        )
    if floating or limit > 65535:
        return np.round(values / step).clip(0, 255).astype(np.uint8)
    table: npt.NDArray[np.uint8] = np.round(np.arange(limit + 1) / step).astype(np.uint8)
    return table[values]


def _shown(value: Any) -> str:
    return f"{value:.6g}" if value.dtype.kind == "f" else str(value)


def over_white(image: Image.Image) -> Image.Image:
    """Convert a loaded image to RGB; what is transparent becomes white, as in viewers."""
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def _refuse_misread(stored: Stored) -> None:
    """Raise ValueError for deep pixels that Pillow does not decode right."""
    if stored.planes:
        raise ValueError(f"its deep colours are stored plane by plane; {_CONVERT}")
    if stored.white_is_zero and stored.deep_grey:
        raise ValueError("its deep grey has white as zero; convert it to black as zero")


def _colours(image: Image.Image, stored: Stored, raw: bytes) -> Values | None:
    """Load an image and return its 16-bit colours, (H, W, 3) uint16; None where it has none.

    Raises ValueError for 16-bit colours that cannot be decoded as such.
    """
    if ";16" not in stored.name:
        colours = stored.format in _UPPER_BYTE_ALONE and stored.mode in ("RGB", "RGBA", "LA")
        if colours and not stored.states_its_range(raw):
            raise ValueError(f"its 16-bit colours cannot be read from {stored.format}; {_CONVERT}")
        return None
    if not stored.name.startswith(_TWO_BYTES):
        raise ValueError(
            f"its 16-bit pixels ({stored.name}) are of a kind that is not read; {_CONVERT}"
        )
    image.load()
    high = np.asarray(image)
    with Image.open(io.BytesIO(raw)) as again:
        again.tile = [_from_the_other_end(tile) for tile in again.tile]
        again.load()
        low = np.asarray(again)
    values: Values = high.astype(np.uint16) << 8 | low
    if values.shape[2] == 4 and values[..., 3].min() < 65535:
        raise ValueError(f"its 16-bit colours are partly transparent; {_CONVERT}")
    return values[..., :3]


def _from_the_other_end(tile: Any) -> Any:
    """Return what Pillow decodes, but with the lower byte of each number in place of the upper one."""
    layout = tile[3]
    name = layout if isinstance(layout, str) else layout[0]
    swapped = name[:-1] + _OTHER_END[name[-1]]
    parts = (*tile[:3], swapped if isinstance(layout, str) else (swapped, *layout[1:]))
    return tile._make(parts) if hasattr(tile, "_make") else parts
