import json
from dataclasses import MISSING, fields, replace

import pytest

from fdet.cache.key import CacheKey
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.cache.stores import STORES

from .handmade import LEVELS, VECTOR, make_key

# Written out, not read from the metadata: a field that lands in the wrong class must be seen.
CLASSES = {
    "pairs": "backbone weights_sha256 mean std short long square divisor "
    "interpolation bits levels precision",
    "free": "weights_origin image_vector codec calibration converted views seed batch_size threads "
    "device",
    "version": "torch torchvision timm pillow numpy",
    "container": "zstandard zarr h5py",
}
CLASS_OF = {name: kind for kind, names in CLASSES.items() for name in names.split()}
NAMES = [f.name for f in fields(CacheKey)]


def changed(key: CacheKey, name: str) -> CacheKey:
    """The same key with another value of the same type in one field."""
    value = getattr(key, name)
    if name == "bits":
        return replace(key, bits=12)
    if isinstance(value, PyramidSpec):
        return replace(key, levels=PyramidSpec((*value.levels, LevelSpec("p5", 32, 7))))
    if value is None:
        return replace(key, **{name: VECTOR})
    if isinstance(value, bool):
        return replace(key, **{name: not value})
    if isinstance(value, tuple):
        return replace(key, **{name: value[:-1] or ("fp32",)})
    return replace(key, **{name: value + (1 if isinstance(value, int) else "x")})


def test_every_field_has_a_class():
    assert sorted(CLASS_OF) == sorted(NAMES)
    assert len(NAMES) >= 20


# By class: None where a difference does not matter, else whether it stops the operation.
HANDLED = {
    "resume": {"pairs": True, "free": True, "version": True, "container": True},
    "reuse": {"pairs": True, "free": True, "version": True, "container": None},
    "pair": {"pairs": True, "free": None, "version": False, "container": None},
}


@pytest.mark.parametrize("operation", HANDLED)
@pytest.mark.parametrize("name", NAMES)
def test_each_field_changed_alone_is_handled_by_its_class_and_named(name, operation):
    mine, theirs = make_key(), changed(make_key(), name)
    assert mine != theirs
    found = mine.explain(theirs, operation)
    fatal = HANDLED[operation][CLASS_OF[name]]
    assert [(d.field, d.fatal) for d in found] == ([] if fatal is None else [(name, fatal)])
    assert all(str(d).startswith(f"{name}: ") and " here, " in str(d) for d in found)


@pytest.mark.parametrize("operation", HANDLED)
def test_all_fields_changed_at_once_are_all_named(operation):
    other = make_key()
    for name in NAMES:
        other = changed(other, name)
    found = [d.field for d in make_key().explain(other, operation)]
    assert found == [n for n in NAMES if HANDLED[operation][CLASS_OF[n]] is not None]


def test_a_key_moves_to_another_container_without_the_old_ones_versions():
    key = make_key(zstandard="0.22", zarr="3.0", h5py="")
    moved = key.in_container({"zstandard": "0.23", "h5py": "3.12"})
    assert (moved.zstandard, moved.zarr, moved.h5py) == ("0.23", "", "3.12")
    assert key.explain(moved, "reuse") == []
    assert [d.field for d in key.explain(moved, "resume")] == ["zstandard", "zarr", "h5py"]


@pytest.mark.parametrize("name", STORES)
def test_every_library_with_a_part_in_the_bytes_is_a_container_field(name):
    versions = STORES[name].versions()
    assert versions and set(versions) <= set(CLASSES["container"].split())
    assert all(versions.values())


@pytest.mark.parametrize("operation", HANDLED)
def test_equal_keys_do_not_differ(operation):
    assert make_key().explain(make_key(), operation) == []


def test_a_difference_names_both_values():
    (difference,) = make_key(short=32).explain(make_key(short=64), "pair")
    assert str(difference) == "short: 32 here, 64 there"


def test_a_difference_of_levels_is_readable():
    other = PyramidSpec(LEVELS.levels[:1])
    (difference,) = make_key().explain(make_key(levels=other), "pair")
    assert str(difference) == (
        "levels: p3(stride 8, 3 ch) p4(stride 16, 5 ch) here, p3(stride 8, 3 ch) there"
    )


def test_a_difference_of_vectors_is_readable():
    (difference,) = make_key(image_vector=VECTOR).explain(make_key(), "reuse")
    assert str(difference) == "image_vector: class-token(3 ch) here, None there"


def test_a_key_without_vectors_does_not_name_them():
    assert "image_vector" not in make_key().to_json()
    with pytest.raises(TypeError):
        CacheKey.from_json({**make_key().to_json(), "image_vector": None})


def test_sixteen_bits_are_not_named_and_have_one_form():
    """A cache from before deep pixels had a depth says nothing of it."""
    assert "bits" not in make_key().to_json()
    assert CacheKey.from_json(make_key().to_json()).bits == 0
    assert make_key(bits=12).to_json()["bits"] == 12
    (difference,) = make_key(bits=12).explain(make_key(), "pair")
    assert str(difference) == "bits: 12 here, 16 there" and difference.fatal


@pytest.mark.parametrize("bits", [-1, 1, 7, 16, 32, True, "12"])
def test_a_depth_that_no_key_has_is_refused(bits):
    with pytest.raises(ValueError, match="bits: expected"):
        CacheKey.from_json({**make_key().to_json(), "bits": bits})


@pytest.mark.parametrize("vector", [None, VECTOR])
def test_a_key_survives_json_exactly(vector):
    key = make_key(mean=(0.1, 1 / 3, 0.0), image_vector=vector, bits=12 if vector else 0)
    assert CacheKey.from_json(json.loads(json.dumps(key.to_json()))) == key


@pytest.mark.parametrize("name", [f.name for f in fields(CacheKey) if f.default is MISSING])
def test_a_missing_field_is_not_filled_in(name):
    data = make_key().to_json()
    del data[name]
    with pytest.raises((KeyError, TypeError), match=name):
        CacheKey.from_json(data)


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="colour"):
        CacheKey.from_json({**make_key().to_json(), "colour": "red"})
