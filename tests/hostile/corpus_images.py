"""Image files made to do harm: none may do more than fail."""

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fdet.pipeline.dataset.images.decoding import ImageError, load_image, read_header

from .case import Case, Thunk, outside_of

Make = Callable[[Path], object]


def attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """Header and pixels, with and without a size to hold them against."""
    for path in sorted(folder.glob("image*")):
        yield f"header {path.name}", partial(read_header, path)
        yield f"pixels {path.name}", partial(_pixels, path)
        yield f"pixels of 8x8 {path.name}", partial(load_image, path, (8, 8))


def _pixels(path: Path) -> None:
    image, _ = load_image(path)
    assert image.mode == "RGB" and min(image.size) > 0


def image(
    name: str, *contents: bytes | Callable[[], bytes], suffix: str = ".jpg", refused: bool = True
) -> Case:
    def prepare(folder: Path) -> None:
        for k, given in enumerate(contents):
            data = given if isinstance(given, bytes) else given()
            (folder / f"image{k}{suffix}").write_bytes(data)

    return Case(f"image: {name}", prepare, attempts, (ImageError,), refused, named=False)


def special(name: str, make: Callable[[Path, Path], object]) -> Case:
    def prepare(folder: Path) -> None:
        make(folder / "image.png", outside_of(folder))

    return Case(f"image: {name}", prepare, attempts, (ImageError,), named=False)


def saved(
    kind: str, size: tuple[int, int] = (16, 12), mode: str = "RGB", **options: object
) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, raw: bytes = b"", bits: int = 8, kind: int = 2, *more: bytes
) -> bytes:
    """kind: 0 grey, 2 RGB, 3 palette, 6 RGBA; raw: its uncompressed rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    parts = [header, *more, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb(width: int, height: int, bits: int, kind: int) -> bytes:
    """All its rows are there, and zero."""
    samples = {0: 1, 2: 3, 3: 1, 6: 4}[kind]
    row = 1 + (width * bits * samples + 7) // 8
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(row)) for _ in range(height)]
    data = b"".join([*parts, packer.flush()])
    palette = [chunk(b"PLTE", bytes(3))] if kind == 3 else []
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", header, *palette, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    )


def tiff(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    """(tag, type, count, value) of one directory; `following`: where it says the next one is."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(256)


def sized(width: int, height: int, *more: tuple[int, int, int, int], following: int = 0) -> bytes:
    base = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    base += [(273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, width * height % 2**32)]
    tags = {tag[0]: tag for tag in [*base, *more]}
    return tiff(*(tags[number] for number in sorted(tags)), following=following)


