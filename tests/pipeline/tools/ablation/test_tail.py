"""Ablations on tails: the levels that they begin with, and the source itself, as axes."""

from pathlib import Path

import pytest

from fdet.cache.errors import FdetError
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.ablation.estimate import Costs
from fdet.pipeline.tools.ablation.options import AblateOptions
from fdet.pipeline.tools.ablation.plan import read_plan
from fdet.pipeline.tools.ablation.run import ablate
from fdet.pipeline.tools.ablation.trials import trials_of

from ...training.conftest import live_cache, short_cache
from .conftest import BASE

__all__ = ["live_cache", "short_cache"]

CUTS = '[axes]\n"backbone.train_from" = ["c4", "c5"]\n'
# The first value is the default.
BOTH = """[axes]
features = [{source = "cached"}, {source = "tail", "backbone.train_from" = "c5"}]
"""


@pytest.fixture
def on(tmp_path):
    """Writes a plan on a cache."""

    def written(cache, below="", above=""):
        path = tmp_path / "plan.toml"
        paths = f'cache = "{cache}"\nval = "{cache}"\nout = "out"\n'
        path.write_text(f"{paths}{above}\n{BASE}\n{below}\n")
        return path

    return written


def trials(path, opened):
    return trials_of(read_plan(path), opened)


def test_the_level_that_a_tail_begins_with_is_an_axis(on, live_cache, opened):
    early, late = trials(on(live_cache, CUTS, 'source = "tail"'), opened)
    assert [t.config.backbone.train_from for t in (early, late)] == ["c4", "c5"]
    assert {t.caches.source for t in (early, late)} == {"tail"}
    assert early.total == late.total and early.trained > late.trained
    (plain,) = trials(on(live_cache), opened)
    assert plain.total == late.total and plain.trained < late.trained
    assert plain.digest not in (early.digest, late.digest)


def test_adapters_and_a_frozen_tail_are_counted(on, live_cache, opened):
    axis = '[axes]\n"backbone.%s" = [false, true]\n'
    base = 'source = "tail"\n[base.backbone]\ntrain_from = "c5"\n'
    plain, adapted = trials(on(live_cache, axis % "adapters", base), opened)
    assert 0 < adapted.total - plain.total < adapted.trained
    trained, frozen = trials(on(live_cache, axis % "frozen_tail", base), opened)
    assert trained.total == frozen.total and frozen.trained < trained.trained


def test_the_source_is_an_axis_too(on, live_cache, opened):
    cached, tail = trials(on(live_cache, BOTH), opened)
    assert [t.caches.source for t in (cached, tail)] == ["cached", "tail"]
    assert cached.name == "cached, seed 0" and tail.name.startswith("tail, train_from c5")
    assert opened.of(cached.caches, cached.config) is opened.of(tail.caches, tail.config)


def test_trials_without_a_tail_have_the_digests_that_they_had(on, live_cache, opened):
    (plain,) = trials(on(live_cache), opened)
    (named,) = trials(on(live_cache, "", 'source = "cached"'), opened)
    assert plain.digest == named.digest


def test_trials_are_trained_and_estimated_with_their_tails(on, short_cache, opened, here):
    path = on(short_cache, '[axes]\n"backbone.train_from" = ["c5"]\n', 'source = "tail"')
    (trial,) = trials(path, opened)
    assert Costs(opened, 1).of(trial).step > 0
    ready = ablate(AblateOptions(plan=path, device="cpu", threads=1))
    assert ready.state.status(trial) == "finished"
    info = RunInfo.read(ready.state.folder(trial))
    assert (info.source, info.tail.names) == ("tail", ("c3", "c4", "c5"))
    assert {row["state"] for row in ready.rows()} == {"finished"}


@pytest.mark.parametrize(
    ("below", "above", "said"),
    [
        ("", 'source = "online"', "source: expected one that reads caches, cached or tail, got"),
        ("", 'source = "tial"', "source: expected one that reads caches, cached or tail, got"),
        ("", 'source = "tail"', "--source tail needs the level that the tail begins with"),
        ('[axes]\nx = [{label = "a", source = 1}]', "", "axis 'x': source: expected one that"),
        ('[axes]\n"backbone.train_from" = ["c9"]', 'source = "tail"', "expected the level that a"),
        ("", 'source = "tail"\nweights = "no.pth"\n[base.backbone]\ntrain_from = "c5"', "no.pth"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(on, live_cache, opened, below, above, said):
    with pytest.raises(FdetError, match=said):
        trials(on(live_cache, below, above), opened)


def test_weights_in_the_folder_of_the_plan_are_found(on, live_cache, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    plan = read_plan(on(live_cache, "", 'source = "tail"\nweights = "w.pth#ema"'))
    assert Path(plan.weights.partition("#")[0]) == tmp_path / "w.pth"
    assert plan.weights.endswith("#ema")
    other = read_plan(on(live_cache, "", 'source = "tail"\nweights = "elsewhere/w.pth"'))
    assert other.weights == "elsewhere/w.pth"
