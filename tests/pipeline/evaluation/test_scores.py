"""The figures of the scores: the thresholds of large and small classes, and those of nothing at all."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation.coco import coco_metrics
from fdet.pipeline.evaluation.matching import all_matches
from fdet.pipeline.evaluation.ranking import best_threshold, pooled, quality_at, rankings
from fdet.pipeline.evaluation.readable import readable_json
from fdet.pipeline.evaluation.scores import FEW_OBJECTS, matrix_of, score_figures

from .made import FAR, HERE, drawn, image
from .test_evaluate import noisy

NAMES = ["a", "b", "c"]


def numbers(value):
    """All numbers in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [n for inner in value for n in numbers(inner)]
    return [value] if isinstance(value, int | float) else []


def test_each_class_has_the_best_threshold_and_the_quality_at_it():
    matches = drawn(3, 30)
    figures = score_figures(matches, NAMES)
    for scored, r in zip(figures.classes.values(), rankings(matches, 3), strict=True):
        assert scored.own and scored.threshold == best_threshold(r)
        assert scored.at == quality_at(r, scored.threshold)
        assert max(f for f in scored.f1 if f is not None) <= scored.at.f1 + 1e-12
    matrix = figures.matrix()
    assert figures.at_thresholds.recall == pytest.approx(
        matrix.diagonal()[:3].sum() / sum(s.objects for s in figures.classes.values())
    )
    assert figures.at_thresholds.f1 >= figures.together.at.f1


def test_a_class_of_few_objects_takes_the_threshold_of_all():
    """Its own best threshold would be that of its single hit."""
    few = image([(HERE, 2)] * (FEW_OBJECTS - 1), [(HERE, 2, 0.99), (FAR, 2, 0.98)])
    figures = score_figures([*drawn(2, 30), few], NAMES)
    assert figures.classes["c"].objects == FEW_OBJECTS - 1
    assert not figures.classes["c"].own and figures.classes["a"].own
    assert figures.classes["c"].threshold == figures.together.threshold
    assert figures.together.threshold == best_threshold(pooled([*drawn(2, 30), few], 3))
    assert figures.classes["c"].at.precision == 0.5


def test_so_does_one_without_objects_and_one_without_a_hit():
    blind = image([(HERE, 2)] * FEW_OBJECTS, [(FAR, 2, 0.9)])
    figures = score_figures([*drawn(1, 30), blind], NAMES)
    for name in ("b", "c"):
        assert figures.classes[name].threshold == figures.together.threshold
        assert not figures.classes[name].own
    assert figures.classes["b"].at.recall is None and figures.classes["c"].at.f1 == 0


EMPTY = {
    "no image": [],
    "no object and no detection": [image()],
    "no detection": [image([(HERE, 0)])],
    "no object": [image((), [(HERE, 1, 0.5)])],
    "nothing right": [image([(HERE, 0)], [(FAR, 0, 0.5)])],
    "one image": [image([(HERE, 0)], [(HERE, 0, 0.5)])],
}


@pytest.mark.parametrize("case", EMPTY)
def test_a_file_has_only_finite_numbers(case):
    figures = score_figures(EMPTY[case], NAMES)
    content = json.loads(readable_json(figures.to_json()))
    assert np.isfinite(numbers(content)).all()
    hit = case == "one image"
    assert (figures.together.threshold is not None) == hit
    assert all((s.threshold is not None) == hit for s in figures.classes.values())


def test_a_file_has_the_curves_and_the_matrix():
    figures = score_figures(drawn(3, 30), NAMES)
    content = json.loads(readable_json(figures.to_json()))
    assert content["grid"] == pytest.approx(np.linspace(0, 1, 101).tolist())
    for part in (content["all"], *content["classes"].values()):
        curves = (*part["over_score"].values(), part["precision_at_recall"])
        assert {len(curve) for curve in curves} == {101}
    assert list(content["classes"]) == NAMES
    assert (matrix_of(content["confusion"], 3) == figures.matrix()).all()
    at = content["classes"]["b"]["over_score"]
    assert at["f1"][40] == pytest.approx(
        2 * at["precision"][40] * at["recall"][40] / (at["precision"][40] + at["recall"][40]),
        abs=1e-3,
    )


def test_the_curve_of_all_classes_is_ap50(dataset):
    annotations, _ = load_annotations(dataset)
    found = noisy(annotations)
    figures = score_figures(all_matches(annotations, found), NAMES)
    assert np.mean(figures.together.precision_at_recall) == pytest.approx(
        coco_metrics(annotations, found).ap50, abs=1e-9
    )


def test_figures_are_equal_where_all_of_them_are():
    """Metrics hold them, and evaluations of the same detections are equal."""
    one, other = (score_figures(drawn(3, 10), NAMES) for _ in range(2))
    assert one == other and one != replace(one, confusion=())


def test_a_list_of_numbers_takes_one_line():
    text = readable_json({"a": [1, 2], "b": {"c": [[1, 2], [3, 4]]}, "d": {}, "e": []})
    assert json.loads(text) == {"a": [1, 2], "b": {"c": [[1, 2], [3, 4]]}, "d": {}, "e": []}
    assert '"a": [1, 2],' in text and len(text.splitlines()) == 11
    with pytest.raises(ValueError, match="not JSON compliant"):
        readable_json([float("nan")])
