"""What is proposed fits what a run has already."""

from dataclasses import replace

import pytest

from fdet.pipeline.runs.advice.remedies import against_divergence
from fdet.pipeline.runs.advice.rules import advise

from .made_up import GAINS, NOTHING, scores


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
