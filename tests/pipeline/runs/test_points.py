"""AP in points, and the classes with the highest and the lowest one."""

import pytest

from fdet.pipeline.runs.points import class_lines, points


@pytest.mark.parametrize(
    ("ap", "text"), [(None, "-"), (float("nan"), "-"), (0.6734, "67.3"), (0, "0.0"), (1.0, "100.0")]
)
def test_points(ap, text):
    assert points(ap) == text


def test_a_few_classes_are_all_listed_best_first():
    lines = list(class_lines({"a": 0.1, "b": 0.3, "empty": None, "c": 0.2}))
    assert lines == ["AP by class: b 30.0, c 20.0, a 10.0"]


def test_of_many_classes_the_best_and_the_worst_fit_into_80_columns():
    per_class = {f"a class with quite a long name {k:02}": k / 100 for k in range(14)}
    best, worst = class_lines(per_class)
    assert best.startswith("best classes: ") and worst.startswith("worst classes: ")
    assert [part.rpartition(" ")[2] for part in best.split(", ")] == ["13.0", "12.0", "11.0"]
    assert [part.rpartition(" ")[2] for part in worst.split(", ")] == ["0.0", "1.0", "2.0"]
    assert max(len(best), len(worst)) <= 80 and "ame 13 13.0" in best


def test_of_a_single_class_nothing_is_said():
    assert list(class_lines({"cell": 0.5, "empty": None})) == []


def test_names_from_files_cannot_control_a_terminal():
    (line,) = class_lines({"a\x1b[2J": 0.1, "b": 0.2})
    assert "\x1b" not in line
