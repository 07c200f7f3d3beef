"""Image files, read as upright RGB whatever they store, and the canvases that placements cut from them."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from ....cache.placement import Placement
from ....cache.windows import Window, split_name
from ...machines.interrupt import was_interrupted
from .photographs import LastPhotographs, Photograph, open_in_parts, open_of_any_size
from .pixels import Stored, Values, deep_values, over_white, to_rgb

# The formats that data sets use. Pillow knows forty more, one of which starts a program.
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
MAX_FILE_BYTES = 2**29
MAX_PIXELS = 89_478_485  # Pillow itself warns about larger images.
INTERPOLATION = "pillow-bilinear-antialias"
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED_BACK = {6: 8, 8: 6}
_LAST = LastPhotographs()


class ImageError(Exception):
    """A file cannot be used as an image; the run goes on without it."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The size of the stored raster in px, and the EXIF orientation (1: upright).

    deep: whether its pixels have more than 8 bits.
    """

    stored_hw: tuple[int, int]
    orientation: int
    deep: bool = False

    @property
    def upright_hw(self) -> tuple[int, int]:
        rows, columns = self.stored_hw
        return (columns, rows) if self.orientation >= 5 else (rows, columns)

    def rotate(self, image_hw: tuple[int, int]) -> bool | None:
        """Return whether the EXIF orientation must be applied to get the size that the annotations name.

        Where both sizes fit, the orientation is applied, since annotators saw the rotated image when they
        drew the boxes. None means that neither size fits.
        """
        if image_hw == self.upright_hw:
            return self.orientation != 1
        return False if image_hw == self.stored_hw else None


def file_and_window(path: Path) -> tuple[Path, Window | None]:
    """Return the file that a path names, and the window of it, as `cache.windows` writes it.

    A file that really has such a name is meant as a whole.
    """
    name, window = split_name(str(path))
    return (path, None) if window is None or path.is_file() else (Path(name), window)


def read_header(path: Path) -> ImageHeader:
    """Read the size and the orientation of an image without decoding it. Raises ImageError.

    A window is upright and has its own size.
    """
    file, window = file_and_window(path)
    if window is not None:
        header = read_header_of_any_size(file)
        _check_window(window, header.upright_hw)
        return ImageHeader(window.hw, 1, header.deep)
    with _decoding():
        _check_file(path)
        with Image.open(path) as image:
            return _header(image)


def read_header_of_any_size(path: Path) -> ImageHeader:
    """Read the header of an image that may be too large to be decoded at once. Raises ImageError."""
    with _decoding():
        _check_regular(path)
        with path.open("rb") as file, _opened_of_any_size(file) as image:
            return _header(image, limited=False)


def _opened_of_any_size(file: IO[bytes]) -> Image.Image:
    return open_of_any_size(file, FORMATS) or Image.open(file)


@contextmanager
def _decoding() -> Iterator[None]:
    """Turn the errors of decoders into ImageError.

    Where Ctrl-C is the reason, KeyboardInterrupt is raised: Pillow may take it for a damaged file, or for a
    decoder that is not installed.
    """
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # Every decoder fails in its own way.
        if was_interrupted():
            raise KeyboardInterrupt from error
        raise ImageError(_reason(error)) from error


def _check_regular(path: Path) -> os.stat_result:
    """Return the status of a file. Raises ImageError: a pipe blocks on opening, a device may never end."""
    if not stat.S_ISREG((status := path.stat()).st_mode):
        raise ImageError("not a regular file")
    return status


def _check_file(path: Path) -> None:
    """Raise ImageError for a file that is irregular, or too large to be read at once."""
    if (status := _check_regular(path)).st_size > MAX_FILE_BYTES:
        raise ImageError(f"{status.st_size} bytes, expected at most {MAX_FILE_BYTES}")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, or "" where it cannot be read, is too large or not a regular file.

    A window has that of its file, however large this is.
    """
    file, window = file_and_window(path)
    try:
        if window is None:
            _check_file(file)
        else:
            _check_regular(file)
        return _sha256(file)
    except (OSError, ImageError):
        return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_image(
    path: Path, image_hw: tuple[int, int] | None = None, bits: int = 0
) -> tuple[Image.Image, str]:
    """Read the upright RGB image and the sha256 of its file.

    image_hw: the size that the annotations name, or None where there are no annotations. bits: how many bits
    deep pixels have, as in `CacheKey`; 8-bit pixels stay as they are. Where the path names a window,
    the file is decoded once for many of them. Raises ImageError.
    """
    file, window = file_and_window(path)
    if window is None:
        return _load_whole(path, image_hw, bits)
    if image_hw not in (None, window.hw):
        raise ImageError(f"its window has the size (h, w) {window.hw}, expected {image_hw}")
    photograph = open_photograph(file, bits)
    return load_window(photograph, window), photograph.sha256


def open_photograph(
    path: Path, bits: int = 0, image_hw: tuple[int, int] | None = None
) -> Photograph:
    """Open an image of any size to read windows of it; the last ones stay open.

    image_hw, bits: as for `load_image`. Raises ImageError.
    """
    photograph = _opened(path, bits)
    if image_hw not in (None, photograph.hw):
        raise ImageError(f"its size (h, w) is {photograph.hw}, expected {image_hw}")
    return photograph


