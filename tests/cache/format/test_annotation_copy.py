import hashlib

import pytest
import zstandard

from fdet.cache.disk.files import FileEntry
from fdet.cache.errors import CorruptCache
from fdet.cache.format.annotation_copy import (
    MAX_BYTES,
    NAME,
    annotations_to_bytes,
    read_annotations,
)
from fdet.cache.format.header import CacheHeader

from ..handmade import ANNOTATIONS, attempt, flipped_in, make_header


def kept(root, compressed: bytes) -> CacheHeader:
    """Put these bytes in the place of the copy; the header that names them."""
    (root / NAME).write_bytes(compressed)
    return naming({NAME: FileEntry.of(compressed)})


def naming(frame: dict[str, FileEntry]) -> CacheHeader:
    header = make_header()
    return CacheHeader(header.key, header.layout, header.backbone, other_files=frame)


@pytest.mark.parametrize("raw", [b"", b"{}", ANNOTATIONS, bytes(range(256)) * 4000])
def test_the_bytes_come_back(tmp_path, raw):
    assert read_annotations(tmp_path, kept(tmp_path, annotations_to_bytes(raw))) == raw


def test_the_same_bytes_make_the_same_copy():
    assert annotations_to_bytes(ANNOTATIONS) == annotations_to_bytes(ANNOTATIONS)
    assert annotations_to_bytes(ANNOTATIONS) != annotations_to_bytes(ANNOTATIONS + b" ")


def test_every_flipped_bit_is_found(tmp_path):
    raw = bytes(range(30, 230)) + ANNOTATIONS  # literals and repetitions
    header = kept(tmp_path, annotations_to_bytes(raw))
    for position in flipped_in(tmp_path / NAME):
        found = attempt(read_annotations, tmp_path, header)
        assert isinstance(found, CorruptCache) and NAME in str(found), position


def test_a_copy_of_another_length_is_found(tmp_path):
    raw = annotations_to_bytes(ANNOTATIONS)
    header = kept(tmp_path, raw)
    for other in [*(raw[:length] for length in range(len(raw))), raw + b"\0"]:
        (tmp_path / NAME).write_bytes(other)
        with pytest.raises(CorruptCache, match=NAME):
            read_annotations(tmp_path, header)


def test_the_copy_of_another_cache_is_found(tmp_path):
    header = kept(tmp_path, annotations_to_bytes(ANNOTATIONS))
    kept(tmp_path, annotations_to_bytes(ANNOTATIONS.replace(b"images", b"labels")))
    with pytest.raises(CorruptCache, match=r"not those that the header names"):
        read_annotations(tmp_path, header)


def test_a_missing_copy_is_named(tmp_path):
    header = kept(tmp_path, annotations_to_bytes(ANNOTATIONS))
    (tmp_path / NAME).unlink()
    with pytest.raises(CorruptCache, match=r"No such file"):
        read_annotations(tmp_path, header)


def test_a_copy_that_the_header_does_not_name_is_refused(tmp_path):
    kept(tmp_path, annotations_to_bytes(ANNOTATIONS))
    with pytest.raises(CorruptCache, match=r"does not name it"):
        read_annotations(tmp_path, naming({}))


def test_a_link_in_place_of_the_copy_is_refused(tmp_path):
    header = kept(tmp_path, annotations_to_bytes(ANNOTATIONS))
    (tmp_path / NAME).rename(tmp_path / "elsewhere")
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptCache, match=r"symbolic link"):
        read_annotations(tmp_path, header)


def test_a_frame_that_claims_too_much_is_refused(tmp_path):
    # A single-segment frame with an eight-byte content size, and nothing behind it.
    claim = (MAX_BYTES + 1).to_bytes(8, "little")
    header = kept(tmp_path, zstandard.MAGIC_NUMBER.to_bytes(4, "little") + b"\xe0" + claim)
    with pytest.raises(CorruptCache, match=f"claims {MAX_BYTES + 1} bytes"):
        read_annotations(tmp_path, header)


def test_a_frame_that_claims_nothing_is_refused(tmp_path):
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(ANNOTATIONS)
    with pytest.raises(CorruptCache, match="claims -1 bytes"):
        read_annotations(tmp_path, kept(tmp_path, frame))


@pytest.mark.parametrize("frame", [b"", b"no frame at all", annotations_to_bytes(ANNOTATIONS)[:-9]])
def test_what_is_no_frame_is_refused_though_its_digest_holds(tmp_path, frame):
    header = kept(tmp_path, frame)
    assert header.other_files[NAME].sha256 == hashlib.sha256(frame).hexdigest()
    with pytest.raises(CorruptCache, match=NAME):
        read_annotations(tmp_path, header)
