"""Presets are settings that load, fit a pyramid of the usual levels, and are what the paper says."""

import json
from pathlib import Path

import pytest
import timm
import torch
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.heads.build import build_detector
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.options import ExtractConfig
from fdet.pipeline.runs.config import RunConfig, load_config
from fdet.pipeline.runs.described_presets import COUNTED, LEVELS, described_presets
from fdet.pipeline.runs.presets import preset_names, smaller_preset

FROM_C2 = PyramidSpec(tuple(LevelSpec(f"c{k}", 2**k, 8 * k) for k in range(2, 6)))
FROM_C3 = PyramidSpec(FROM_C2.levels[1:])
LARGE = (
    *("faster-fpn", "faster-nas-fpn", "cascade-fpn", "cascade-nas-fpn"),
    *("retinanet-fpn", "retinanet-nas-fpn"),
)


OWN = ("tal-fpn", "tal-nas-fpn", "fcos-fpn", "fcos-nas-fpn")


def preset(name):
    return load_config(Path(name))


def built(name, spec):
    config = preset(name)
    with torch.device("meta"):
        return build_detector(spec, 80, config.neck, config.head)


QUERY = ["query-m", "query-s"]


def test_each_has_a_small_size():
    large = [*LARGE, *OWN]
    assert sorted(preset_names()) == sorted([*large, *(f"{name}-s" for name in large), *QUERY])


def test_those_of_queries_are_of_a_small_and_a_medium_size():
    small, medium = preset("query-s"), preset("query-m")
    for config in (small, medium):
        assert (config.neck.name, config.head.name) == ("hybrid", "query")
        assert (config.neck.min_level, config.neck.max_level) == (3, 5)
    assert (small.neck.channels, small.head.queries, small.head.layers) == (128, 100, 3)
    assert (medium.neck.channels, medium.head.queries, medium.head.layers) == (256, 300, 4)
    assert (small.head.regression, medium.head.regression) == ("direct", "distribution")
    sizes = [built(name, FROM_C3).trained_parameters for name in ("query-s", "query-m")]
    assert sizes[0] < sizes[1] / 5
    assert smaller_preset("hybrid", "query", 256) == "query-s"


@pytest.mark.parametrize("name", [name for name in preset_names() if name not in QUERY])
def test_each_is_what_its_name_says(name):
    config = preset(name)
    neck = "nas-fpn" if "nas-fpn" in name else "fpn"
    first = name.split("-")[0]
    head = {"faster": "faster-rcnn", "cascade": "cascade-rcnn"}.get(first, first)
    assert (config.neck.name, config.head.name) == (neck, head)
    small, large = (
        built(n, FROM_C2) for n in (f"{name.removesuffix('-s')}-s", name.removesuffix("-s"))
    )
    assert small.trained_parameters < large.trained_parameters / 5


@pytest.mark.parametrize("name", [*LARGE, *OWN])
def test_a_smaller_one_is_known_of_a_large_one_and_none_of_a_small_one(name):
    large, small = preset(name), preset(f"{name}-s")
    of_large = (large.neck.name, large.head.name, large.neck.channels)
    assert smaller_preset(*of_large) == f"{name}-s"
    assert smaller_preset(small.neck.name, small.head.name, small.neck.channels) is None
    assert smaller_preset("bifpn", *of_large[1:]).endswith("-s")
    assert smaller_preset("fpn", "fcos", 64) is None


@pytest.mark.parametrize("name", LARGE)
def test_the_large_ones_have_the_papers_recipe(name):
    config = preset(name)
    assert (config.optim.name, config.optim.lr, config.optim.weight_decay) == ("sgd", 0.16, 4e-5)
    assert (config.train.batch_size, config.train.epochs) == (64, 72)
    assert (config.schedule.name, config.schedule.warmup_steps) == ("step", 500)
    assert len(config.schedule.milestones) == 2
    assert (config.neck.channels, config.neck.norm) == (256, "sync-bn")
    assert (config.optim.momentum, config.schedule.gamma) == (0.9, 0.1)
    head = config.head
    assert (head.score_threshold, head.nms_iou, head.max_detections) == (0.05, 0.5, 100)
    assert (config.neck.min_level == 2) == (name in ("faster-fpn", "cascade-fpn"))
    assert config.neck.max_level - config.neck.min_level == 4
    if config.neck.name == "nas-fpn":
        assert (config.neck.repeats, config.neck.min_level, config.neck.max_level) == (5, 3, 7)
    if config.head.name != "retinanet":
        assert (head.anchor_scales, head.ratios) == ((8.0,), (0.5, 1.0, 2.0))
        assert (head.rpn_top_train, head.rpn_nms_iou) == ((2000, 1000), 0.7)
        assert (head.sampled, head.positive) == (512, 0.25)
        assert (config.head.convs, config.head.fc_layers, config.head.fc_channels) == (4, 2, 1024)
    if config.head.name == "cascade-rcnn":
        assert config.head.iou_thresholds == (0.5, 0.7, 0.8) and config.head.class_agnostic


