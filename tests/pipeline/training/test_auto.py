"""Settings that are "auto" get values from the training data, the same ones whenever they are asked for."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.heads.build import HEADS
from fdet.heads.types import Targets
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.machines import devices
from fdet.pipeline.runs.config import RunConfig, load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.sources.data import open_cached
from fdet.pipeline.training import auto, length
from fdet.pipeline.training.auto import auto_rate, class_shares, settled
from fdet.pipeline.training.length import Least, auto_epochs
from fdet.pipeline.training.train import train

from ...conftest import extraction
from .runs import lines, options, tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(exact_cache):
    return open_cached([exact_cache], None, CPU)


@pytest.fixture(autouse=True)
def as_for_users(monkeypatch):
    monkeypatch.setattr(length, "ONE_VIEW", Least(400, 10))
    monkeypatch.setattr(length, "SEVERAL_VIEWS", Least(1500, 12))


def open_config(head="tal", *more):
    return load_config(head=head, assignments=["neck.channels=8", "neck.max_level=5", *more])


@pytest.mark.parametrize(
    ("images", "batch_size", "views", "epochs"),
    [
        *((50, 4, 1, 32), (12, 4, 1, 134), (160, 4, 1, 10), (161, 4, 1, 10)),
        *((205, 4, 2, 30), (205, 4, 6, 30), (500, 4, 6, 12), (501, 4, 6, 12)),
        *((118_287, 16, 1, 10), (118_287, 16, 6, 12), (1, 1, 1, 400), (1, 1, 3, 1500)),
    ],
)
def test_small_sets_get_steps_and_large_ones_epochs(images, batch_size, views, epochs):
    assert auto_epochs(images, batch_size, views) == epochs
    steps, least = (400, 10) if views == 1 else (1500, 12)
    assert epochs >= least
    assert epochs * images >= steps * batch_size or epochs == least


def test_the_rate_follows_the_batch():
    assert auto_rate("adamw", 16) == pytest.approx(2 * auto_rate("adamw", 4))
    assert auto_rate("sgd", 64) == pytest.approx(0.16)
    assert auto_rate("sgd", 16) == pytest.approx(0.04)


@pytest.mark.parametrize("head", HEADS)
def test_nothing_is_auto_afterwards(head, data):
    config = settled(open_config(head), data, CPU)
    left = [(s, n) for s, of in config.to_mapping().items() for n, v in of.items() if v == "auto"]
    assert left == [("backbone", "norm")]  # which means no more than what a source does
    assert settled(config, data, CPU) == config
    assert config.train.epochs == 500
    assert config.train.eval_every == 50
    assert config == settled(open_config(head), data, CPU)


@pytest.mark.parametrize("head", HEADS)
def test_what_is_given_stays(head, data):
    given = [
        *("train.epochs=3", "train.eval_every=2", "train.precision=fp32", "optim.lr=0.02"),
        "head.normaliser=7.5",
    ]
    scales = hasattr(HEADS[head].settings(), "anchor_scales")
    config = open_config(head, *given, *(["head.anchor_scales=[3.0]"] if scales else []))
    assert settled(config, data, CPU) == config


@pytest.mark.parametrize("head", HEADS)
def test_another_seed_changes_no_other_setting(head, dataset, tmp_path):
    """Of views that differ, so that another draw of them would have other objects."""
    options = {"views": "plain,scale=0.4..1.6x2", "codec": "fp32", "limit": 5}
    extract(extraction(dataset, tmp_path / "c.fdet", **options))
    data = open_cached([tmp_path / "c.fdet"], None, CPU)
    first, second = (
        settled(open_config(head, f"train.seed={seed}"), data, CPU).to_mapping() for seed in (0, 7)
    )
    assert first["train"].pop("seed") != second["train"].pop("seed")
    assert first == second


def test_the_normaliser_is_the_mean_of_places_that_learn(data):
    config = settled(open_config("fcos"), data, CPU)
    seen = auto.seen_targets(data, config.train)
    assert len(seen.targets) == len(data.image_ids)
    head = auto._detector(config, data).head
    each = [
        float(head.fit(t.boxes, p.canvas_hw).locations.sum())
        for t, p in zip(seen.targets, seen.placements, strict=True)
    ]
    assert 0.0 in each  # an image without objects counts
    assert config.head.normaliser == pytest.approx(np.mean(each), abs=1e-3)


@pytest.mark.parametrize("head", ["retinanet", "faster-rcnn"])
def test_scales_are_added_where_a_class_has_no_anchors_and_none_is_taken_away(head, data):
    first = auto._detector(open_config(head), data).head.anchor_generator.scales
    seen = auto.seen_targets(data, open_config(head).train)
    for factor in (1.0, 0.2):
        changed = scaled(seen, factor)
        detector = auto._detector(open_config(head), data)
        scales = auto.fitting_scales(detector, changed)
        assert set(np.round(first, 4)) <= set(scales)
        assert len(scales) <= len(first) + auto.ADDED_SCALES
        config = open_config(head, f"head.anchor_scales={list(scales)}")
        before = worst_share(detector.head, changed)
        after = worst_share(auto._detector(config, data).head, changed)
        assert after >= before
        if factor < 1:
            assert before < after
            assert min(scales) < min(first)


def scaled(seen, factor):
    def one(t):
        centres = (t.boxes[:, :2] + t.boxes[:, 2:]).repeat(1, 2) / 2
        return Targets(centres + (t.boxes - centres) * factor, t.labels)

    return auto.SeenTargets(tuple(map(one, seen.targets)), seen.placements)


def worst_share(head, seen):
    reached = [
        head.fit(t.boxes, p.canvas_hw).reached
        for t, p in zip(seen.targets, seen.placements, strict=True)
    ]
    return min(class_shares(torch.cat(reached), seen.labels).values())


def test_a_run_keeps_the_values_and_resumes_with_them(exact_cache, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(length, "SEVERAL_VIEWS", Least(6, 2))
    config = load_config(
        head="retinanet", assignments=["neck.channels=8", "neck.max_level=5", "head.convs=1"]
    )
    given = options(exact_cache, tmp_path / "run", val=exact_cache)
    with caplog.at_level(logging.INFO, logger="fdet"):
        train(config, given)
    kept = RunInfo.read(tmp_path / "run").config
    assert kept.train.epochs == 2
    assert len(lines(tmp_path / "run", "eval")) == 2
    assert kept == RunConfig.from_mapping(
        load_config(tmp_path / "run" / "config.toml").to_mapping()
    )
    assert "6 steps in 2 epochs, 4 images each; adamw, peak rate" in caplog.text
    assert "anchors of" in caplog.text
    assert "the remaining steps will take about" in caplog.text
    # Even where "auto" would now mean something else.
    monkeypatch.setattr(length, "SEVERAL_VIEWS", Least(6, 3))
    summary = train(config, replace(given, resume=True))
    assert summary.steps == 6
    longer = replace(config, train=replace(config.train, epochs=5))
    with pytest.raises(ConfigError, match=r"train.epochs was 2, is 5"):
        train(longer, replace(given, resume=True))


def test_precision_is_the_machines_own(monkeypatch, data):
    for native in ("bf16", "fp32"):
        monkeypatch.setattr(auto, "native_precision", lambda device, native=native: native)
        assert settled(open_config(), data, CPU).train.precision == native
    asked = open_config("tal", "train.precision=fp32")
    assert settled(asked, data, CPU).train.precision == "fp32"


def test_what_a_processor_cannot_do_is_not_chosen(monkeypatch):
    for can, expected in (
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_f": True}, "fp32"),
        ({}, "fp32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda can=can: can, raising=False)
        assert devices.native_precision(CPU) == expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert devices.native_precision(CPU) == "fp32"


def test_a_nan_is_no_rate():
    assert math.isfinite(auto_rate("adamw", 1))
    with pytest.raises(ConfigError, match="expected at least"):
        tiny("retinanet", "optim.lr=0")
    with pytest.raises(ConfigError, match=r"one of \['auto'\]"):
        tiny("retinanet", "optim.lr=soon")
