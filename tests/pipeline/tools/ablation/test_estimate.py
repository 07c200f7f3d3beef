"""What a trial will take, by hand; and that a size is measured once."""

from types import SimpleNamespace

import pytest

from fdet.cache.errors import FdetError
from fdet.pipeline.tools.ablation import estimate
from fdet.pipeline.tools.ablation.estimate import Cost, Costs
from fdet.pipeline.tools.ablation.plan import read_plan
from fdet.pipeline.tools.ablation.trials import trials_of


def test_steps_and_evaluations_are_summed():
    train = SimpleNamespace(epochs=7, eval_every=3)
    trial = SimpleNamespace(config=SimpleNamespace(train=train), steps=70)
    # 70 steps of 3 s, three evaluations of 10 images.
    assert Cost(1.0, 2.0, 0.5).seconds(trial, 10) == pytest.approx(70 * 3 + 3 * 10 * 0.5)


def test_a_size_is_measured_once(write, opened, monkeypatch):
    axes = (
        "[axes]\n'optim.lr' = [1.0, 2.0]\n'train.epochs' = [1, 2]\n'train.fraction' = [0.5, 1.0]\n"
        "'head.convs' = [1, 2]\n'train.batch_size' = [2, 4]\n"
    )
    trials = trials_of(read_plan(write(axes, "seeds = [0, 1]")), opened)
    measured, plain = [], estimate._measured

    def counted(trial, *rest):
        measured.append((trial.config.head.convs, trial.config.train.batch_size))
        return plain(trial, *rest)

    monkeypatch.setattr(estimate, "_measured", counted)
    seconds = Costs(opened, 1).seconds(trials)
    assert sorted(measured) == [(1, 2), (1, 4), (2, 2), (2, 4)]
    assert len(seconds) == len(trials) and min(seconds) > 0
    by = {
        (
            t.config.train.epochs,
            t.config.head.convs,
            t.config.train.batch_size,
            t.config.train.fraction,
            t.seed,
            t.config.optim.lr,
        ): s
        for t, s in zip(trials, seconds, strict=True)
    }
    assert by[2, 1, 4, 1.0, 0, 1.0] == pytest.approx(2 * by[1, 1, 4, 1.0, 0, 1.0])


def test_one_without_room_for_a_step_is_named(write, opened, monkeypatch):
    trials = trials_of(read_plan(write()), opened)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(estimate, "_measured", full)
    with pytest.raises(FdetError, match="seed 0: out of memory in its first steps"):
        Costs(opened, 1).of(trials[0])
