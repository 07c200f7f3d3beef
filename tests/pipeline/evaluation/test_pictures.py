"""The pictures of the scores: drawn for any classes, with names that fit and can be written."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from fdet.pipeline.evaluation.coco import FIGURES, Metrics
from fdet.pipeline.evaluation.pictures import (
    COLOURED,
    LARGEST,
    confusion_picture,
    curves_picture,
    draw_evaluation,
    legible,
)
from fdet.pipeline.evaluation.scores import score_figures

from .made import drawn

PIECES = [f"{colour}-{name}-of-the-chess-set" for colour in ("b", "w") for name in "kqrbnp1"]
ODD = ["$x_1$", "_hidden", "", "白", "a\nb", "\U000e0fff", "same", "same"]


def size(picture: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(picture)).size


@pytest.mark.parametrize("names", [["one"], PIECES, ODD], ids=["one class", "14 classes", "odd"])
def test_both_are_drawn(names):
    figures = score_figures(drawn(len(names), 20), dict.fromkeys(map(str, range(len(names)))))
    named = dict(zip(names, figures.classes.values(), strict=False))
    figures = replace(figures, classes=figures.classes if len(named) < len(names) else named)
    assert size(curves_picture(figures))[0] == 1620
    assert min(size(confusion_picture(figures))) > 250


def test_many_classes_and_none_found_are_drawn_too():
    many = score_figures(drawn(60, 20), [f"class {k}" for k in range(60)])
    assert 60 > LARGEST > COLOURED
    assert max(size(confusion_picture(many))) < 2500 and size(curves_picture(many))[1] < 1000
    nothing = score_figures([], ["a"])
    assert size(curves_picture(nothing)) and size(confusion_picture(nothing))


def test_they_stand_next_to_the_evaluation(tmp_path):
    empty = Metrics(**dict.fromkeys(FIGURES, 0.0), per_class={}, images=1)
    evaluation = tmp_path / "evaluation-val-12345678.json"
    assert draw_evaluation(evaluation, empty) == []
    known = replace(empty, scores=score_figures(drawn(2, 5), ["a", "b"]))
    paths = draw_evaluation(evaluation, known)
    assert [p.name for p in paths] == ["curves-val-12345678.png", "confusion-val-12345678.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths)


def test_names_are_short_and_told_apart():
    for names in (PIECES, ODD, ["x" * 60, "x" * 60 + "y"]):
        found = legible(names)
        assert len(set(found)) == len(names) and max(map(len, found)) <= 33
    assert legible(ODD)[:3] == [r"\$x_1\$", "hidden", "class 3"]
