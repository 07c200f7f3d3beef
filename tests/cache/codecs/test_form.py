"""Names of codecs, and what they say of a stored map."""

from itertools import product

import pytest

from fdet.cache.codecs.form import NUMBERS, StoredForm, get_form, parse_form
from fdet.cache.errors import InputError

from ..handmade import CODECS

PLAIN = [name for name, numbers in NUMBERS.items() if numbers.rate is None]
MORE = [*CODECS, *(f"{name}+pca{k}" for name in PLAIN for k in (1, 64, 999999))]


@pytest.mark.parametrize("name", MORE)
def test_a_name_is_parsed_and_printed_back(name):
    form = parse_form(name)
    assert form.name == name
    assert form.numbers is NUMBERS[name.partition("+")[0]]
    assert form.dtype == form.numbers.dtype


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("fp61", "fp16"),
        ("int7", "int"),
        ("in5+pca3", "int5"),
        ("bf6", "bf16"),
        ("fp32 ", "fp32"),
        ("int5+pca03", "int5"),
        ("int5+pca0", "int5"),
        ("int5+pca-1", "int5"),
        ("int5+pca1000000", "int5"),
        ("int5+", "int5"),
        ("int5+pca64+pca", "int5"),
        ("int5+pca٣", "int5"),
        ("fp32\n", "fp32"),
        ("q1.7", "q1.5"),
        ("q1.", "q1"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(name, nearest):
    with pytest.raises(ValueError, match=rf"unknown codec .*'{nearest}.*principal components"):
        parse_form(name)
    with pytest.raises(InputError, match="unknown codec"):
        get_form(name)


def test_a_name_like_no_other_gets_all_of_them():
    for name in ("", "+pca", "zstd", "x" * 1000):
        with pytest.raises(
            ValueError, match=r"known: bf16, fp16, fp32, int4, int5, int6, int8, q1, q1\.5, q2"
        ):
            parse_form(name)


@pytest.mark.parametrize("name", ["q1+pca", "q1.5+pca64"])
def test_a_codec_in_blocks_has_components_of_its_own(name):
    with pytest.raises(InputError, match=r"q1(\.5)? has components of its own; leave out \+pca"):
        get_form(name)


def test_only_plain_floats_need_no_calibration():
    assert [name for name in CODECS if not parse_form(name).calibrated] == ["fp32", "fp16", "bf16"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fp16", (5, 7, 9)),
        ("int8", (5, 7, 9)),
        ("int8+pca", (5, 7, 9)),
        ("int8+pca3", (3, 7, 9)),
        ("fp16+pca999999", (5, 7, 9)),
        ("int5", (10, 7, 5)),
        ("int4+pca3", (6, 7, 5)),
        ("q1.5", (21, 4, 5)),
    ],
)
def test_the_shape_of_a_stored_map(name, shape):
    assert parse_form(name).shape((5, 7, 9)) == shape


FORMS = [parse_form(name) for name in MORE]


def test_coarser_is_a_strict_order():
    for a, b in product(FORMS, FORMS):
        assert not (a.coarser_than(b) and b.coarser_than(a)), (a.name, b.name)
    for a, b, c in product(FORMS, FORMS, FORMS):
        if a.coarser_than(b) and b.coarser_than(c):
            assert a.coarser_than(c), (a.name, b.name, c.name)


def test_plain_numbers_are_listed_from_the_finest_to_the_coarsest():
    forms = [StoredForm(numbers) for numbers in NUMBERS.values()]
    for place, form in enumerate(forms):
        assert [form.coarser_than(other) for other in forms] == [
            k < place for k in range(len(NUMBERS))
        ]


@pytest.mark.parametrize(
    ("coarse", "fine"),
    [
        ("fp16", "fp32"),
        ("int8", "fp32+pca"),
        ("int4", "int8+pca"),
        ("int8+pca", "int8"),
        ("int8+pca3", "int8+pca"),
        ("int8+pca3", "int8+pca64"),
        ("int5+pca3", "fp16"),
        ("q2", "int4"),
        ("q1", "int4+pca3"),
        ("q1", "q1.5"),
    ],
)
def test_what_loses_more_is_coarser(coarse, fine):
    assert parse_form(coarse).coarser_than(parse_form(fine))
    assert not parse_form(fine).coarser_than(parse_form(coarse))


@pytest.mark.parametrize(
    ("one", "other"), [("int4", "int8+pca3"), ("fp16+pca3", "int8"), ("int4+pca64", "fp32+pca3")]
)
def test_what_loses_in_different_ways_cannot_be_compared(one, other):
    assert not parse_form(one).coarser_than(parse_form(other))
    assert not parse_form(other).coarser_than(parse_form(one))


def test_fill_values_are_none_that_a_code_can_have():
    for numbers in NUMBERS.values():
        if numbers.step is None:
            assert not numbers.codes
        elif numbers.nibbles:
            assert (numbers.codes - 1) >> 4 < numbers.fill >> 4
        else:
            assert numbers.codes <= numbers.fill
