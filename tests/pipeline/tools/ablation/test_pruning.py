"""Who is pruned, by made-up courses; and what is not installed is said."""

import sys
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.tools.ablation.pruning import (
    PRUNERS,
    HalvingSettings,
    HyperbandSettings,
    MedianSettings,
    Pruned,
    Pruning,
    is_pruned,
    pruning_of,
)
from fdet.pipeline.watching.events import Event

pytest.importorskip("optuna")


def course(*aps):
    return list(enumerate(aps, start=1))


def test_below_the_median_of_the_finished_ones():
    settings = MedianSettings(startup_trials=3)
    finished = [course(0.1 * k, 0.2 * k, 0.3 * k) for k in (1, 2, 3)]
    assert is_pruned(settings, [*finished, course(0.1, 0.3)], 3, 3)
    assert not is_pruned(settings, [*finished, course(0.1, 0.5)], 3, 3)
    assert not is_pruned(settings, [*finished[:2], course(0.1, 0.1)], 2, 3)
    assert is_pruned(
        MedianSettings(startup_trials=3, warmup_epochs=2), [*finished, course(0, 0)], 3, 3
    )
    late = MedianSettings(startup_trials=3, warmup_epochs=3)
    assert not is_pruned(late, [*finished, course(0.1, 0.1)], 3, 3)


def test_its_place_in_the_plan_plays_no_part():
    settings = MedianSettings(startup_trials=2)
    finished = [course(0.2, 0.4), course(0.3, 0.5)]
    assert is_pruned(settings, [course(0.1), *finished], 0, 2)
    assert is_pruned(settings, [*finished, course(0.1)], 2, 2)


def test_those_that_are_still_running_count_at_a_rung():
    settings = HalvingSettings(min_epochs=1, reduction=3)
    others = [course(0.1), course(0.2), course(0.3), course(0.4), course(0.5)]
    assert is_pruned(settings, [*others, course(0.05)], 5, 9)
    assert not is_pruned(settings, [*others, course(0.6)], 5, 9)


def test_hyperband_has_brackets_that_begin_later():
    settings = HyperbandSettings(min_epochs=1, reduction=3)
    others = [course(0.5)] * 12
    told = {is_pruned(settings, [*others[:k], course(0.1), *others[k:]], k, 27) for k in range(12)}
    assert told == {True, False}


def evaluated(folder, epoch, ap):
    folder.mkdir(exist_ok=True)
    line = {"kind": "eval", "step": epoch, "epoch": epoch, "metrics": {"ap": ap}}
    metrics_log.append(folder, line)
    return Event(line)


def test_a_run_hears_it_behind_an_evaluation(tmp_path):
    folders = tuple(tmp_path / str(k) for k in range(4))
    for folder in folders[:3]:
        for epoch in (1, 2, 3):
            evaluated(folder, epoch, 0.1 * epoch)
    hook = Pruning(MedianSettings(startup_trials=2), folders[3], folders, epochs=3)
    hook(Event({"kind": "train", "step": 1, "epoch": 1}))
    hook(evaluated(folders[3], 1, 0.15))
    with pytest.raises(Pruned, match=r"pruned in epoch 2 of 3, at AP 15\.0"):
        hook(evaluated(folders[3], 2, 0.15))
    # What it has come to anyway is not thrown away.
    hook(evaluated(folders[3], 3, 0.0))


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_is_made_from_its_settings(name):
    settings = pruning_of({"name": name})
    assert settings == PRUNERS[name]()
    assert is_pruned(settings, [course(0.1)], 0, 4) in (True, False)


def test_without_optuna_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'frozendet\[optuna\]'"):
        pruning_of({"name": "median"})
    assert pruning_of(None) is None


def test_a_hook_can_go_to_another_process():
    import pickle

    hook = Pruning(MedianSettings(), Path("a"), (Path("a"),), 3)
    assert pickle.loads(pickle.dumps(hook)) == hook
