"""What is said of errors, classes and scores is more than chance."""

from dataclasses import replace

import numpy as np
import pytest

from fdet.pipeline.evaluation.errors import KINDS
from fdet.pipeline.runs.advice.rules import advise

from .made_up import GAINS, IMAGES, LOW, NOTHING, SEEDS, SIZES, names, scores


@pytest.mark.parametrize("images", [20, 87, 1000])
def test_kinds_of_errors_that_are_alike_give_no_advice(images):
    """Each kind has the same share of the objects, drawn for this set; objects of an image are alike."""
    rng = np.random.default_rng(images)
    drawn = rng.multinomial(4 * images, [*[0.1] * len(KINDS), 0.4], len(SEEDS)) / (4 * images)
    spoken = 0
    for shares in drawn:
        gains = dict(zip(KINDS, shares.tolist(), strict=False))
        found = scores(images=images, objects={"cell": 10 * images}, gains=gains)
        spoken += bool(advise(replace(NOTHING, scores=found)))
    assert spoken <= 10


def test_a_kind_that_leads_is_found_in_drawn_errors():
    rng, found = np.random.default_rng(0), 0
    for shares in rng.multinomial(4 * IMAGES, [0.05, 0.2, 0.05, 0.02, 0.05, 0.05, 0.58], 200):
        gains = dict(zip(KINDS, (shares / (4 * IMAGES)).tolist(), strict=False))
        found += names(replace(NOTHING, scores=scores(gains=gains))) == ["localisation"]
    assert found >= 180


def test_small_objects_count_where_there_are_enough():
    for sizes in ({}, {**SIZES, "small": 12}, {**SIZES, "small": 50}):
        low = scores(ap_small=0.1, sizes=sizes)
        assert names(replace(NOTHING, scores=low)) == []


def test_missed_small_objects_need_a_finer_view():
    low = scores(ap_small=0.1, gains={**GAINS, "missed": 0.15})
    (advice,) = advise(replace(NOTHING, scores=low, finer=True))
    assert "nothing" not in advice.text and "10.0 for small" in advice.text
    assert advice.text.endswith("or with neck.min_level=2")


def test_classes_are_rare_only_where_others_are_not_and_their_ap_is_low():
    assert advise(replace(NOTHING, rare=("cell",))) == []
    (advice,) = advise(replace(NOTHING, rare=("cell", "dish")))
    assert advice.text == "no class is shown by more than 10 training images: label more images"
    (advice,) = advise(replace(NOTHING, rare=("dish",), repeat_factor=0.1))
    assert "repeat_factor" not in advice.text
    many = {f"c{k}": 0.01 * k for k in range(9)}
    rare = replace(NOTHING, classes=99, rare=tuple(many), scores=scores(per_class=many))
    assert "'c0' (AP 0.0), 'c1' (AP 1.0), 'c2' (AP 2.0) and 6 more" in advise(rare)[0].text


@pytest.mark.parametrize("objects", [1, 3, 10, 40])
def test_a_rare_class_whose_ap_differs_by_chance_alone_is_no_matter(objects):
    """All classes are found equally well; the AP of the rare one is that of a few drawn objects."""
    rng, spoken = np.random.default_rng(objects), 0
    for ap in rng.binomial(objects, 0.5, len(SEEDS)) / objects:
        found = scores(ap=0.5, per_class={"dish": ap}, objects={"cell": 400, "dish": objects})
        spoken += "rare classes" in names(replace(NOTHING, rare=("dish",), scores=found))
    assert spoken <= len(SEEDS) // 20
    low = scores(ap=0.5, per_class={"dish": 0.0}, objects={"cell": 400, "dish": 40})
    assert "rare classes" in names(replace(NOTHING, rare=("dish",), scores=low))


@pytest.mark.parametrize("seed", SEEDS[::10])
def test_scores_that_are_shares_of_hits_but_for_chance_are_no_matter(seed):
    random = np.random.default_rng(seed)
    drawn = random.uniform(0, 1, 300)
    tenth = (drawn * 10).astype(int)
    hits = random.uniform(0, 1, 300) < drawn
    rows = [
        (int((tenth == k).sum()), drawn[tenth == k].mean(), hits[tenth == k].mean())
        for k in range(10)
    ]
    assert advise(replace(NOTHING, scores=scores(reliability=tuple(rows)))) == []
    few = tuple((n // 20, score, share) for n, score, share in LOW)
    assert advise(replace(NOTHING, scores=scores(reliability=few))) == []


def test_scores_that_are_too_high_are_named_too():
    high = tuple((100, (k + 0.5) / 10, 0.1) for k in range(10))
    (advice,) = advise(replace(NOTHING, scores=scores(reliability=high)))
    assert "too high" in advice.text and advice.text.endswith("do not read scores as probabilities")
