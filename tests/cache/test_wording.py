"""Numbers and nouns in messages."""

import pytest

from fdet.cache.wording import counted


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "image", None, "0 images"),
        (1, "image", None, "1 image"),
        (2, "image", None, "2 images"),
        (1, "class", "classes", "1 class"),
        (3, "class", "classes", "3 classes"),
    ],
)
def test_a_noun_follows_its_number(number, noun, plural, text):
    assert counted(number, noun, plural) == text
