"""The table of classes fits into 80 columns, and says what it leaves out."""

from dataclasses import replace

import pytest

from fdet.pipeline.evaluation.class_table import ROWS, class_table, comparison_lines, most_confused
from fdet.pipeline.evaluation.coco import FIGURES, Metrics
from fdet.pipeline.evaluation.resampling import Comparison, Interval, PairedDifference
from fdet.pipeline.evaluation.scores import score_figures
from fdet.pipeline.evaluation.table import metrics_table, unfinished_line

from .made import FAR, HERE, THERE, drawn, image
from .test_pictures import PIECES


def metrics(names, matches, **more):
    scores = score_figures(matches, names)
    figures = dict.fromkeys(FIGURES, 0.5)
    per_class = dict.fromkeys(names, 0.673)
    return Metrics(**figures, per_class=per_class, images=12, scores=scores, **more)


def lines(found):
    return list(class_table(found, found.scores))


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("count", [1, 14, 40])
def test_it_fits_into_80_columns(count, masks):
    names = (
        (PIECES * 3)[:14] if count == 14 else [f"a long name of a class {k}" for k in range(count)]
    )
    more = {"masks": dict.fromkeys(FIGURES, 0.1), "masks_per_class": dict.fromkeys(names, 0.1)}
    text = metrics_table(metrics(names, drawn(count, 30), **(more if masks else {})))
    assert max(map(len, text.splitlines())) <= 80


def test_a_class_has_its_figures_in_points():
    hits = [(HERE, 0, 0.9), (THERE, 0, 0.8), (FAR, 0, 0.7)]
    found = metrics(["disc"], [image([(HERE, 0), (THERE, 0)], hits)] * 6)
    rows = [line.split() for line in lines(found)]
    assert rows[0] == ["objects", "AP", "score", "precision", "recall", "F1"]
    assert rows[1] == ["disc", "12", "67.3", "0.75", "100.0", "100.0", "100.0"]
    assert rows[2] == ["all", "classes", "12", "50.0", "100.0", "100.0", "100.0"]
    assert rows[3] == ["one", "score", "12", "50.0", "0.75", "100.0", "100.0", "100.0"]


def test_a_star_stands_for_the_threshold_of_all_classes():
    few = [*drawn(2, 30), image([(HERE, 2)], [(HERE, 2, 0.9)])]
    text = "\n".join(lines(metrics(["a", "b", "c"], few)))
    assert "* the best of all classes" in text
    (row,) = (line for line in text.splitlines() if line.startswith("c "))
    assert "*" in row
    assert "* the best" not in "\n".join(lines(metrics(["a", "b"], drawn(2, 30))))


def test_of_many_classes_the_worst_are_shown():
    found = metrics([f"class {k}" for k in range(40)], drawn(40, 30))
    text = lines(found)
    assert f"the {ROWS} of 40 classes with the lowest F1; the JSON has all" in text
    f1 = [float(line.split()[-1]) for line in text[1 : ROWS + 1]]
    assert f1 == sorted(f1) and len(f1) == ROWS


def test_the_most_frequent_confusions_are_named():
    found = metrics(["a", "b"], [image([(HERE, 0)], [(HERE, 1, 0.9)])] * 3 + drawn(2, 5))
    (first, *_) = most_confused(found.scores)
    assert first[:2] == ("a", "b") and first[2] >= 3
    assert "- a for b: " in "\n".join(lines(found))


def test_nothing_found_is_a_table_too():
    assert any("-" in line for line in lines(metrics(["a"], [image([(HERE, 0)])])))
    assert lines(metrics(["a"], []))


def compared(**per_class):
    change = PairedDifference(Interval(0.02, -0.01, 0.05), per_class, 1000)
    return Comparison("runs/other", "", 0.48, dict.fromkeys(per_class, 0.3), change)


def test_a_comparison_states_differences_with_their_intervals():
    other = compared(a=Interval(0.1, 0.05, 0.15), b=None)
    found = metrics(["a", "b"], drawn(2, 5), compared=other)
    text = list(comparison_lines(found, other))
    assert text[2].split() == ["AP", "50.0", "48.0", "+2.0", "-1.0", "to", "+5.0"]
    assert text[3].split() == ["AP", "of", "'a'", "67.3", "30.0", "+10.0", "+5.0", "to", "+15.0"]
    assert text[4].split()[-1] == "-"
    assert "not more than chance" in text[5] and max(map(len, text)) <= 80
    assert "\n".join(text) in metrics_table(found)


def test_a_few_images_show_nothing_however_narrow_the_interval():
    """One image has no other to be resampled with."""
    sure = PairedDifference(Interval(0.1, 0.1, 0.1), {}, 1000)
    other = Comparison("runs/other", "", 0.4, {}, sure)
    for images, expected in (
        (1, "1 image: too few"),
        (9, "9 images: too few"),
        (10, "is more than"),
    ):
        found = replace(metrics(["a"], []), images=images)
        assert expected in "\n".join(comparison_lines(found, other))


def test_classes_whose_names_are_cut_alike_are_all_compared():
    names = [f"{'x' * 30}{k}{'y' * 30}" for k in range(3)]
    other = compared(**dict.fromkeys(names, Interval(0.1, 0.05, 0.15)))
    text = list(comparison_lines(metrics(names, drawn(3, 5)), other))
    assert sum(line.startswith("AP of 'x") for line in text) == 3


def test_a_name_with_control_characters_takes_one_line():
    text = lines(metrics(["a\x1b[2Jb\nc", "d"], drawn(2, 5)))
    assert sum("a\\x1b[2Jb\\nc" in line for line in text) >= 1
    assert not any({"\n", "\x1b"} & set(line) for line in text)


def test_of_many_classes_those_are_compared_that_differ_by_more_than_chance():
    sure, unsure = Interval(-0.1, -0.15, -0.05), Interval(0.1, -0.05, 0.15)
    classes = {f"c{k}": sure if k in (3, 9) else unsure for k in range(40)}
    found = metrics(list(classes), drawn(40, 5))
    text = list(comparison_lines(found, compared(**classes)))
    assert [line.split()[2] for line in text[3:5]] == ["'c3'", "'c9'"] and len(text) == 7


def test_a_run_that_is_not_finished_is_said_to_be(tmp_path):
    line = unfinished_line(tmp_path / "my run", {"epochs": 2, "of": 12})
    assert "not finished: 2 of 12 epochs" in line and "my run'" in line
    assert replace(metrics(["a"], []), unfinished={"epochs": 2, "of": 12}).to_json()[
        "unfinished"
    ] == {
        "epochs": 2,
        "of": 12,
    }
