import json
from dataclasses import replace

import pytest

from fdet.cache.errors import CorruptCache, InputError
from fdet.cache.header import FORMAT, NAME, CacheHeader, canonical_json, read_json, sealed_json
from fdet.cache.layout import Layout
from fdet.cache.publish import publish_bytes

from .handmade import attempt, flipped_in, make_header, make_key, make_layout


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
    assert CacheHeader.read(folder) == make_header()
    assert CacheHeader.read(folder).id == make_header().id


def test_equal_headers_have_equal_bytes_and_the_facts_take_no_part_in_the_id():
    other = replace(make_header(), backbone={"parameters": 1})
    assert make_header().to_bytes() == make_header().to_bytes()
    assert other.id == make_header().id
    assert other.to_bytes() != make_header().to_bytes()


def test_what_decides_the_bytes_of_a_cache_decides_its_id():
    header = make_header()
    fewer_views = Layout(("plain",), make_layout().buckets)
    others = [
        replace(header, key=make_key(seed=1)),
        replace(header, layout=fewer_views),
        replace(header, dtype="float16"),
        replace(header, store="hdf5"),
    ]
    assert len({header.id, *(other.id for other in others)}) == 5


def test_no_cache_is_an_input_error_that_tells_how_to_make_one(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"is not a cache.*fdet extract"):
            CacheHeader.read(place)


def test_a_foreign_format_is_named(folder):
    altered(folder, lambda data: data.update(format=FORMAT + 1), seal=True)
    with pytest.raises(InputError, match=r"format 2; this fdet reads format 1"):
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


@pytest.mark.parametrize("field", ["key", "layout", "dtype", "store"])
@pytest.mark.parametrize("junk", [None, 3, [], {}, "x"])
def test_a_sealed_field_of_another_kind_is_corrupt(folder, field, junk):
    altered(folder, lambda data: data.update({field: junk}), seal=True)
    with pytest.raises(CorruptCache):
        CacheHeader.read(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "\xff", '{"format":1,"x":1e999}', '{"a":' * 100_000, "[" * 100_000]
)
def test_what_is_not_a_header_is_corrupt_or_foreign(folder, text):
    (folder / NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises((CorruptCache, InputError)):
        CacheHeader.read(folder)


def test_canonical_json_is_the_same_for_the_same_value():
    assert canonical_json({"b": 1, "a": (1, 2)}) == b'{"a":[1,2],"b":1}\n'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_a_file_that_cannot_be_read_is_corrupt(tmp_path):
    with pytest.raises(CorruptCache, match="No such file"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(CorruptCache, match="directory"):
        read_json(tmp_path)
