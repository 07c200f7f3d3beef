"""Image vectors: every one is the one that was written, or it is refused; without them nothing changes."""

import io
from dataclasses import replace

import numpy as np
import pytest

from fdet.cache.disk.files import FileEntry, float_array_head
from fdet.cache.errors import CorruptCache, InputError, MissingSample
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.manifest import NAME as MANIFEST
from fdet.cache.format.records import read_record, record_name, samples_name
from fdet.cache.format.vectors import MAX_BYTES, vectors_name, vectors_to_bytes
from fdet.cache.joined import JoinedCache
from fdet.cache.layout import Bucket, ImageEntry, Layout
from fdet.cache.loader import load_batch
from fdet.cache.pairs import PairedCache
from fdet.cache.pyramid import VectorSpec
from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify
from fdet.cache.writer import seal, shard_writer

from ..handmade import (
    VECTOR,
    all_samples,
    assert_exact,
    attempt,
    entry_of,
    files_below,
    flipped_in,
    make_cache,
    make_header,
    maps_of,
    vector_of,
    write_shard,
)

FAILED = 17
SHARD = "32x32-0"
NAME = vectors_name(SHARD)


@pytest.fixture
def cache(store, tmp_path) -> FeatureCache:
    """Three shards in two buckets, two views, one failed image."""
    return make_cache(
        tmp_path / "a.fdet", make_header(store=store, image_vector=VECTOR), failed={FAILED}
    )


def written(header, samples) -> np.ndarray:
    raw = b"".join(vector_of(header, *sample) for sample in samples)
    return np.frombuffer(raw, "<f4").reshape(len(samples), -1)


def test_every_vector_comes_back_bit_for_bit_alone_and_in_any_order(cache):
    samples = all_samples(cache)
    assert len({cache.header.layout.bucket_of(image_id) for image_id, _ in samples}) == 2
    for sample in samples:
        found = cache.vector(*sample)
        assert found.dtype == np.float32 and found.shape == (3,)
        assert found.tobytes() == vector_of(cache.header, *sample)
    shuffled = [samples[k] for k in np.random.default_rng(0).permutation(len(samples))]
    found = cache.vectors([*shuffled, shuffled[0]])
    assert found.dtype == np.float32
    assert found.tobytes() == written(cache.header, [*shuffled, shuffled[0]]).tobytes()
    assert cache.vectors([]).shape == (0, 3)


def test_what_was_given_may_be_written_over(cache):
    sample = all_samples(cache)[0]
    cache.vector(*sample)[:] = 0
    assert cache.vector(*sample).tobytes() == vector_of(cache.header, *sample)


def test_the_file_is_numpys_own(cache):
    raw = (cache.root / NAME).read_bytes()
    rows = np.load(io.BytesIO(raw), allow_pickle=False)
    saved = io.BytesIO()
    np.save(saved, rows)
    assert saved.getvalue() == raw
    samples = cache.header.layout.samples(cache.header.layout.shards[0])
    assert rows.shape == (6, 3) and rows.dtype == np.float32
    for row, (image_id, view) in zip(rows, samples, strict=True):
        if image_id == FAILED:
            assert np.isnan(row).all()
        else:
            assert row.tobytes() == vector_of(cache.header, image_id, view)


def test_a_failed_or_unknown_image_has_no_vector(cache):
    with pytest.raises(MissingSample, match="image 17 failed at extraction: the file is empty"):
        cache.vectors([(10, 0), (FAILED, 1)])
    with pytest.raises(MissingSample):
        cache.vector(999)
    with pytest.raises(MissingSample):
        cache.vector(10, 2)


def test_a_cache_without_them_says_how_to_make_one(whole):
    with pytest.raises(InputError, match=r"keeps no image vectors; .*--image-vectors"):
        whole.vector(10)
    with pytest.raises(InputError):
        whole.vectors([])


def test_maps_tables_and_frames_are_those_of_a_cache_without(cache, store, tmp_path):
    plain = make_cache(tmp_path / "b.fdet", make_header(store=store), failed={FAILED})
    mine, theirs = files_below(cache.root), files_below(plain.root)
    added = {vectors_name(shard.name) for shard in cache.header.layout.shards}
    assert set(mine) - set(theirs) == added and set(theirs) <= set(mine)
    assert cache.header.id != plain.header.id
    # Zarr's root names the cache's id.
    changed = {name for name in theirs if mine[name] != theirs[name]} - {"zarr.json"}
    records = {record_name(shard.name) for shard in cache.header.layout.shards}
    assert changed == {*records, "fdet.json", "manifest.json"}
    assert "image_vector" not in theirs["fdet.json"].decode()


def test_a_cache_without_them_is_what_it_was_before_there_were_any(tmp_path):
    """The id of a header made by hand, as it was computed before the field existed."""
    assert make_header().id == PLAIN_ID


PLAIN_ID = "cf4c2699ed865044c88d66b7b47a8abf76d15c87ba9a3df88ddfa9182a4c0816"