def _opened(path: Path, bits: int) -> Photograph:
    with _decoding():
        status = _check_regular(path)
        key = (path, status.st_ino, status.st_size, status.st_mtime_ns, bits, MAX_PIXELS)
        return _LAST.get(key, lambda: _photograph(path, bits))


def load_window(photograph: Photograph, window: Window) -> Image.Image:
    """Return the pixels of a window of a photograph as RGB. Raises ImageError."""
    _check_window(window, photograph.hw)
    with _decoding():
        return over_white(photograph.window(window))


def _photograph(path: Path, bits: int) -> Photograph:
    rows, columns = read_header_of_any_size(path).upright_hw
    if rows * columns > MAX_PIXELS:
        return open_in_parts(path, _sha256(path))
    return Photograph.of(*_load_whole(path, None, bits))


def show_photograph(photograph: Photograph) -> Image.Image:
    """Return all of a photograph as RGB, scaled down where it is not in memory. Raises ImageError."""
    with _decoding():
        return over_white(photograph.shown())


def _check_window(window: Window, hw: tuple[int, int]) -> None:
    """Raise ImageError for a window that does not lie in an image of that size, or is too large."""
    if not window.lies_in(hw):
        raise ImageError(
            f"it has {hw[1]} x {hw[0]} pixels, and the window {','.join(map(str, window))} (x, y, width, "
            "height) is not within; the file was another when it was cut into tiles"
        )
    if window.width * window.height > MAX_PIXELS:
        raise ImageError(
            f"a window of {window.width} x {window.height} pixels, expected at most {MAX_PIXELS}"
        )


def _load_whole(path: Path, image_hw: tuple[int, int] | None, bits: int) -> tuple[Image.Image, str]:
    with _decoding():
        _check_file(path)
        raw = path.read_bytes()
        with Image.open(io.BytesIO(raw)) as image:
            stored = Stored.of(image)
            header = _header(image)
            rotate = header.rotate(image_hw or header.upright_hw)
            if rotate is None:
                raise ImageError(f"its size (h, w) is {header.upright_hw}, expected {image_hw}")
            rgb = to_rgb(image, stored, raw, bits)
            # Pillow rotates TIFF files by itself when it loads them.
            turned = _orientation(image) != header.orientation
    if rotate and not turned:
        rgb = rgb.transpose(_UPRIGHT[header.orientation])
    elif turned and not rotate:
        rgb = rgb.transpose(_UPRIGHT[_TURNED_BACK.get(header.orientation, header.orientation)])
    return rgb, hashlib.sha256(raw).hexdigest()


def has_deep_pixels(path: Path) -> bool:
    """Return whether a file can be opened and stores pixels of more than 8 bits, without decoding it."""
    try:
        with _decoding():
            _check_file(path)
            with Image.open(path) as image:
                return image.format in FORMATS and Stored.of(image).deep
    except ImageError:
        return False


def load_deep_values(path: Path) -> Values | None:
    """Read the deep pixels of a file as they are stored; None where it has none. Raises ImageError."""
    with _decoding():
        _check_file(path)
        raw = path.read_bytes()
        with Image.open(io.BytesIO(raw)) as image:
            stored = Stored.of(image)
            _check_format(image)
            return deep_values(image, stored, raw)


def draw_canvas(image: Image.Image, placement: Placement) -> npt.NDArray[np.uint8]:
    """Draw the canvas that the backbone sees, (H, W, 3) uint8, from an upright RGB image.

    The padding is black here; the backbone sets it to zero after normalisation.
    """
    rows, columns = placement.content_hw
    left, right = _span(placement, 0, columns)
    top, bottom = _span(placement, 1, rows)
    shown = image.resize((columns, rows), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    if placement.flip[0]:
        shown = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if placement.flip[1]:
        shown = shown.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    canvas = np.zeros((*placement.canvas_hw, 3), dtype=np.uint8)
    canvas[:rows, :columns] = np.asarray(shown)
    return canvas


def _span(placement: Placement, axis: int, length: int) -> tuple[float, float]:
    """Return the interval of the image, in px, that fills `length` px of the canvas along an axis."""
    scale, shift = placement.scale[axis], placement.shift[axis]
    start = (shift - length if placement.flip[axis] else -shift) / scale
    limit = placement.image_hw[1 - axis]
    return max(0.0, start), min(float(limit), start + length / scale)


def _header(image: Image.Image, *, limited: bool = True) -> ImageHeader:
    stored_hw = (image.height, image.width)
    if isinstance(image, TiffImageFile):
        stored_hw = (int(image.tag_v2[IMAGELENGTH]), int(image.tag_v2[IMAGEWIDTH]))
    _check_format(image, limited=limited)
    deep = Stored.of(image).deep
    return ImageHeader(stored_hw, _orientation(image), deep)


def _check_format(image: Image.Image, *, limited: bool = True) -> None:
    if image.format not in FORMATS:
        raise ImageError(f"a file of format {image.format}; known: {', '.join(FORMATS)}")
    if limited and image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f"{image.width} x {image.height} pixels, expected at most {MAX_PIXELS}; cut it by --tiles"
        )


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    return int(orientation) if orientation in _UPRIGHT else 1


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"{error}; cut it by --tiles"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
