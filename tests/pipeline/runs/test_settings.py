"""Mappings become dataclasses strictly; every refusal names the setting by its full path."""

from dataclasses import dataclass
from typing import Literal

import pytest

from fdet.cache.errors import ConfigError
from fdet.pipeline.runs.settings import from_mapping, read_toml, with_setting


@dataclass(frozen=True)
class Everything:
    count: int = 1
    rate: float = 0.5
    flag: bool = False
    word: str = "a"
    choice: Literal["x", "y"] = "x"
    maybe: int | None = None
    pair: tuple[int, int] = (1, 2)
    many: tuple[float, ...] = ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Everything()),
        ({"count": 7, "flag": True, "word": "b"}, Everything(count=7, flag=True, word="b")),
        ({"rate": 2}, Everything(rate=2.0)),
        ({"choice": "y", "maybe": 3}, Everything(choice="y", maybe=3)),
        ({"maybe": None}, Everything()),
        ({"pair": [3, 4], "many": [1, 2.5]}, Everything(pair=(3, 4), many=(1.0, 2.5))),
    ],
)
def test_values_of_the_right_type_are_taken(given, expected):
    made = from_mapping(Everything, given, "s")
    assert made == expected
    assert isinstance(made.rate, float) and all(isinstance(v, float) for v in made.many)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cuont": 1}, "unknown setting 's.cuont'; did you mean 's.count'?"),
        ({"zzz": 1}, "unknown setting 's.zzz'; known: s.choice, s.count"),
        ({"count": "7"}, "setting 's.count': expected int, got '7'"),
        ({"count": 7.0}, "setting 's.count': expected int, got 7.0"),
        ({"count": True}, "setting 's.count': expected int, got True"),
        ({"count": None}, "setting 's.count': expected int, got None"),
        ({"rate": "fast"}, "setting 's.rate': expected float, got 'fast'"),
        ({"rate": True}, "setting 's.rate': expected float, got True"),
        ({"rate": float("inf")}, "setting 's.rate': expected a finite number, got inf"),
        ({"rate": float("nan")}, "setting 's.rate': expected a finite number, got nan"),
        ({"rate": 10**400}, "setting 's.rate': expected a finite number, got 1000"),
        ({"flag": 1}, "setting 's.flag': expected bool, got 1"),
        ({"word": 1}, "setting 's.word': expected str, got 1"),
        ({"choice": "z"}, "setting 's.choice': expected one of ['x', 'y'], got 'z'"),
        ({"choice": ["x"]}, "setting 's.choice': expected one of ['x', 'y'], got ['x']"),
        ({"maybe": "3"}, "setting 's.maybe': expected int, got '3'"),
        ({"pair": [1]}, "setting 's.pair': expected 2 values, got 1"),
        ({"pair": 1}, "setting 's.pair': expected a list, got 1"),
        ({"many": [0.5, "a"]}, "setting 's.many[1]': expected float, got 'a'"),
        ({"many": [0.5] * 10_001}, "setting 's.many': expected at most 10000 values, got 10001"),
        (5, "setting 's': expected a section, got 5"),
    ],
)
def test_everything_else_is_refused_by_its_full_path(given, said):
    with pytest.raises(ConfigError) as caught:
        from_mapping(Everything, given, "s")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("a.b=3", {"a": {"b": 3, "c": 1}}),
        ("a.b=0.5", {"a": {"b": 0.5, "c": 1}}),
        ("a.b=1e-3", {"a": {"b": 1e-3, "c": 1}}),
        ("a.b=true", {"a": {"b": True, "c": 1}}),
        ("a.b=[1, 2]", {"a": {"b": [1, 2], "c": 1}}),
        ('a.b="quoted"', {"a": {"b": "quoted", "c": 1}}),
        ("a.b=plain-word", {"a": {"b": "plain-word", "c": 1}}),
        ("a.b=x=y", {"a": {"b": "x=y", "c": 1}}),
        ("a.b=", {"a": {"b": "", "c": 1}}),
        (" a.c =2", {"a": {"c": 2}}),
        ("d.e.f=1", {"a": {"c": 1}, "d": {"e": {"f": 1}}}),
        ("g=1", {"a": {"c": 1}, "g": 1}),
    ],
)
def test_an_assignment_is_read_as_toml_else_as_a_word(assignment, expected):
    before = {"a": {"c": 1}}
    assert with_setting(before, assignment) == expected
    assert before == {"a": {"c": 1}}, "a copy"


@pytest.mark.parametrize("assignment", ["", "a", "a.b", "=1", ".b=1", "a.=1", "a..b=1"])
def test_what_is_no_assignment_is_refused(assignment):
    with pytest.raises(ConfigError, match=r"expected section\.name=value"):
        with_setting({}, assignment)


def test_a_value_is_no_section():
    with pytest.raises(ConfigError, match="'a' is a value, not a section"):
        with_setting({"a": 1}, "a.b=2")


def test_toml_files_that_cannot_be_read_are_named(tmp_path):
    bad, binary = tmp_path / "bad.toml", tmp_path / "binary.toml"
    bad.write_text("[train\n")
    binary.write_bytes(b"a = 1\n\xe9 = 2\n")
    cases = ((bad, "not TOML"), (binary, "not TOML"), (tmp_path, "Is a directory"))
    for path, said in (*cases, (tmp_path / "absent.toml", "No such file")):
        with pytest.raises(ConfigError, match=f"{path.name}: {said}"):
            read_toml(path)


TEXT = '# über\nname = "größe"\ncount = 3\n'


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", ("utf-16-be", "\ufeff")]
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_toml_is_read_in_the_encodings_that_editors_write(encoding, line_end, tmp_path):
    name, mark = encoding if isinstance(encoding, tuple) else (encoding, "")
    (tmp_path / "a.toml").write_bytes((mark + TEXT).replace("\n", line_end).encode(name))
    assert read_toml(tmp_path / "a.toml") == {"name": "größe", "count": 3}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (TEXT.encode("latin-1"), "expected UTF-8, got byte 0xfc in line 1; save it as UTF-8"),
        ("a = 'x'\nb = 'é'".encode("cp1252"), "expected UTF-8, got byte 0xe9 in line 2"),
        ("a = 1".encode("utf-16-le"), "got UTF-16 without a byte order mark, or no text"),
        ("a = 1".encode("utf-16-be"), "got UTF-16 without a byte order mark, or no text"),
        ("a = 1".encode("utf-16")[:-1], "expected UTF-16 as its mark says, got byte"),
    ],
)
def test_toml_in_another_encoding_is_refused_in_one_line(raw, said, tmp_path):
    (tmp_path / "a.toml").write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        read_toml(tmp_path / "a.toml")
    message = str(caught.value)
    assert message.startswith(f"config {tmp_path / 'a.toml'}: not TOML: ")
    assert said in message and "\n" not in message
