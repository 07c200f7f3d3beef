import json

import pytest

from fdet.cache.errors import CorruptCache
from fdet.cache.format.sealed import (
    canonical_json,
    digest,
    parse_json,
    parse_sealed,
    read_sealed,
    sealed_json,
)

from ..handmade import attempt, flipped

CONTENT = {"b": [1, 2.5, "ä"], "a": {"deep": {"er": None}}, "sha": "x", "large": 2**63}


def test_canonical_json_is_the_same_for_the_same_value():
    assert canonical_json({"b": 1, "a": (1, 2)}) == b'{"a":[1,2],"b":1}\n'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_what_was_sealed_comes_back(tmp_path):
    (tmp_path / "file").write_bytes(sealed_json(CONTENT))
    found = read_sealed(tmp_path, "file", 1000)
    assert found.pop("sha256") == digest(CONTENT)
    assert found == CONTENT


def test_every_flipped_bit_is_found(tmp_path):
    raw = sealed_json(CONTENT)
    for position, damaged in flipped(raw):
        found = attempt(parse_sealed, damaged, tmp_path / "file")
        assert isinstance(found, CorruptCache) and f"{tmp_path}/file" in str(found), position


def test_every_other_length_is_found(tmp_path):
    raw = sealed_json(CONTENT)
    for other in [*(raw[:length] for length in range(len(raw))), raw + b"\n", raw + raw]:
        with pytest.raises(CorruptCache):
            parse_sealed(other, tmp_path)


@pytest.mark.parametrize("content", [{}, {"a": 1}, CONTENT])
def test_the_same_value_in_other_bytes_is_found(tmp_path, content):
    data = json.loads(sealed_json(content))
    for other in (
        json.dumps(data, sort_keys=True).encode() + b"\n",
        canonical_json(data).strip(),
        json.dumps(dict(reversed(data.items())), separators=(",", ":")).encode() + b"\n",
        sealed_json(content).replace(b"{", b'{"a":1,', 1),  # a key twice: the last one counts
    ):
        if other != sealed_json(content):
            with pytest.raises(CorruptCache, match="its own digest"):
                parse_sealed(other, tmp_path)


def test_a_file_larger_than_expected_is_not_read(tmp_path):
    (tmp_path / "file").write_bytes(sealed_json(CONTENT))
    with pytest.raises(CorruptCache, match=r"file: \d+ bytes, expected at most 100"):
        read_sealed(tmp_path, "file", 100)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "null", '"x"', "\xff", "\x00", "\ufeff{}", '{"a":1e999}'),
        *('{"a":NaN}', '{"a":-Infinity}', '{"a":' + "9" * 5000 + "}", '{"a":"\\ud800"}'),
        *('{"a":' * 100_000, "[" * 100_000, "{}", '{"sha256":null}', '{"sha256":{}}'),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_not_sealed_json_is_corrupt(tmp_path, text):
    with pytest.raises(CorruptCache, match="file: "):
        parse_sealed(text.encode("latin-1", "xmlcharrefreplace"), tmp_path / "file")


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_an_object_is_expected(tmp_path, text):
    with pytest.raises(CorruptCache, match=r"expected an object, got (list|int|NoneType)"):
        parse_json(text.encode(), tmp_path)
