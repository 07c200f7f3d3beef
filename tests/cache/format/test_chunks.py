import tracemalloc

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zstandard

from fdet.cache.format.chunks import (
    DamagedFrame,
    Frame,
    check_frame,
    compress,
    compress_bound,
    decompress,
)

from ..handmade import attempt, flipped

SAMPLE = np.random.default_rng(0).standard_normal((3, 4, 4)).astype(np.float32)


def decoded(data: bytes, raw_bytes: int = 192) -> bytes:
    """What a frame decompresses to whose length and checksum are as told."""
    checksum = google_crc32c.value(data)
    return decompress(zstandard.ZstdDecompressor(), data, len(data), checksum, raw_bytes)


def test_a_frame_gives_the_bytes_back_with_their_checksum():
    frame = compress(SAMPLE)
    assert frame.crc32c == google_crc32c.value(frame.data)
    assert decoded(frame.data) == SAMPLE.tobytes()
    check_frame(frame.data, len(frame.data), frame.crc32c)


def test_a_frame_is_what_zarrs_own_codec_reads():
    assert bytes(numcodecs.Zstd().decode(compress(SAMPLE).data)) == SAMPLE.tobytes()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f2"])
def test_numbers_lie_with_their_lowest_byte_first(dtype):
    sample = SAMPLE.astype(dtype)
    expected = sample.astype(sample.dtype.newbyteorder("<")).tobytes()
    assert decoded(compress(sample).data, sample.nbytes) == expected


@pytest.mark.parametrize(
    "twisted",
    [np.asfortranarray(SAMPLE), SAMPLE[:, ::-1], SAMPLE[..., ::2], SAMPLE.transpose(2, 0, 1)],
)
def test_an_array_that_is_not_contiguous_is_stored_as_its_values(twisted):
    assert decoded(compress(twisted).data, twisted.nbytes) == twisted.tobytes()


def test_the_same_sample_makes_the_same_frame():
    assert compress(SAMPLE) == compress(SAMPLE.copy())


def test_no_frame_is_larger_than_its_bound():
    for size in (*range(1, 300), 4096, 12_345, 2**17 - 1, 2**17, 2**20 + 1):
        noise = np.random.default_rng(size).integers(256, size=size, dtype=np.uint8)
        assert len(compress(noise).data) <= compress_bound(size)


def test_the_bound_is_that_of_zstd_for_all_sizes():
    # ZSTD_COMPRESSBOUND, from zstd.h.
    for size in (0, 1, 1000, 2**17 - 1, 2**17, 2**27, 2**30):
        margin = (2**17 - size) >> 11 if size < 2**17 else 0
        assert compress_bound(size) >= size + (size >> 8) + margin


def refused(data: bytes, frame: Frame) -> bool:
    decompressor = zstandard.ZstdDecompressor()
    places = (len(frame.data), frame.crc32c)
    found = [attempt_damaged(decompress, decompressor, data, *places, 192)]
    found.append(attempt_damaged(check_frame, data, *places))
    return all(isinstance(one, DamagedFrame) for one in found)


def attempt_damaged(call, *arguments):
    try:
        return attempt(call, *arguments)
    except DamagedFrame as error:
        return error


def test_every_flipped_bit_is_found():
    frame = compress(SAMPLE)
    for position, damaged in flipped(frame.data):
        assert refused(damaged, frame), position


def test_every_other_length_is_found():
    frame = compress(SAMPLE)
    for other in [*(frame.data[:length] for length in range(len(frame.data))), frame.data + b"\0"]:
        assert refused(other, frame)
    with pytest.raises(DamagedFrame, match=f"100 of its {len(frame.data)} bytes are there"):
        check_frame(frame.data[:100], len(frame.data), frame.crc32c)


def test_a_sound_frame_of_another_sample_is_found():
    assert refused(compress(SAMPLE + 1).data, compress(SAMPLE))


@pytest.mark.parametrize("size", [2**24, 193, 191, 0])
def test_a_frame_of_another_size_is_refused_before_it_takes_memory(size):
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(size))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedFrame, match="does not decompress to 192 bytes"):
            decoded(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def undeclared() -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(bytes(192))


def lying(size: int) -> bytes:
    """A frame that claims 192 bytes and holds fewer or more."""
    frame = bytearray(zstandard.ZstdCompressor().compress(bytes(size)))
    assert frame[5] == size
    frame[5] = 192
    return bytes(frame)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"no frame at all", undeclared(), lying(200), lying(180)]
)
def test_what_is_no_such_frame_is_refused_though_its_checksum_holds(data):
    with pytest.raises(DamagedFrame):
        decoded(data)
