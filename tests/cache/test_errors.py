import pytest

from fdet.cache import errors
from fdet.cache.errors import FdetError, FeatureError, did_you_mean, shown

ALL = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lrr", "; did you mean 'lr'?"),
        ("retinanett", "; did you mean 'retinanet'?"),
        ("zebra", "; known: fpn, lr, retinanet"),
    ],
)
def test_a_wrong_name_gets_the_nearest_or_all_known_ones(name, expected):
    assert did_you_mean(name, ["retinanet", "fpn", "lr"]) == expected


def test_known_names_may_come_from_any_iterable():
    assert did_you_mean("zebra", (n for n in ["b", "a"])) == "; known: a, b"


@pytest.mark.parametrize("kind", ALL, ids=lambda e: e.__name__)
def test_every_error_is_in_the_tree_and_drawn_in_the_docstring(kind):
    assert issubclass(kind, FdetError)
    assert kind.__name__ in errors.__doc__


def test_a_feature_error_names_the_position_in_the_batch():
    error = FeatureError("3 values are NaN", index=2)
    assert error.index == 2
    assert str(error) == "3 values are NaN"


@pytest.mark.parametrize("text", ["\x1b" * 2**26, "a" * 2**26, "\U0010ffff" * 2**24])
def test_a_text_of_any_length_is_shown_short_and_printable(text):
    assert len(shown(text)) < 1600 and shown(text).isprintable()
