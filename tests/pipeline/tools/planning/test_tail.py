"""The plan of a cache for a tail, against the cache that is then made."""

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.manifest import Manifest
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.planning.measure import make_plan
from fdet.pipeline.tools.planning.options import PlanOptions

from ...backbones.tiny import VIT
from ...quick import command, quick

NET = {"backbone": "test_efficientnet", "levels": None}


def planned(dataset, out, train_from, **changes):
    made = quick(dataset, out, **{**NET, **changes})
    return make_plan(PlanOptions(extraction=made, train_from=train_from, write_trial=2**20))


def test_it_is_that_of_the_levels_before_the_tail(dataset, tmp_path):
    plan = planned(dataset, tmp_path / "p", "c5")
    assert list(plan.levels) == ["c3", "c4"]
    assert any("extracted with --levels c3,c4;" in sentence for sentence in plan.sentences)
    extract(quick(dataset, tmp_path / "c", **{**NET, "levels": "c3,c4"}))
    stored = Manifest.read(tmp_path / "c", CacheHeader.read(tmp_path / "c")).stored_bytes
    assert plan.chosen.bytes == pytest.approx(stored, rel=0.05)
    whole = planned(dataset, tmp_path / "w", "")
    assert list(whole.levels) == ["c3", "c4", "c5"] and whole.chosen.bytes > plan.chosen.bytes


@pytest.mark.parametrize(
    ("train_from", "levels", "expected"),
    [
        ("c3", None, ["c2"]),
        ("c5", "c3,c5", ["c3", "c4"]),
        ("c4", "c3", ["c3"]),
        ("c5", "c2,c3,c4,c5", ["c2", "c3", "c4"]),
    ],
)
def test_the_level_before_the_cut_is_always_there(dataset, tmp_path, train_from, levels, expected):
    assert list(planned(dataset, tmp_path / "p", train_from, levels=levels).levels) == expected


def test_a_plain_vit_needs_the_tokens_of_the_block(dataset, tmp_path):
    plan = planned(dataset, tmp_path / "p", "block2", backbone=VIT)
    assert list(plan.levels) == ["block1"]
    assert any("--levels block1 --tokens;" in sentence for sentence in plan.sentences)
    taps = {"backbone": VIT, "levels": None, "taps": "1", "tokens": True}
    extract(quick(dataset, tmp_path / "c", **taps))
    stored = Manifest.read(tmp_path / "c", CacheHeader.read(tmp_path / "c")).stored_bytes
    assert plan.chosen.bytes == pytest.approx(stored, rel=0.05)


@pytest.mark.parametrize("train_from", ["c9", "c1"])
def test_a_level_that_no_tail_begins_with_is_refused(dataset, tmp_path, train_from):
    with pytest.raises(ConfigError, match="expected the level that a tail begins with, got"):
        planned(dataset, tmp_path / "p", train_from)


def test_on_the_command_line(dataset, tmp_path):
    _, *words = command(dataset, tmp_path / "p", backbone="test_efficientnet", levels="c3,c4,c5")
    given = ["plan", *words, "--write-trial", "4MiB", "--train-from", "c5"]
    result = CliRunner().invoke(app, list(map(str, given)))
    assert result.exit_code == 0, result.output
    assert "c3 " in result.stdout and "--set backbone.train_from=c5" in result.stdout
