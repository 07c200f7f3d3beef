"""Values of JSON files are of the expected type and range, or refused."""

import math

import pytest

from fdet.cache.format.json_values import list_of, mapping_of, number_of, text_of, whole_of


def test_expected_values_are_returned():
    assert (text_of("a"), list_of([1]), mapping_of({"a": 1})) == ("a", [1], {"a": 1})
    assert whole_of(2**63 - 1, 0, 2**63 - 1) == 2**63 - 1
    assert type(number_of(1, 0, 1)) is float and number_of(0.5, 0, 1) == 0.5


@pytest.mark.parametrize("value", [None, 1, True, [], {}])
def test_no_text(value):
    with pytest.raises(TypeError, match="expected a text"):
        text_of(value)


@pytest.mark.parametrize("value", [None, True, "1", 1.0, [], -1, 11, 10**400])
def test_no_whole_number(value):
    with pytest.raises((TypeError, ValueError), match="expected a whole number"):
        whole_of(value, 0, 10)


@pytest.mark.parametrize("value", [None, True, "1", math.nan, math.inf, -1, 11, -math.inf])
def test_no_number(value):
    with pytest.raises((TypeError, ValueError), match="expected a number"):
        number_of(value, 0, 10)


@pytest.mark.parametrize(("check", "value"), [(list_of, {}), (list_of, "a"), (mapping_of, [])])
def test_no_list_and_no_object(check, value):
    with pytest.raises(TypeError, match="expected"):
        check(value)
