import pytest

from fdet.cache import errors
from fdet.cache.errors import FdetError, FeatureError, asked, did_you_mean, near_names, shown

ALL = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lrr", "; did you mean 'lr'?"),
        ("retinanett", "; did you mean 'retinanet'?"),
        ("RetinaNet", "; did you mean 'retinanet'?"),
        ("", "; known: fpn, lr, retinanet"),
        ("zebra", "; known: fpn, lr, retinanet"),
    ],
)
def test_a_wrong_name_gets_the_nearest_or_all_known_ones(name, expected):
    assert did_you_mean(name, ["retinanet", "fpn", "lr"]) == expected


def test_known_names_may_come_from_any_iterable():
    assert did_you_mean("zebra", (n for n in ["b", "a"])) == "; known: a, b"


def test_of_very_many_names_the_first_are_listed_and_none_is_cut():
    known = [f"name-{k:04}" for k in range(1000)]
    hint = did_you_mean("zebra", known)
    assert hint == f"; known: {', '.join(known[:40])} and 960 more"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "; did you mean 'a'?"),
        (["a", "b"], "; did you mean 'a' or 'b'?"),
        (["a", "b", "c"], "; did you mean 'a', 'b' or 'c'?"),
    ],
)
def test_names_are_asked_for_in_a_sentence(names, expected):
    assert asked(names) == expected


def test_near_names_come_nearest_first_in_their_own_spelling():
    known = ["faster-rcnn", "Cascade-RCNN", "fcos"]
    assert near_names("faster_rcnn", known, 3, 0.5) == ["faster-rcnn", "Cascade-RCNN"]
    assert near_names("x" * 10**6, known) == []


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
