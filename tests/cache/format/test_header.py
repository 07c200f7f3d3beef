import json
import os
from dataclasses import replace

import pytest

from fdet.cache.disk.files import FileEntry
from fdet.cache.disk.publish import publish_bytes
from fdet.cache.errors import CorruptCache, InputError
from fdet.cache.format.chunks import MAX_SAMPLE_BYTES
from fdet.cache.format.header import FORMAT, NAME, CacheHeader, read_key
from fdet.cache.format.sealed import canonical_json, sealed_json
from fdet.cache.layout import Bucket, Layout
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.cache.stores import STORES

from ..handmade import attempt, ends_within, flipped_in, make_key, make_layout
from ..handmade import make_header as bare_header

BESIDE = {"zarr.json": FileEntry.of(b"{}"), "a/b/zarr.json": FileEntry.of(b"[]")}


def make_header() -> CacheHeader:
    return replace(bare_header(), other_files=BESIDE)


@pytest.fixture
def folder(tmp_path):
    publish_bytes(tmp_path / NAME, make_header().to_bytes())
    return tmp_path


def altered(folder, change, seal: bool = False):
    """Write the header with `change` applied to its JSON; seal: with a digest that holds."""
    data = json.loads((folder / NAME).read_bytes())
    change(data)
    if seal:
        del data["sha256"]
    (folder / NAME).write_bytes(sealed_json(data) if seal else canonical_json(data))


def test_a_header_survives_the_disk(folder):
    found = CacheHeader.read(folder)
    assert found == make_header()
    assert (found.id, found.digest) == (make_header().id, make_header().digest)


def test_equal_headers_have_equal_bytes():
    assert make_header().to_bytes() == make_header().to_bytes()


@pytest.mark.parametrize("change", [{"backbone": {"parameters": 1}}, {"other_files": {}}])
def test_facts_and_files_beside_take_part_in_the_digest_but_not_in_the_id(change):
    other = replace(make_header(), **change)
    assert other.id == make_header().id
    assert other.digest != make_header().digest
    assert other.to_bytes() != make_header().to_bytes()


def test_what_decides_the_bytes_of_a_cache_decides_its_id():
    header = make_header()
    fewer_images = Layout(header.layout.views, header.layout.buckets[:1])
    others = [
        replace(header, key=make_key(seed=1)),
        replace(header, layout=fewer_images),
        bare_header("fp16"),
        replace(header, store="hdf5"),
    ]
    assert len({header.id, *(other.id for other in others)}) == 5


def test_no_cache_is_an_input_error_that_tells_how_to_make_one(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"is not a cache.*fdet extract"):
            CacheHeader.read(place)


def test_a_foreign_format_is_named(folder):
    altered(folder, lambda data: data.update(format=FORMAT + 1), seal=True)
    with pytest.raises(InputError, match=rf"format {FORMAT + 1}; this fdet reads format {FORMAT}"):
        CacheHeader.read(folder)


def test_every_flipped_bit_is_found(folder):
    for position in flipped_in(folder / NAME):
        found = attempt(CacheHeader.read, folder)
        if isinstance(found, InputError):
            assert f"{NAME}: format " in str(found), position
        elif isinstance(found, CorruptCache):
            assert NAME in str(found), position
        else:
            assert found == make_header(), position


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["key"].update(seed=1),
        lambda data: data["layout"]["buckets"][0]["image_ids"].reverse(),
        lambda data: data["backbone"].update(parameters=1),
        lambda data: data.update(dtype="float16"),
        lambda data: data.update(extra=1),
        lambda data: data["beside"]["zarr.json"].update(bytes=3),
        lambda data: data.pop("store"),
    ],
)
def test_an_altered_header_is_found(folder, change):
    altered(folder, change)
    with pytest.raises(CorruptCache, match="its own digest"):
        CacheHeader.read(folder)


def test_an_altered_header_with_a_digest_that_holds_keeps_its_old_id_and_is_found(folder):
    altered(folder, lambda data: data["key"].update(seed=1), seal=True)
    with pytest.raises(CorruptCache, match="its id is not that"):
        CacheHeader.read(folder)


@pytest.mark.parametrize("field", ["key", "layout", "dtype", "store", "beside"])
@pytest.mark.parametrize("junk", [None, 3, [], [{}], "x"])
def test_a_sealed_field_of_another_kind_is_corrupt(folder, field, junk):
    altered(folder, lambda data: data.update({field: junk}), seal=True)
    with pytest.raises(CorruptCache):
        CacheHeader.read(folder)


def test_a_file_outside_the_cache_is_refused(folder):
    entry = {"bytes": 1, "sha256": "ab"}
    altered(folder, lambda data: data["beside"].update({"../outside": entry}), seal=True)
    with pytest.raises(CorruptCache, match="leaves the folder"):
        CacheHeader.read(folder)


def enormous(header: CacheHeader) -> CacheHeader:
    """The same images on canvases of which a sample has 4 bytes more than the largest."""
    side = 2**14
    channels = MAX_SAMPLE_BYTES // (4 * side * side)
    levels = PyramidSpec((LevelSpec("p3", 1, channels), LevelSpec("p4", side, 1)))
    bucket = Bucket((side, side), 1, header.layout.images)
    key = replace(header.key, levels=levels)
    return replace(header, key=key, layout=Layout(header.layout.views, (bucket,)))


