"""Each rule speaks of the run that it is for, alone, and the most valuable ones come first."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fdet.pipeline.runs.advice.rules import COUNT, RULES, advise
from fdet.pipeline.runs.described import described_settings

from .made_up import FALLING_LOSS, GAINS, LOW, NOTHING, PEAKED, RISING, facts, names, scores


def test_the_rules_need_no_torch():
    told = "import sys, fdet.pipeline.runs.advice.rules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0


def test_the_documentation_has_the_rules_in_their_order():
    page = (Path(__file__).parents[4] / "docs" / "training.md").read_text()
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
        ("52.0 (epoch 18)", "43.0 (epoch 60)", "more than 2 views", "train.epochs=18"),
    ),
    "training far above validation": (
        replace(NOTHING, training_ap=0.95),
        ("95.0 on the training images", "50.0", "--views"),
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
        ("15.0 points", "fdet report", "'dish' (40.0), 'cell' (60.0)"),
    ),
    "background": (
        replace(NOTHING, scores=scores(gains={**GAINS, "background": 0.15})),
        ("15.0 points", "no objects"),
    ),
    "duplicates across classes": (
        replace(NOTHING, scores=scores(duplicates=(65, 24, 2))),
        ("24 of 65 finds", "--nms agnostic", "and 2 that are right", "head.nms=agnostic"),
    ),
    "duplicates": (
        replace(NOTHING, scores=scores(gains={**GAINS, "duplicate": 0.15})),
        ("15.0 points", "head.nms_iou (now 0.5)"),
    ),
    "loose boxes": (
        replace(NOTHING, scores=scores(ap50=0.7, ap75=0.2)),
        ("AP75 is 20.0", "AP50 70.0", "--short"),
    ),
    "small objects": (
        replace(NOTHING, scores=scores(ap_small=0.1)),
        ("10.0 for small", "50.0 for medium", "neck.min_level=2", "--levels"),
    ),
    "rare classes": (
        replace(NOTHING, rare=("dish",)),
        ("'dish' (AP 40.0)", "train.repeat_factor", "fdet retrain-classifier RUN"),
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


@pytest.mark.parametrize("rule", SPEAKS)
def test_sentences_name_settings_that_there_are(rule):
    (advice,) = advise(SPEAKS[rule][0])
    known = {setting.name for setting in described_settings()}
    named = re.findall(r"\b(?:train|optim|schedule|head|neck|augment)\.\w+", advice.text)
    assert set(named) <= known


@pytest.mark.parametrize("counts", [(30, 9, 0), (1000, 99, 0), (65, 24, 9), (65, 0, 0), None])
def test_few_duplicates_across_classes_or_dear_ones_are_not_spoken_of(counts):
    assert advise(replace(NOTHING, scores=scores(duplicates=counts))) == []


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
