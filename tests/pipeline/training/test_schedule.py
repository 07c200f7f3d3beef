"""Learning rates against literal formulas, and torch's own schedulers where they mean the same."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR

from fdet.pipeline.runs.config import ScheduleSettings
from fdet.pipeline.training.schedule import lr_factor

STEPS = 200


def factors(steps=STEPS, **settings):
    return [lr_factor(ScheduleSettings(**settings), step, steps) for step in range(steps)]


def torchs(make, steps=STEPS):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = make(optimiser), []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


def test_cosine_is_torchs():
    expected = torchs(lambda optimiser: CosineAnnealingLR(optimiser, STEPS))
    assert factors(warmup_steps=0) == pytest.approx(expected, abs=1e-9)


def test_steps_are_torchs():
    settings = {"name": "step", "warmup_steps": 0, "milestones": (0.5, 0.75), "gamma": 0.3}
    expected = torchs(lambda optimiser: MultiStepLR(optimiser, [100, 150], 0.3))
    assert factors(**settings) == pytest.approx(expected)


def test_one_cycle_is_torchs_but_for_the_steps_that_it_counts_otherwise():
    """torch's peak is a step earlier and its last step has the lowest rate; ours lies after the end."""

    def cycle(optimiser):
        return OneCycleLR(
            optimiser, 1.0, total_steps=STEPS + 1, pct_start=61 / 201, final_div_factor=1e9
        )

    assert factors(name="onecycle", rise=0.3) == pytest.approx(torchs(cycle), abs=1e-6)


@pytest.mark.parametrize("rise", [0.0, 0.01, 0.5, 1.0])
def test_one_cycle_rises_to_the_peak_and_falls(rise):
    found = factors(name="onecycle", rise=rise)
    peak = min(round(rise * STEPS), STEPS - 1)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert found[0] == pytest.approx(1 / 25 if rise else 1.0)
    assert max(found) == pytest.approx(1.0, abs=1e-3)


def test_the_warm_up_is_linear_and_never_zero():
    found = factors(warmup_steps=20)
    assert found[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert found[20] == 1.0
    assert found[110] == pytest.approx(0.5 * (1 + math.cos(math.pi * 90 / 180)))


def test_a_short_run_warms_up_for_a_quarter_at_most():
    found = factors(steps=8, warmup_steps=100)
    assert found[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])


@pytest.mark.parametrize("name", ["cosine", "step", "onecycle"])
@pytest.mark.parametrize("steps", [1, 2, 5, 1000])
def test_the_factor_is_a_share_of_the_peak(name, steps):
    assert all(0 < factor <= 1 for factor in factors(steps=steps, name=name))


def test_milestones_are_shares_of_the_run():
    found = factors(steps=10, name="step", warmup_steps=0, milestones=(0.5, 0.9), gamma=0.1)
    assert found == pytest.approx([1.0] * 5 + [0.1] * 4 + [0.01])
