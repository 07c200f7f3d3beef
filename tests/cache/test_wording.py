"""Messages say one image and two images."""

import re
from pathlib import Path

import pytest

from fdet.cache.wording import counted, none_has
from fdet.pipeline import dataset

SOURCES = sorted(Path(dataset.__file__).parent.rglob("*.py"))
# A number that is followed by a plural; "1 of 3 images" and "all 3 images" are several.
PLURAL = re.compile(
    r'(?<!of )(?<!all )\{(?:len\([^{}]*\)|count|total|n)\} (?:\w+ )?[a-z]+s\b(?! of)[^"]*"'
)


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


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_source_on_data_sets_writes_a_plural_behind_a_number(source):
    found = [m[0] for m in PLURAL.finditer(source.read_text())]
    assert [text for text in found if not text.startswith("{count} times")] == []
