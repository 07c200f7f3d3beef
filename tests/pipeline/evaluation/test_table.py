"""The figures for people: every figure and class of boxes, and beside them those of masks."""

from dataclasses import replace

import pytest

from fdet.pipeline.evaluation.coco import FIGURES, Metrics
from fdet.pipeline.evaluation.errors import KINDS, ErrorBreakdown
from fdet.pipeline.evaluation.table import change_table, metrics_table

AREAS = {"small": "(< 32² px)", "medium": "(32² to 96² px)", "large": "(> 96² px)"}
CLASSES = {"disc": 0.456, "traffic light": None, "ap": 1.0}


def metrics(masks: bool) -> Metrics:
    """Figure k is k points, of masks k + 20; the last of all is missing."""
    figures = {name: k / 100 for k, name in enumerate(FIGURES)} | {FIGURES[-1]: None}
    of_masks = {name: v if v is None else v + 0.2 for name, v in figures.items()}
    per_class = dict.fromkeys(CLASSES, 0.333)
    more = {"masks": of_masks, "masks_per_class": per_class} if masks else {}
    errors = ErrorBreakdown(0.5, dict.fromkeys(KINDS, 7), dict.fromkeys(KINDS, 0.125))
    return Metrics(**figures, per_class=CLASSES, images=12, errors=errors, **more)


def test_groups_of_classes_have_rows_where_they_are_known():
    known = replace(metrics(masks=False), ap_rare=0.123, ap_frequent=0.456)
    rows = metrics_table(known).splitlines()
    assert rows[len(FIGURES) + 1].startswith("AP rare (in at most 10 training images)")
    assert rows[len(FIGURES) + 1].endswith(" 12.3")
    assert rows[len(FIGURES) + 2].startswith("AP frequent") and rows[len(FIGURES) + 2].endswith(
        "45.6"
    )
    assert "common" not in "".join(rows)


@pytest.mark.parametrize("masks", [False, True])
def test_each_figure_and_class_has_a_row_and_each_kind_a_column(masks):
    first, *rows = metrics_table(metrics(masks)).splitlines()
    assert first.split() == ["12", "images", "boxes", *(["masks"] if masks else [])]
    for k, (name, row) in enumerate(zip(FIGURES, rows, strict=False)):
        figure, _, area = name.partition("_")
        shown = " ".join([figure.upper(), *([area, AREAS[area]] if area else [])])
        values = ["-", "-"] if name == FIGURES[-1] else [f"{k}.0", f"{k + 20}.0"]
        assert row.startswith(shown)
        assert row.removeprefix(shown).split() == values[: 1 + masks]
    classes = rows[len(FIGURES) :][: len(CLASSES)]
    for row, (name, value) in zip(classes, CLASSES.items(), strict=True):
        values = ["-" if value is None else f"{100 * value:.1f}", "33.3"]
        assert row.removeprefix(f"AP of {name!r}").split() == values[: 1 + masks]
    assert len({len(row) for row in [first, *rows[: len(FIGURES) + len(CLASSES)]]}) == 1
    said, *errors = rows[len(FIGURES) + len(CLASSES) :]
    assert "AP50 would gain" in said
    assert [row.split() for row in errors] == [[kind, "12.5", "7"] for kind in KINDS]


def test_two_evaluations_stand_beside_each_other_by_group():
    before = {"ap": 0.25, "ap50": 0.5, "ap_rare": 0.1, "ap_common": None, "ap_frequent": 0.4}
    after = {**before, "ap_rare": None, "masks": {"ap": 0.125}}
    head, *rows = change_table({"stage 1": before, "stage 2": after}).splitlines()
    assert head.split() == ["stage", "1", "stage", "2"]
    assert [head[-17:-9].strip(), head[-8:].strip()] == ["stage 1", "stage 2"]
    assert [row.split()[-2:] for row in rows] == [
        ["25.0", "25.0"],
        ["50.0", "50.0"],
        ["10.0", "-"],
        ["40.0", "40.0"],
        ["-", "12.5"],
    ]
    assert rows[2].startswith("AP rare") and rows[4].startswith("AP of masks")
    assert len({len(row) for row in (head, *rows)}) == 1