def _cut(data: bytes) -> list[bytes]:
    return [data[: len(data) * k // 6] for k in range(6)]


def _noisy_jpeg() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _jpeg_of(width: int, height: int) -> bytes:
    """Its header says another size than its data have."""
    data = bytearray(saved("JPEG", (16, 16)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _gif_of(width: int, height: int) -> bytes:
    data = bytearray(saved("GIF", (16, 16), "P"))
    at = data.index(b",")
    data[6:10] = struct.pack("<HH", width, height)
    data[at + 5 : at + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def _frames(kind: str, count: int) -> bytes:
    first, *others = (Image.new("P", (16, 16), k % 256) for k in range(count))
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others)
    return buffer.getvalue()


def _exif(orientation: bytes) -> bytes:
    """A JPEG with an EXIF block made by hand."""
    data = saved("JPEG", (8, 8))
    block = b"Exif\0\0" + orientation
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def _sparse(size: int, beginning: bytes) -> Callable[[Path, Path], None]:
    def make(path: Path, outside: Path) -> None:
        path.write_bytes(beginning)
        os.truncate(path, size)

    return make


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) (w) file\n%%EOF\n"

CASES = [
    image(
        "a PNG of 60,000 x 60,000",
        png(60_000, 60_000),
        lambda: png(60_000, 60_000, bytes(2**20)),
        suffix=".png",
    ),
    image(
        "a PNG as large as numbers go",
        png(2**31 - 1, 2**31 - 1),
        png(2**32 - 1, 1),
        png(1, 2**31),
        suffix=".png",
    ),
    image("a PNG of no size", png(0, 0), png(0, 8), png(8, 0), suffix=".png"),
    image("a PNG of a size that Pillow warns of, of nothing", png(13_000, 13_000), suffix=".png"),
    image(
        "a bomb of 90 megapixels, RGB",
        lambda: bomb(9_500, 9_500, 8, 2),
        suffix=".png",
        refused=False,
    ),
    image(
        "a bomb of 90 megapixels, RGBA",
        lambda: bomb(9_500, 9_500, 8, 6),
        suffix=".png",
        refused=False,
    ),
    image(
        "a bomb of 90 megapixels, grey of 16 bits",
        lambda: bomb(9_500, 9_500, 16, 0),
        suffix=".png",
        refused=False,
    ),
    image(
        "a bomb of 170 megapixels, one bit",
        lambda: bomb(13_000, 13_000, 1, 0),
        suffix=".png",
        refused=False,
    ),
    image(
        "a PNG that holds more than its size",
        lambda: png(8, 8, bytes(2**26)),
        suffix=".png",
        refused=False,
    ),
    image(
        "a PNG with a text that grows",
        lambda: png(8, 8, bytes(200), 8, 2, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))),
        lambda: png(
            8, 8, bytes(200), 8, 2, chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(2**26)))
        ),
        suffix=".png",
        refused=False,
    ),
    image(
        "a PNG with a profile that grows",
        lambda: png(8, 8, bytes(200), 8, 2, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**26)))),
        suffix=".png",
        refused=False,
    ),
    image(
        "a PNG with many chunks",
        lambda: png(8, 8, bytes(200), 8, 2, *[chunk(b"tEXt", b"a\0b")] * 50_000),
        suffix=".png",
        refused=False,
    ),
    image(
        "a PNG of odd kinds",
        *(png(8, 8, bytes(300), bits, kind) for bits in (0, 3, 255) for kind in (1, 5, 7, 255)),
        suffix=".png",
    ),
    image(
        "a PNG whose chunk is longer than the file",
        png(8, 8, bytes(200)).replace(
            struct.pack(">I", 13) + b"IHDR", struct.pack(">I", 2**31 - 1) + b"IHDR"
        ),
        suffix=".png",
    ),
    image("a cut JPEG", *_cut(_noisy_jpeg())),
    image(
        "a JPEG of another size than it says", _jpeg_of(8, 8), _jpeg_of(1000, 1000), refused=False
    ),
    image("a JPEG of 65,500 x 65,500", _jpeg_of(65_500, 65_500)),
    image("a JPEG of no size", _jpeg_of(0, 0), _jpeg_of(0, 16)),
    image(
        "a JPEG of markers alone",
        b"\xff\xd8" + b"\xff\xe1\xff\xff" * 1000,
        b"\xff\xd8" + b"\xff" * 10**5,
        b"\xff\xd8\xff\xd9",
    ),
    image(
        "EXIF: a circle of directories",
        _exif(b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"),
        _exif(b"II*\0\x08\0\0\0\0\0\x08\0\0\0"),
        refused=False,
    ),
    image(
        "EXIF: an orientation that is none",
        *(
            _exif(b"II*\0\x08\0\0\0\x01\0\x12\x01" + v + b"\0\0\0\0")
            for v in (
                b"\x03\0\x01\0\0\0\x63\0\0\0",
                b"\x03\0\xff\xff\xff\xff\0\0\0\0",
                b"\x02\0\x08\0\0\0\0\0\0\0",
                b"\x05\0\x01\0\0\0\0\0\0\0",
                b"\x0c\0\x01\0\0\0\0\0\0\0",
                b"\xff\xff\x01\0\0\0\0\0\0\0",
            )
        ),
        refused=False,
    ),
    image(
        "EXIF: nothing, or noise",
        _exif(b""),
        _exif(b"\xff" * 1000),
        _exif(b"II*\0\xff\xff\xff\xff"),
        refused=False,
    ),
    image("a GIF of 65,535 x 65,535", _gif_of(65_535, 65_535)),
    image("a GIF of no size", _gif_of(0, 0), refused=False),
    image("a GIF of 2,000 frames", lambda: _frames("GIF", 2000), refused=False),
    image("a cut GIF", *_cut(saved("GIF", (64, 64), "P"))[:3]),
    image("a TIFF of 60,000 x 60,000", sized(60_000, 60_000)),
    image("a TIFF without a size", tiff((258, 3, 1, 8)), tiff()),
    image(
        "a TIFF of a size that is none",
        sized(0, 0),
        sized(2**32 - 1, 2**32 - 1),
        tiff((256, 2, 4, 8), (257, 2, 4, 8)),
        tiff((256, 5, 1, 8), (257, 5, 1, 8)),
    ),
    image("a TIFF with a circle of directories", sized(8, 8, following=8), refused=False),
    image(
        "a TIFF with tags of 4 GiB",
        *(sized(8, 8, (315, kind, 2**32 - 1, 8)) for kind in (1, 2, 5, 7, 12)),
        refused=False,
    ),
    image(
        "a TIFF with strips beyond the file",
        tiff(
            (256, 4, 1, 8),
            (257, 4, 1, 8),
            (258, 3, 1, 8),
            (262, 3, 1, 1),
            (273, 4, 1, 2**31),
            (278, 4, 1, 8),
            (279, 4, 1, 64),
        ),
    ),
    image(
        "a TIFF of a compression that nobody knows",
        sized(8, 8, (259, 3, 1, 65535)),
        sized(8, 8, (259, 3, 1, 7)),
        sized(8, 8, (259, 3, 1, 50001)),
    ),
    image("a cut WebP", *_cut(saved("WEBP", (64, 64)))),
    image(
        "a WebP of 16,383 x 16,383",
        saved("WEBP", (64, 64), lossless=True)[:20] + b"\x2f\xff\xff\xff\x0f" + bytes(20),
    ),
    image(
        "a BMP of another size than it says",
        saved("BMP")[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + saved("BMP")[26:],
        saved("BMP")[:18] + struct.pack("<ii", -5, -5) + saved("BMP")[26:],
    ),
    image(
        "a PPM of another size than it says",
        b"P6 60000 60000 255\n",
        b"P6 99999999999999999999 1 255\n",
        b"P6 0 0 255\n",
        b"P3 8 8 255\n" + b"9" * 10**5,
        b"P6 8 8 0\n" + bytes(200),
        b"P6 -8 -8 255\n" + bytes(200),
    ),
    image(
        "a PPM of values without end",
        b"P6 " + b"#" * 10**5,
        b"P7 \n" * 1000,
        b"Pf 8 8 nan\n" + bytes(300),
    ),
    image("PostScript", EPS, b"\xc5\xd0\xd3\xc6" + bytes(28) + EPS),
    image(
        "formats that nobody asked for",
        b"8BPS\0\x01" + bytes(6) + b"\0\x03\0\0\0\x08\0\0\0\x08\0\x08\0\x03" + bytes(300),
        b"#define a_width 8\n#define a_height 8\nstatic char a_bits[] = {\n" + b"0x00," * 8 + b"};",
        b"Image type: L\r\n" + bytes(600),
        b"%PDF-1.4\n",
        b"\xd7\xcd\xc6\x9a" + bytes(40),
    ),
    image("an icon", lambda: saved("ICO", (16, 16)), refused=False),
    image(
        "pixels that are numbers",
        lambda: saved("TIFF", (8, 8), "F"),
        lambda: saved("TIFF", (8, 8), "I"),
        refused=False,
    ),
    image(
        "text",
        b"hello",
        b"",
        b"\0" * 1000,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!DOCTYPE html>",
        b"#!/bin/sh\n",
    ),
    special("a FIFO", lambda path, _: os.mkfifo(path)),
    special(
        "a link to a FIFO",
        lambda path, _: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe")),
    ),
    special("a device", lambda path, _: path.symlink_to("/dev/zero")),
    special("a terminal", lambda path, _: path.symlink_to("/dev/tty")),
    special("standard input", lambda path, _: path.symlink_to("/dev/stdin")),
    special("a folder", lambda path, _: path.mkdir()),
    special("a link to itself", lambda path, _: path.symlink_to("image.png")),
    special("a terabyte of nothing", _sparse(2**40, b"")),
    special("a terabyte behind a good image", _sparse(2**40, saved("PNG"))),
    special("a gigabyte behind a good image", _sparse(2**30, saved("PNG"))),
]
