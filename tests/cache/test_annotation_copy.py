import pytest
import zstandard

from fdet.cache.annotation_copy import MAX_BYTES, NAME, read_annotations, write_annotations
from fdet.cache.errors import CorruptCache

from .handmade import ANNOTATIONS, attempt, flipped_in


@pytest.mark.parametrize("raw", [b"", b"{}", ANNOTATIONS, bytes(range(256)) * 4000])
def test_the_bytes_come_back(tmp_path, raw):
    write_annotations(tmp_path, raw)
    assert read_annotations(tmp_path) == raw


def test_what_is_kept_stays(tmp_path):
    write_annotations(tmp_path, b"first")
    write_annotations(tmp_path, b"second")
    assert read_annotations(tmp_path) == b"first"


def test_the_same_bytes_make_the_same_copy(tmp_path):
    for name in ("a", "b"):
        write_annotations(tmp_path / name, ANNOTATIONS)
    assert (tmp_path / "a" / NAME).read_bytes() == (tmp_path / "b" / NAME).read_bytes()


def test_every_flipped_bit_is_found(tmp_path):
    raw = bytes(range(30, 230)) + ANNOTATIONS  # literals and repetitions
    write_annotations(tmp_path, raw)
    for position in flipped_in(tmp_path / NAME):
        found = attempt(read_annotations, tmp_path)
        assert found == raw or (isinstance(found, CorruptCache) and NAME in str(found)), position


def test_a_truncated_copy_is_found(tmp_path):
    write_annotations(tmp_path, ANNOTATIONS)
    raw = (tmp_path / NAME).read_bytes()
    for length in range(len(raw)):
        (tmp_path / NAME).write_bytes(raw[:length])
        with pytest.raises(CorruptCache, match="give --annotations FILE instead"):
            read_annotations(tmp_path)


def test_a_missing_copy_tells_the_way_out(tmp_path):
    with pytest.raises(CorruptCache, match=r"No such file.*--annotations FILE"):
        read_annotations(tmp_path)


def test_a_frame_that_claims_too_much_is_refused(tmp_path):
    # A single-segment frame with an eight-byte content size, and nothing behind it.
    claim = (MAX_BYTES + 1).to_bytes(8, "little")
    (tmp_path / NAME).write_bytes(zstandard.MAGIC_NUMBER.to_bytes(4, "little") + b"\xe0" + claim)
    with pytest.raises(CorruptCache, match=f"claims {MAX_BYTES + 1} bytes"):
        read_annotations(tmp_path)


def test_a_frame_that_claims_nothing_is_refused(tmp_path):
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(ANNOTATIONS)
    (tmp_path / NAME).write_bytes(frame)
    with pytest.raises(CorruptCache, match="claims -1 bytes"):
        read_annotations(tmp_path)