def test_samples_as_stored_carry_their_vector(cache):
    for sample in all_samples(cache):
        entry, _ = cache.stored(*sample)
        assert entry.vector == vector_of(cache.header, *sample)
        assert replace(cache.entry(*sample), vector=entry.vector) == entry
    assert cache.stored(FAILED)[0].vector == b""


def test_every_flipped_bit_is_refused_at_the_first_use(cache):
    samples = cache.header.layout.samples(cache.header.layout.shards[0])
    count = 0
    for _ in flipped_in(cache.root / NAME):
        fresh = FeatureCache.open(cache.root)
        for sample in samples:
            if sample[0] != FAILED:
                with pytest.raises(CorruptCache, match=NAME):
                    fresh.vector(*sample)
        assert fresh.sample(*samples[0]).image_id == 10, "the maps are sound"
        assert fresh.vector(3).tobytes() == vector_of(fresh.header, 3, 0), "another shard's too"
        count += 1
    assert count == (cache.root / NAME).stat().st_size
    assert_exact(FeatureCache.open(cache.root), 10, 1)


def test_what_was_read_once_is_not_read_again(cache):
    assert_exact(cache, 10, 0)
    (cache.root / NAME).write_bytes(b"")
    assert_exact(cache, 10, 1)


def rewritten(cache: FeatureCache, raw: bytes) -> FeatureCache:
    """With other bytes for the first shard's vectors; every digest fits."""
    root, header = cache.root, cache.header
    (root / NAME).write_bytes(raw)
    record = read_record(root, header.id, SHARD)
    record = replace(record, files={**record.files, NAME: FileEntry.of(raw)})
    (root / record_name(SHARD)).write_bytes(record.to_bytes())
    (root / MANIFEST).unlink()
    seal(root, header)
    return FeatureCache.open(root)


def rows_of(cache: FeatureCache) -> np.ndarray:
    return np.load(cache.root / NAME)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda x: npy(x[:5]), "names another size"),
        (lambda x: npy(x[:, :2]), "names another size"),
        (lambda x: npy(x.astype("<f8")), "names another size"),
        (lambda x: npy(x.astype("<f4").T.copy()), "is not 6 vectors of 3"),
        (lambda x: npy(np.asfortranarray(x)), "is not 6 vectors of 3"),
        (lambda x: npy(x.astype(">f4")), "is not 6 vectors of 3"),
        (lambda x: npy(x.view("<i4")), "is not 6 vectors of 3"),
        (lambda x: npy(np.where(np.arange(6)[:, None] == 1, np.inf, x)), "slot 1 is not finite"),
        (lambda x: npy(np.where(np.arange(6)[:, None] == 4, np.nan, x)), "slot 4 is not finite"),
        (lambda x: npy(np.nan_to_num(x)), "slot 2 is there although the sample failed"),
    ],
)
def test_sound_digests_do_not_make_it_what_it_must_be(change, why, cache):
    found = rewritten(cache, change(rows_of(cache).astype(np.float32)))
    with pytest.raises(CorruptCache, match=f"{NAME}: .*{why}"):
        found.vector(10)
    (damage,) = verify(found.root).damages
    assert (damage.file, damage.shard) == (NAME, SHARD) and why.split(" ", 1)[1] in damage.why
    assert found.sample(10).image_id == 10


def test_a_record_that_does_not_name_it_is_refused(cache):
    root, header = cache.root, cache.header
    record = read_record(root, header.id, SHARD)
    files = {name: entry for name, entry in record.files.items() if name != NAME}
    (root / record_name(SHARD)).write_bytes(replace(record, files=files).to_bytes())
    (root / MANIFEST).unlink()
    seal(root, header)
    assert isinstance(attempt(FeatureCache.open(root).vector, 10), CorruptCache)
    assert {damage.file for damage in verify(root).damages} == {NAME, record_name(SHARD)}


def test_another_shards_vectors_are_refused(store, tmp_path):
    images = tuple(ImageEntry(k, f"{k}.png", (32, 32)) for k in range(4))
    header = make_header(store=store, image_vector=VECTOR)
    header = replace(header, layout=Layout(header.layout.views, (Bucket((32, 32), 2, images),)))
    root = make_cache(tmp_path / "a.fdet", header).root
    one, other = (root / vectors_name(f"32x32-{k}") for k in (0, 1))
    raw = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(raw)
    for image in images:
        assert isinstance(attempt(FeatureCache.open(root).vector, image.id), CorruptCache)


@pytest.mark.parametrize("vector", [b"", bytes(8), bytes(16)])
def test_the_writer_takes_only_vectors_of_the_right_length(vector, store, tmp_path):
    header = make_header(store=store, image_vector=VECTOR)
    with (
        pytest.raises(ValueError, match="image 10: expected a vector of 12 bytes"),
        shard_writer(tmp_path, header, header.layout.shards[0]) as writer,
    ):
        writer.add(replace(entry_of(header, 10, 0), vector=vector), maps_of(header, 10, 0))
    plain = make_header(store=store)
    with (
        pytest.raises(ValueError, match="expected a vector of 0 bytes"),
        shard_writer(tmp_path, plain, plain.layout.shards[0]) as writer,
    ):
        writer.add(replace(entry_of(plain, 10, 0), vector=bytes(12)), maps_of(plain, 10, 0))


