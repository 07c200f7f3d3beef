"""Each rule on made-up runs: what it says is true of them, and noise makes no rule speak."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fdet.pipeline.evaluation.errors import KINDS
from fdet.pipeline.runs.advice import COUNT, RULES, advise, against_divergence
from fdet.pipeline.runs.chance import standard_error
from fdet.pipeline.runs.described import described_settings
from fdet.pipeline.runs.facts import Facts, Scores

IMAGES, OBJECTS = 87, {"cell": 700, "dish": 300}
SIZES = {"small": 300, "medium": 400, "large": 300}
SEEDS = range(200)


def scores(ap=0.5, **more):
    values = {"ap50": 0.8, "ap75": 0.6, "ap_small": 0.4, "ap_medium": 0.5, "images": IMAGES}
    known = {"objects": OBJECTS, "sizes": SIZES, "per_class": {"cell": 0.6, "dish": 0.4}}
    return Scores(ap, **{**values, **known, **more})


def facts(aps=(), losses=(), **more):
    """A finished run of 6 epochs for each evaluation, on two views, at which nothing is to be said."""
    epochs = [6 * k for k in range(1, len(aps) + 1)]
    done = epochs[-1] if epochs else 60
    values = {
        "epochs": done,
        "done": done,
        "curve": tuple(zip(epochs, map(float, aps), strict=True)),
        "losses": tuple((k + 1, loss) for k, loss in enumerate(losses)),
        "scores": scores(),
        "classes": 2,
        "views": 2,
        "cached_views": 2,
        "size": {"short": 240, "long": 320},
        "head": "tal",
        "eval_every": 6,
    }
    return Facts(**{**values, **more})


SATURATED = tuple(0.5 * (1 - np.exp(-6 * t)) for t in np.linspace(0.1, 1, 10))
RISING = tuple(np.linspace(0.3, 0.5, 10))
PEAKED = (0.35, 0.48, 0.52, 0.51, 0.50, 0.48, 0.46, 0.45, 0.44, 0.43)
PEAKED_EARLY = (0.40, 0.52, 0.53, 0.51, 0.46, 0.44, 0.44, 0.445, 0.44, 0.44)
FALLING_LOSS = tuple(np.linspace(1, 0.1, 60))
GAINS = dict.fromkeys(KINDS, 0.02)
NOTHING = facts(SATURATED)
# Tenths of scores: the number of detections, their mean score and the share of hits.
LOW = (
    *((900, 0.05, 0.05), (300, 0.15, 0.2), (100, 0.25, 0.6), (100, 0.35, 0.85), (100, 0.55, 0.95)),
    *((0, 0.0, 0.0),) * 5,
)


def names(known):
    return [advice.rule for advice in advise(known)]


def test_the_rules_need_no_torch():
    told = "import sys, fdet.pipeline.runs.advice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0


def test_the_documentation_has_the_rules_in_their_order():
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    section = page.split("## What to do next")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
    assert rows[2:] == [rule.name for rule in RULES]


def test_a_run_that_ended_well_gets_no_advice():
    assert advise(NOTHING) == []


# For each rule: facts by which it alone speaks, and what it must say.
SPEAKS = {
    "diverged": (
        replace(NOTHING, finished=False, diverged=("nan", 40), clip_norm=0.0, lr=1e6),
        ("its loss was nan at step 40", "optim.lr (now 1e+06)", "train.clip_norm=1"),
    ),
    "not evaluated": (facts(scores=None, run="runs/a"), ("fdet evaluate runs/a", "--val")),
    "same images": (replace(NOTHING, same_images=True), ("trained on", "--val")),
    "falls": (
        facts(PEAKED, FALLING_LOSS),
        ("0.520 (epoch 18)", "0.430 (epoch 60)", "more than 2 views", "train.epochs=18"),
    ),
    "training far above validation": (
        replace(NOTHING, training_ap=0.95),
        ("0.950 on the training images", "0.500", "--views"),
    ),
    "still rises": (facts(RISING), ("8.9 points from epoch 36 to 60", "train.epochs=120")),
    "one view": (
        replace(NOTHING, views=1, cached_views=1),
        ("each of the 60 epochs", "--views plain,hflip"),
    ),
    "localisation": (
        replace(NOTHING, scores=scores(gains={**GAINS, "localisation": 0.15})),
        ("15.0 points of AP50", "--short 352 --long 480", "--head cascade-rcnn"),
    ),
    "missed": (
        replace(NOTHING, scores=scores(gains={**GAINS, "missed": 0.15})),
        ("15.0 points", "longer"),
    ),
    "classification": (
        replace(NOTHING, scores=scores(gains={**GAINS, "classification": 0.15})),
        ("15.0 points", "fdet report", "'dish' (0.400), 'cell' (0.600)"),
    ),
    "background": (
        replace(NOTHING, scores=scores(gains={**GAINS, "background": 0.15})),
        ("15.0 points", "no objects"),
    ),
    "duplicates": (
        replace(NOTHING, scores=scores(gains={**GAINS, "duplicate": 0.15})),
        ("15.0 points", "head.nms_iou (now 0.5)"),
    ),
    "loose boxes": (
        replace(NOTHING, scores=scores(ap50=0.7, ap75=0.2)),
        ("AP75 is 0.200", "AP50 0.700", "--short"),
    ),
    "small objects": (
        replace(NOTHING, scores=scores(ap_small=0.1)),
        ("0.100 for small", "0.500 for medium", "neck.min_level=2", "--levels"),
    ),
    "rare classes": (
        replace(NOTHING, rare=("dish",)),
        ("'dish' (AP 0.400)", "train.repeat_factor", "fdet retrain-classifier RUN"),
    ),
    "scores": (
        replace(NOTHING, scores=scores(reliability=LOW)),
        ("too low", "mean score of 0.45", "90 % of them", "from 0.2 to 0.3, 60 % are right"),
    ),
    "few evaluations": (
        replace(NOTHING, curve=((60, 0.5),), eval_every=60),
        ("1 evaluation cannot", "train.eval_every=6"),
    ),
}


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_each_rule_speaks_alone_and_with_figures(rule):
    known, parts = SPEAKS[rule]
    (advice,) = advise(known)
    assert advice.rule == rule
    for part in parts:
        assert part in advice.text
    assert "\n" not in advice.text and not advice.text.endswith(".")


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


@pytest.mark.parametrize("rule", SPEAKS)
def test_sentences_name_settings_that_there_are(rule):
    (advice,) = advise(SPEAKS[rule][0])
    known = {setting.name for setting in described_settings()}
    named = re.findall(r"\b(?:train|optim|schedule|head|neck|augment)\.\w+", advice.text)
    assert set(named) <= known


@pytest.mark.parametrize("count", [4, 5, 8, 10, 12, 20])
@pytest.mark.parametrize("size", [0.25, 1, 3])
def test_a_flat_curve_that_scatters_gives_no_advice(count, size):
    """size: the scatter as a share of the standard error of AP; 1 in 20 may speak."""
    error = standard_error(0.5, IMAGES, sum(OBJECTS.values()))
    rng = np.random.default_rng(count)
    spoken = 0
    for _ in SEEDS:
        aps = np.clip(0.5 + rng.normal(0, size * error, count), 0, 1)
        losses = rng.normal(0.5, 0.05, 6 * count)
        spoken += bool(advise(facts(aps, losses)))
    assert spoken <= 10


@pytest.mark.parametrize("count", [5, 10, 20])
def test_a_curve_whose_scatter_lasts_gives_no_advice_either(count):
    """Neighbouring evaluations are alike: half of the deviation of one stays in the next."""
    error = standard_error(0.5, IMAGES, sum(OBJECTS.values())) / 2
    rng = np.random.default_rng(count)
    spoken = 0
    for _ in SEEDS:
        noise = rng.normal(0, error, count)
        for k in range(1, count):
            noise[k] = 0.5 * noise[k - 1] + np.sqrt(0.75) * noise[k]
        spoken += bool(advise(facts(0.5 + noise)))
    assert spoken <= 10


@pytest.mark.parametrize(
    ("curve", "rule"),
    [(RISING, "still rises"), (PEAKED, "falls"), (PEAKED_EARLY, "falls"), (SATURATED, None)],
)
def test_a_clear_curve_is_read_through_noise(curve, rule):
    rng = np.random.default_rng(0)
    said = [names(facts(curve + rng.normal(0, 0.005, len(curve)))) for _ in SEEDS]
    expected = [] if rule is None else [rule]
    assert sum(found == expected for found in said) >= 180


def test_small_changes_and_few_images_say_nothing():
    small = tuple(0.5 + 0.0008 * k for k in range(10))
    large_set = scores(images=5000, objects={"cell": 40000})
    assert names(facts(small, scores=large_set)) == []
    few = tuple(0.4 + 0.02 * k for k in range(10))
    assert names(facts(few)) == ["still rises"]
    assert names(facts(few, scores=scores(images=8, objects={"cell": 20}, sizes={}))) == []


@pytest.mark.parametrize("aps", [RISING, PEAKED])
def test_nothing_is_said_of_the_curve_of_an_unfinished_run(aps):
    assert names(facts(aps, finished=False)) == []


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
    assert "nothing" not in advice.text and "0.100 for small" in advice.text
    assert advice.text.endswith("or with neck.min_level=2")


def test_there_are_three_sentences_at_most_the_most_valuable_first():
    low = scores(ap_small=0.1, gains={**GAINS, "localisation": 0.15})
    more = {"views": 1, "cached_views": 4, "rare": ("dish",), "training_ap": 0.95}
    known = facts(RISING, scores=low, same_images=True, **more)
    order = [rule.name for rule in RULES]
    found, everything = names(known), [a.rule for a in advise(known, count=99)]
    assert found == everything[:COUNT] and len(found) == COUNT < len(everything)
    assert everything == sorted(everything, key=order.index)
    topics = [rule.topic for name in everything for rule in RULES if rule.name == name]
    assert len(set(topics)) == len(topics)
    assert advise(known, ["evaluation"])[0].rule == "training far above validation"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            (0.1, 0.0, 100, True),
            "lower optim.lr (now 0.1) or limit the gradient with train.clip_norm=1 (now 0, no limit)",
        ),
        (
            (0.1, 1.0, 0, True),
            "lower optim.lr (now 0.1), lower train.clip_norm (now 1) or begin with "
            "schedule.warmup_steps=100 (now 0)",
        ),
        ((0.1, 2.0, 0, False), "lower optim.lr (now 0.1) or lower train.clip_norm (now 2)"),
    ],
)
def test_what_helps_against_divergence_depends_on_the_settings(settings, expected):
    assert against_divergence(*settings) == expected


def test_a_loss_that_rises_while_ap_collapses_has_diverged():
    losses = [*np.linspace(2, 0.5, 30), *np.linspace(1, 3, 30)]
    fallen = (0.1, 0.3, 0.4, 0.4, 0.3, 0.1, 0.05, 0.02, 0.01, 0.01)
    assert names(facts(fallen, losses))[0] == "diverged"
    assert "diverged" not in names(facts(SATURATED, losses))
    assert "diverged" not in names(facts(fallen, np.linspace(2, 0.5, 60)))


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({"head": "cascade-rcnn"}, "larger images", "--head"),
        ({"size": {"size": 640}}, "--size 960", "--short"),
    ],
)
def test_better_boxes_name_what_the_run_does_not_have(changes, said, unsaid):
    leading = scores(gains={**GAINS, "localisation": 0.15})
    (advice,) = advise(replace(NOTHING, scores=leading, **changes))
    assert said in advice.text and unsaid not in advice.text


def test_views_that_the_cache_has_are_used_before_more_are_made():
    (advice,) = advise(replace(NOTHING, views=1, cached_views=6))
    assert "all 6 views of the cache (train.views=0)" in advice.text


def test_classes_are_rare_only_where_others_are_not_and_their_ap_is_low():
    assert advise(replace(NOTHING, rare=("cell",))) == []
    (advice,) = advise(replace(NOTHING, rare=("cell", "dish")))
    assert advice.text == "no class is shown by more than 10 training images: label more images"
    (advice,) = advise(replace(NOTHING, rare=("dish",), repeat_factor=0.1))
    assert "repeat_factor" not in advice.text
    many = {f"c{k}": 0.01 * k for k in range(9)}
    rare = replace(NOTHING, classes=99, rare=tuple(many), scores=scores(per_class=many))
    assert "'c0' (AP 0.000), 'c1' (AP 0.010), 'c2' (AP 0.020) and 6 more" in advise(rare)[0].text


def test_few_evaluations_ask_for_more_of_them_where_there_is_room():
    for done, every, said in ((60, 60, "train.eval_every=6"), (2, 1, "train longer (now 2 epochs")):
        known = replace(NOTHING, curve=((done, 0.5),), done=done, epochs=done, eval_every=every)
        assert said in advise(known)[0].text
    stopped = replace(NOTHING, curve=((6, 0.5), (12, 0.4)), done=12)
    assert advise(stopped) == []
