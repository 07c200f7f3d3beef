import json
from dataclasses import fields, replace

import pytest

from fdet.cache.key import CacheKey
from fdet.cache.pyramid import LevelSpec, PyramidSpec

from .handmade import LEVELS, make_key

# Written out, not read from the metadata: a field that lands in the wrong class must be seen.
CLASSES = {
    "pairs": "backbone weights_sha256 mean std short long square divisor "
    "interpolation levels precision",
    "free": "weights_origin codec views seed batch_size threads device",
    "version": "torch torchvision timm pillow numpy zstandard zarr",
}
CLASS_OF = {name: kind for kind, names in CLASSES.items() for name in names.split()}
NAMES = [f.name for f in fields(CacheKey)]


def changed(key: CacheKey, name: str) -> CacheKey:
    """The same key with another value of the same type in one field."""
    value = getattr(key, name)
    if isinstance(value, PyramidSpec):
        return replace(key, levels=PyramidSpec((*value.levels, LevelSpec("p5", 32, 7))))
    if isinstance(value, bool):
        return replace(key, **{name: not value})
    if isinstance(value, tuple):
        return replace(key, **{name: value[:-1]})
    return replace(key, **{name: value + (1 if isinstance(value, int) else "x")})


def test_every_field_has_a_class():
    assert sorted(CLASS_OF) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_to_resume_every_field_must_agree(name):
    (difference,) = make_key().explain(changed(make_key(), name), "resume")
    assert difference.fatal
    assert difference.field == name
    assert str(difference).startswith(f"{name}: ")


@pytest.mark.parametrize("name", NAMES)
def test_to_pair_each_field_is_handled_by_its_class(name):
    differences = make_key().explain(changed(make_key(), name), "pair")
    found = [(d.field, d.fatal) for d in differences]
    expected = {"pairs": [(name, True)], "version": [(name, False)], "free": []}
    assert found == expected[CLASS_OF[name]]


@pytest.mark.parametrize("operation", ["resume", "pair"])
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


def test_a_key_survives_json_exactly():
    key = make_key(mean=(0.1, 1 / 3, 0.0))
    assert CacheKey.from_json(json.loads(json.dumps(key.to_json()))) == key


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_field_is_not_filled_in(name):
    data = make_key().to_json()
    del data[name]
    with pytest.raises((KeyError, TypeError), match=name):
        CacheKey.from_json(data)