def test_a_shard_written_again_has_the_same_bytes(cache):
    before = files_below(cache.root)
    write_shard(cache.root, cache.header, cache.header.layout.shards[0], {FAILED})
    seal(cache.root, cache.header)
    assert files_below(cache.root) == before


def test_vectors_survive_pickling_and_a_forgotten_shard(cache):
    import pickle

    again = pickle.loads(pickle.dumps(cache))
    assert_exact(again, 10, 1)


def test_the_absent_are_nan():
    raw = vectors_to_bytes([b"", np.array([1, 2], "<f4").tobytes()], 2)
    assert raw.startswith(float_array_head((2, 2)))
    np.testing.assert_array_equal(np.load(io.BytesIO(raw)), [[np.nan, np.nan], [1, 2]])


@pytest.mark.parametrize("kind", ["", "two\nlines", "x" * 101, 5, None])
def test_a_kind_is_a_short_name(kind):
    with pytest.raises(ValueError, match="expected the name of a kind"):
        VectorSpec(kind, 3)


@pytest.mark.parametrize("channels", [0, -1, 2**31, 1.0, True, "3", None])
def test_a_length_is_a_positive_number(channels):
    with pytest.raises(ValueError, match="channels must be positive"):
        VectorSpec("class-token", channels)


def test_a_shards_vectors_have_a_limit():
    six_slots = VectorSpec("class-token", MAX_BYTES // (6 * 4))
    make_header(image_vector=six_slots)
    with pytest.raises(ValueError, match="the vectors of a shard of bucket 32x32 are too many"):
        make_header(image_vector=VectorSpec("class-token", six_slots.channels + 1))


def part(store: str, *ids: int, vector: VectorSpec | None = VECTOR, seed: int = 0) -> CacheHeader:
    images = tuple(ImageEntry(i, f"{i}.png", (32, 32)) for i in ids)
    header = make_header(store=store, image_vector=vector, seed=seed)
    bucket = Bucket((32, 32), min(2, len(images)), images)
    return replace(header, layout=Layout(header.key.views, (bucket,)))


def test_joined_caches_give_each_image_that_of_its_own(tmp_path):
    one = make_cache(tmp_path / "a", part("zarr", 1, 2, 3))
    other = make_cache(tmp_path / "b", part("hdf5", 7, 8, seed=4), failed={8})
    joined = JoinedCache([one, other])
    assert joined.header.key.image_vector == VECTOR
    samples = [(7, 1), (1, 0), (3, 1), (7, 0)]
    owners = [other, one, one, other]
    expected = [vector_of(o.header, *s) for o, s in zip(owners, samples, strict=True)]
    assert joined.vectors(samples).tobytes() == b"".join(expected)
    assert joined.vector(7, 1).tobytes() == expected[0]
    with pytest.raises(MissingSample):
        joined.vectors([(8, 0)])
    with pytest.raises(MissingSample):
        joined.vectors([(99, 0)])


@pytest.mark.parametrize(
    "vector", [None, VectorSpec("average-pool", 3), VectorSpec("class-token", 4)]
)
def test_caches_of_other_vectors_join_without_them(vector, tmp_path):
    one = make_cache(tmp_path / "a", part("zarr", 1, 2, 3))
    other = make_cache(tmp_path / "b", part("hdf5", 7, vector=vector))
    for parts in ([one, other], [other, one]):
        joined = JoinedCache(parts)
        assert joined.header.key.image_vector is None
        assert load_batch(joined, [(7, 0), (1, 0)]).maps[0].shape[0] == 2
        with pytest.raises(InputError, match="no image vectors of one kind in all caches"):
            joined.vectors([(1, 0)])


def test_of_paired_caches_each_has_its_own(tmp_path):
    one = make_cache(tmp_path / "a", part("zarr", 1, 2, 3))
    other = make_cache(tmp_path / "b", part("hdf5", 1, 2, 3, seed=4))
    paired = PairedCache(one, other)
    assert paired.vectors([(2, 1)]).tobytes() == vector_of(one.header, 2, 1)
    assert paired.second.vector(2, 1).tobytes() == vector_of(other.header, 2, 1)
    assert paired.vector(2, 1).tobytes() != paired.second.vector(2, 1).tobytes()


def test_the_table_of_samples_is_the_same_with_and_without(cache, store, tmp_path):
    plain = make_cache(tmp_path / "b.fdet", make_header(store=store), failed={FAILED})
    name = samples_name(SHARD)
    assert (cache.root / name).read_bytes() == (plain.root / name).read_bytes()