@pytest.mark.parametrize("name", OWN)
def test_the_other_large_ones_have_only_a_size(name):
    config = preset(name)
    assert (config.neck.channels, config.head.convs) == (256, 4)
    assert getattr(config.neck, "repeats", 5) == 5
    default = RunConfig()
    assert (config.train, config.optim) == (default.train, default.optim)


def test_every_preset_is_described():
    presets = {p.name: p for p in described_presets()}
    assert list(presets) == preset_names()
    one = presets["faster-nas-fpn-s"]
    assert (one.neck, one.head, one.channels) == ("nas-fpn", "faster-rcnn", 64)
    assert one.parameters == built(one.name, LEVELS).trained_parameters
    assert {p.use for p in presets.values()} == {
        "for small machines",
        "the paper's size and recipe",
        "the papers' size, fdet's own recipe",
        "the size of D-FINE-M, fdet's own recipe",
    }


def test_the_levels_that_parameters_are_counted_for_are_those_of_the_default_backbone():
    name = ExtractConfig(annotations=Path(), out=Path()).backbone
    info = timm.create_model(name, features_only=True).feature_info
    found = zip(info.reduction(), info.channels(), strict=True)
    assert [(v.stride, v.channels) for v in LEVELS.levels] == list(found)[1:]
    assert name in COUNTED


def test_the_command_lists_them_in_three_formats():
    shown = {
        format: CliRunner().invoke(app, ["presets", "--format", format]).stdout
        for format in ("table", "md", "json")
    }
    for preset in json.loads(shown["json"]):
        row = next(r for r in shown["table"].splitlines() if r.startswith(f"{preset['name']} "))
        for value in (preset["neck"], preset["head"], str(preset["channels"]), preset["use"]):
            assert value in row
        assert f"| `{preset['name']}` | {preset['neck']} | {preset['head']} |" in shown["md"]
    assert shown["table"].endswith(f"{COUNTED}\n")


@pytest.mark.parametrize("command", ["train-heads", "fit"])
def test_the_help_of_a_training_names_them(command):
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "400"}).stdout
    for name in (*LARGE, *OWN):
        assert name in shown
    assert "fdet presets" in shown


def test_a_level_that_the_cache_lacks_is_named():
    with pytest.raises(ConfigError, match=r"neck fpn needs level c2 .*extract with --levels"):
        built("faster-fpn", FROM_C3)
    built("faster-nas-fpn", FROM_C3)


def test_a_file_goes_before_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("retinanet-fpn").write_text("[train]\nepochs = 3\n")
    assert preset("retinanet-fpn").train.epochs == 3


def test_a_folder_of_a_presets_name_does_not_hide_the_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("retinanet-fpn").mkdir()
    assert preset("retinanet-fpn").neck.channels == 256


def test_for_the_folder_of_a_run_its_file_is_named(tmp_path):
    (tmp_path / "config.toml").touch()
    with pytest.raises(ConfigError, match=r"a folder; the settings of its run are in config\.toml"):
        preset(tmp_path)


def test_for_an_absent_file_one_beside_it_or_a_preset_is_proposed(tmp_path):
    (tmp_path / "recipe.toml").touch()
    with pytest.raises(ConfigError, match=r"did you mean '.*/recipe\.toml'"):
        preset(tmp_path / "recpie.toml")
    with pytest.raises(ConfigError, match=r"No such file .* did you mean 'retinanet-fpn'"):
        preset("retinanet-fpn.toml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("retinanet-fpm", "no such file or preset; did you mean 'retinanet-fpn"),
        ("own.toml", "own.toml: No such file"),
        ("folder/retinanet-fpn", "folder/retinanet-fpn: No such file"),
    ],
)
def test_what_is_no_file_and_no_preset_is_said(name, said):
    with pytest.raises(ConfigError, match=said):
        preset(name)
