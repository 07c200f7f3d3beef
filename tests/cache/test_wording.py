"""Messages say one image and two images."""

import re
from pathlib import Path

import pytest

import fdet
from fdet.cache.wording import counted, listed, none_could, none_has

ROOT = Path(fdet.__file__).parent
SOURCES = sorted(p for name in ("cache", "heads", "pipeline") for p in (ROOT / name).rglob("*.py"))
# A number that is followed by a plural; "1 of 3 images" and "all 3 images" are several.
PLURAL = re.compile(
    r'(?<!of )(?<!all )\{(?:len\([^{}]*\)|count|total|n)\} (?:\w+ )?[a-z]+s\b(?! of)[^"]*"'
)
# Bytes, which are never one, and "2 of its 3 images".
ALLOWED = re.compile(r"\{count\} times|\{len\(\w+\)\} (bytes|of its)\b")


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (11, "11 images")]
)
def test_one_thing_is_in_the_singular(count, said):
    assert counted(count, "image") == said


@pytest.mark.parametrize(("count", "said"), [(1, "1 class"), (3, "3 classes")])
def test_a_plural_may_be_another_word(count, said):
    assert counted(count, "class", "classes") == said


def test_verbs_follow_the_number():
    forms = "box is left out", "boxes are left out"
    assert [counted(n, *forms) for n in (1, 2)] == ["1 box is left out", "2 boxes are left out"]
    assert none_has(1, "image", "a label") == "its only image lacks a label"
    assert none_has(2, "image", "a label") == "none of its 2 images has a label"


def test_no_source_writes_a_plural_behind_a_number():
    found = [(source, m[0]) for source in SOURCES for m in PLURAL.finditer(source.read_text())]
    assert [each for each in found if not ALLOWED.match(each[1])] == []


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "the only image could not be read"), (3, "none of 3 images could be read")],
)
def test_none_of_them_could(count, text):
    assert none_could(count, "image", "be read") == text


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b, c"), (list("abcde"), "a, b, c and 2 more")],
)
def test_a_list_ends_with_how_many_more_there_are(names, text):
    assert listed(names) == text
