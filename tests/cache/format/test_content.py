"""The digest of the image files: of the pixels, and of nothing else."""

import hashlib
import json
from pathlib import Path

import pytest

from fdet.cache.errors import CorruptCache
from fdet.cache.format.content import digest_of_images, digest_of_parts
from fdet.cache.format.manifest import Manifest
from fdet.cache.format.sealed import sealed_json
from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify
from fdet.cache.writer import written_records

KEPT = Path(__file__).parents[2] / "kept" / "format-7" / "cache.fdet"
FILES = {3: "a" * 64, 17: "b" * 64, 2**40: "", 5: "c" * 64}


def test_it_hangs_neither_on_the_order_nor_on_the_shards():
    backwards = dict(reversed(FILES.items()))
    parts = [{k: v} for k, v in FILES.items()]
    assert digest_of_images(FILES) == digest_of_images(backwards)
    assert digest_of_images(FILES) == digest_of_parts(map(digest_of_images, parts))


@pytest.mark.parametrize(
    "other",
    [
        {**FILES, 3: "a" * 63 + "b"},
        {**FILES, 3: FILES[17], 17: FILES[3]},
        {k: v for k, v in FILES.items() if k != 2**40},
        {**FILES, 6: FILES[5]},
    ],
)
def test_another_file_or_another_image_changes_it(other):
    assert digest_of_images(other) != digest_of_images(FILES)
    assert len(digest_of_images(other)) == 64


def test_a_whole_cache_says_it_without_reading_a_table(whole, monkeypatch):
    assert whole.content == digest_of_images(whole.image_files)
    again = FeatureCache.open(whole.root)
    monkeypatch.setattr("fdet.cache.reader.image_files", None)
    assert again.content == whole.content


def test_every_record_has_that_of_its_shard(whole):
    header = whole.header
    for shard in header.layout.shards:
        record = written_records(whole.root, header)[shard.name]
        mine = {image.id: whole.image_files[image.id] for image in shard.images}
        assert record.images == digest_of_images(mine)


@pytest.mark.parametrize("junk", [None, 5, "ab", "AB" * 32, ["ab" * 32]])
def test_something_else_in_its_place_is_corrupt(root, junk):
    header = FeatureCache.open(root).header
    data = json.loads((root / "manifest.json").read_bytes())
    del data["sha256"]
    (root / "manifest.json").write_bytes(sealed_json({**data, "images": junk}))
    with pytest.raises(CorruptCache, match="unreadable manifest"):
        Manifest.read(root, header)


def sealed_again(path: Path, **changes) -> bytes:
    data = json.loads(path.read_bytes())
    del data["sha256"]
    path.write_bytes(sealed_json({**data, **changes}))
    return path.read_bytes()


@pytest.mark.parametrize("name", ["manifest.json", "commits/32x32-1.json"])
def test_verify_finds_a_digest_that_is_not_of_the_tables(root, name):
    """Of a sealed file, as another program may write it."""
    raw = sealed_again(root / name, images="ab" * 32)
    if name != "manifest.json":
        header, manifest = (
            FeatureCache.open(root).header,
            json.loads((root / "manifest.json").read_bytes()),
        )
        named = {**manifest["records"], "32x32-1": hashlib.sha256(raw).hexdigest()}
        parts = [record.images for record in written_records(root, header).values()]
        sealed_again(root / "manifest.json", records=named, images=digest_of_parts(parts))
    (damage,) = verify(root).damages
    assert damage.file == name and "digest of the image files" in damage.why


def test_a_cache_that_was_made_before_there_was_one_is_read_for_it():
    cache = FeatureCache.open(KEPT)
    assert cache.manifest.images == ""
    assert all(record.images == "" for record in written_records(KEPT, cache.header).values())
    assert set(cache.image_files) == set(cache.image_ids)
    assert all(len(sha256) == 64 for sha256 in cache.image_files.values())
    assert cache.content == digest_of_images(cache.image_files)
