"""Files with deep pixels, written by hand: Pillow itself cannot write most of them."""

import struct
import zlib
from pathlib import Path

import numpy as np

# The colour types of PNG, by the number of channels.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def write_png(path: Path, values: np.ndarray, filters=(0,)) -> Path:
    """A 16-bit PNG of (H, W) or (H, W, C); its rows take turns with the filters 0 to 4."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    rows, columns = values.shape[:2]
    lines = [row.astype(">u2").tobytes() for row in values]
    before = bytes(len(lines[0]))
    raw = b""
    for k, line in enumerate(lines):
        kind = filters[k % len(filters)]
        raw += bytes([kind]) + _filtered(kind, line, before, 2 * channels)
        before = line
    header = struct.pack(">IIBBBBB", columns, rows, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = [
        _chunk(b"IHDR", header),
        _chunk(b"IDAT", zlib.compress(raw)),
        _chunk(b"IEND", b""),
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _filtered(kind: int, line: bytes, before: bytes, step: int) -> bytes:
    """The filters of PNG's specification, 9.2."""
    out = bytearray()
    for k, value in enumerate(line):
        left = line[k - step] if k >= step else 0
        up, corner = before[k], before[k - step] if k >= step else 0
        guess = left + up - corner
        nearest = min((left, up, corner), key=lambda v: abs(guess - v))
        expected = (0, left, up, (left + up) // 2, nearest)[kind]
        out.append((value - expected) & 0xFF)
    return bytes(out)


def write_tiff(
    path: Path, values: np.ndarray, *, order="<", black=True, deflate=False, planes=False
) -> Path:
    """A TIFF of (H, W) or (H, W, C) with the values' own type, in one strip, or in one for each channel."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    rows, columns = values.shape[:2]
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    stored = values.astype(values.dtype.newbyteorder(order))
    parts = np.moveaxis(stored, 2, 0) if planes else [stored]
    strips = [part.tobytes() for part in parts]
    strips = [zlib.compress(strip) if deflate else strip for strip in strips]
    photometric = 2 if channels > 2 else int(black)
    fields = [
        (256, "I", [columns]),
        (257, "I", [rows]),
        (258, "H", [8 * values.dtype.itemsize] * channels),
        (259, "H", [8 if deflate else 1]),
        (262, "H", [photometric]),
        (273, "I", None),
        (277, "H", [channels]),
        (278, "I", [rows]),
        (279, "I", [len(strip) for strip in strips]),
        (284, "H", [2 if planes else 1]),
        *([(338, "H", [2])] if channels == 4 else []),  # the fourth channel is transparency
        (339, "H", [kind] * channels),
    ]
    beyond = 8 + 2 + 12 * len(fields) + 4
    long = [len(v or strips) * struct.calcsize(c) for _, c, v in fields]
    first = beyond + sum(size for size in long if size > 4)
    offsets = [first + sum(map(len, strips[:k])) for k in range(len(strips))]
    entries, extra = b"", b""
    for tag, code, given in fields:
        listed = offsets if given is None else given
        data = struct.pack(f"{order}{len(listed)}{code}", *listed)
        if len(data) > 4:
            data, extra = struct.pack(f"{order}I", beyond + len(extra)), extra + data
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[code], len(listed))
        entries += data.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    count = struct.pack(f"{order}H", len(fields))
    path.write_bytes(head + count + entries + bytes(4) + extra + b"".join(strips))
    return path


def write_netpbm(path: Path, values: np.ndarray, maximum: int) -> Path:
    """A PGM or PPM of 16-bit values."""
    kind = b"P5" if values.ndim == 2 else b"P6"
    size = f"{values.shape[1]} {values.shape[0]}\n{maximum}\n".encode()
    path.write_bytes(kind + b"\n" + size + values.astype(">u2").tobytes())
    return path