def test_samples_beyond_all_memory_are_refused():
    with pytest.raises(ValueError, match=f"16384x16384 would have {MAX_SAMPLE_BYTES + 4} bytes"):
        enormous(make_header())


@pytest.mark.parametrize("dtype", ["float64", "object", ">f4", "float16", "float32 ", "", 3, None])
def test_another_type_than_the_codecs_is_refused(folder, dtype):
    altered(folder, lambda data: data.update(dtype=dtype), seal=True)
    with pytest.raises(CorruptCache, match=rf"stored type {dtype!r} for codec fp32"):
        CacheHeader.read(folder)


@pytest.mark.parametrize("codec", ["fp61", "", "int8+", "int8+pca0", "int8+pca1000000", "FP32"])
def test_an_unknown_codec_is_refused(folder, codec):
    with pytest.raises(ValueError, match="unknown codec"):
        make_key_header(codec=codec)
    altered(folder, lambda data: data["key"].update(codec=codec), seal=True)
    with pytest.raises(CorruptCache, match="unknown codec"):
        CacheHeader.read(folder)


def test_codecs_that_the_values_went_through_are_known_ones(folder):
    assert make_key_header(converted=("fp32", "int8+pca3")).key.converted
    altered(folder, lambda data: data["key"].update(converted=["fp61"]), seal=True)
    with pytest.raises(CorruptCache, match="unknown codec 'fp61'"):
        CacheHeader.read(folder)


def make_key_header(**changes) -> CacheHeader:
    return CacheHeader(make_key(**changes), make_layout(), {})


def test_a_calibration_is_named_where_the_codec_has_one_and_nowhere_else():
    for changes in ({"codec": "int8"}, {"codec": "fp16+pca"}, {"calibration": "ab"}):
        with pytest.raises(ValueError, match=r"calibration .* for codec"):
            make_key_header(**changes)


def test_maps_are_counted_as_floats_however_few_components_are_stored():
    levels = PyramidSpec((LevelSpec("p3", 8, 2**28 + 1),))
    layout = Layout(("plain",), (Bucket((8, 8), 1, make_layout().images[:1]),))
    key = make_key(codec="int8+pca1", calibration="ab", levels=levels, views=("plain",))
    with pytest.raises(ValueError, match=f"would have {2**30 + 4} bytes"):
        CacheHeader(key, layout, {})


def test_key_and_layout_name_the_same_views():
    layout = Layout(("plain",), make_layout().buckets)
    with pytest.raises(
        ValueError, match=r"views .*'hflip'.* in the key, \('plain',\) in the layout"
    ):
        replace(make_header(), layout=layout)


@pytest.mark.parametrize(
    ("codec", "sizes"),
    [
        ("fp32", [144, 60]),
        ("fp16", [72, 30]),
        ("bf16+pca3", [72, 18]),
        ("int8", [36, 15]),
        ("int5", [36, 20]),
        ("int4+pca1", [12, 4]),
    ],
)
def test_the_bytes_of_a_sample_are_those_of_its_stored_form(codec, sizes):
    """Of maps (3, 2, 6) and (5, 1, 3)."""
    header = bare_header(codec)
    bucket = header.layout.buckets[1]
    assert [header.raw_bytes(level, bucket) for level in header.key.levels.levels] == sizes


@pytest.mark.parametrize("store", STORES)
def test_each_store_has_an_id_of_its_own(store):
    others = {bare_header(store=other).id for other in STORES if other != store}
    assert bare_header(store=store).id not in others


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "\xff", f'{{"format":{FORMAT}}}', f'{{"format":{FORMAT},"x":1e999}}'),
        *('{"format":1,"x":1e999}', '{"a":' * 100_000, "[" * 100_000),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_not_a_header_is_corrupt_or_foreign(folder, text):
    (folder / NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises((CorruptCache, InputError)):
        CacheHeader.read(folder)


@pytest.mark.parametrize("stands_there", ["folder", "link", "pipe"])
def test_what_is_no_file_is_corrupt(folder, stands_there):
    (folder / NAME).rename(folder / "kept")
    if stands_there == "folder":
        (folder / NAME).mkdir()
    elif stands_there == "link":
        (folder / NAME).symlink_to("kept")
    else:
        os.mkfifo(folder / NAME)
    with pytest.raises(CorruptCache, match=rf"{NAME}: (expected a regular file|Too many levels)"):
        ends_within(20, lambda: CacheHeader.read(folder))


def test_a_header_larger_than_any_is_not_read(folder):
    with (folder / NAME).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(CorruptCache, match="expected at most"):
        CacheHeader.read(folder)


def test_the_key_can_be_read_alone(folder):
    assert read_key(folder) == CacheHeader.read(folder).key


def test_the_key_alone_comes_with_the_checks_of_name_and_format(folder):
    path = folder / NAME
    content = json.loads(path.read_bytes())
    for change, said in (
        ({"format": FORMAT + 1}, "this fdet reads format"),
        ({"key": {}}, "unreadable header"),
        ({"key": None}, "unreadable header"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises((CorruptCache, InputError), match=said):
            read_key(folder)
    path.unlink()
    with pytest.raises(InputError, match=f"is not a cache: it has no {NAME}"):
        read_key(folder)
