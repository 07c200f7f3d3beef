"""RunConfig: defaults, file, names, assignments; written and read back the same."""

from dataclasses import fields, replace
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest

from fdet.cache.errors import ConfigError
from fdet.heads.build import HEADS
from fdet.heads.necks import NECKS
from fdet.pipeline.runs.config import RunConfig, load_config


def sections(config):
    return {f.name: getattr(config, f.name) for f in fields(config)}


def other_value(kind, value):
    """A valid value that differs from `value`; None where the type allows no other."""
    if get_origin(kind) in (Union, UnionType):
        kinds = get_args(kind)
        numbers = [k for k in kinds if k in (int, float)]
        words = [w for k in kinds if get_origin(k) is Literal for w in get_args(k)]
        return 3 if numbers else (3.0,) if tuple[float, ...] in kinds else other_word(words, value)
    if get_origin(kind) is Literal:
        return other_word(get_args(kind), value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return 0.9 * value if value else 0.5
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return f"{value}c4"
    if isinstance(value, tuple):
        return (*value[:-1], other_value(type(value[-1]), value[-1])) if value else ("c4",)
    raise AssertionError(f"no other value known for {kind}")


def other_word(words, value):
    return next((v for v in words if v != value), None)


def one_changes(config):
    """(section.name, config) for every setting that can be another."""
    for section, settings in sections(config).items():
        hints = get_type_hints(type(settings))
        for f in fields(settings):
            other = other_value(hints[f.name], getattr(settings, f.name))
            if other is not None:
                changed = replace(settings, **{f.name: other})
                yield f"{section}.{f.name}", replace(config, **{section: changed})


PAIRS = [(neck, head) for neck in NECKS for head in HEADS]


@pytest.mark.parametrize(("neck", "head"), PAIRS)
def test_the_digest_changes_with_every_setting(neck, head):
    config = load_config(neck=neck, head=head)
    changes = list(one_changes(config))
    digests = [config.digest, *(changed.digest for _, changed in changes)]
    assert len(changes) > 20
    assert len(set(digests)) == len(digests)
    assert load_config(neck=neck, head=head).digest == config.digest


@pytest.mark.parametrize(("neck", "head"), PAIRS)
def test_every_setting_survives_its_own_toml(neck, head, tmp_path):
    path = tmp_path / "run.toml"
    config = load_config(neck=neck, head=head)
    for name, changed in [("defaults", config), *one_changes(config)]:
        path.write_text(changed.to_toml())
        assert load_config(path) == changed, name
        assert RunConfig.from_mapping(changed.to_mapping()) == changed, name


def test_small_and_large_numbers_survive_toml(tmp_path):
    config = load_config(assignments=["optim.lr=1e-7", "optim.weight_decay=1e15"])
    (tmp_path / "a.toml").write_text(config.to_toml())
    assert load_config(tmp_path / "a.toml") == config


def test_the_four_ways_of_setting_come_one_after_the_other(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('[train]\nepochs = 3\nbatch_size = 5\n[head]\nname = "retinanet"\n')
    config = load_config(path, head="faster-rcnn", assignments=["train.epochs=4", "train.seed=9"])
    assert (config.train.epochs, config.train.batch_size, config.train.seed) == (4, 5, 9)
    assert config.train.eval_every == RunConfig().train.eval_every
    assert config.head.name == "faster-rcnn"
    assert load_config(path).head.name == "retinanet"


@pytest.mark.parametrize("head", HEADS)
def test_masks_are_a_setting_of_the_head_and_refused_where_it_has_none(head):
    if "masks" in {f.name for f in fields(HEADS[head].settings)}:
        config = load_config(head=head, masks=True)
        assert config == load_config(head=head, assignments=["head.masks=true"])
        assert config.masks and not load_config(head=head).masks
    else:
        with pytest.raises(ConfigError, match=f"--masks: head {head} finds none; expected f"):
            load_config(head=head, masks=True)


def test_adapters_are_a_setting_of_the_backbone():
    config = load_config(adapters=True, assignments=["backbone.train_from=c4"])
    assert config.backbone.adapters and config.backbone.train_from == "c4"
    assert config == load_config(assignments=["backbone.adapters=true", "backbone.train_from=c4"])


def test_without_any_input_all_defaults_hold():
    assert load_config() == RunConfig()


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("optim.lrr=1", "unknown setting 'optim.lrr'; did you mean 'optim.lr'?"),
        ("optm.lr=1", "unknown setting 'optm.lr'; did you mean 'optim.lr'?"),
        ("epochs=3", "unknown setting 'epochs'; did you mean 'train.epochs'?"),
        ("train={lr = 1}", "unknown setting 'train.lr'; did you mean 'optim.lr'?"),
        (
            "zzz.project=x",
            "unknown section 'zzz'; known: augment, backbone, head, neck, optim, schedule, tr",
        ),
        (
            "train.epochs=many",
            "setting 'train.epochs': expected int, got 'many'; or one of ['auto']",
        ),
        ("train.accumulate=0", "setting 'train.accumulate': expected at least 1, got 0"),
        ("train.accumulate=9", "setting 'train.accumulate': expected 1 to 4, got 9"),
        ("train.precision=fp8", "setting 'train.precision': expected one of ['fp32', 'bf16', 'f"),
        ("train.clip_norm=-1", "setting 'train.clip_norm': expected at least 0"),
        ("train.average=1", "setting 'train.average': expected 0 to 0.999999, got 1.0"),
        ("train.patience=-1", "setting 'train.patience': expected at least 0"),
        ("train.save_minutes=-1", "setting 'train.save_minutes': expected at least 0"),
        ("train.compile=1", "setting 'train.compile': expected bool, got 1"),
        ("backbone.norm=sync", "setting 'backbone.norm': expected one of ['auto', 'frozen', 'b"),
        ("optim.layer_decay=-1", "setting 'optim.layer_decay': expected at least 0"),
        ("optim.backbone_factor=-1", "setting 'optim.backbone_factor': expected at least 0"),
        ("optim.adapter_factor=-1", "setting 'optim.adapter_factor': expected at least 0"),
        ("backbone.adapters=1", "setting 'backbone.adapters': expected bool, got 1"),
        (
            "backbone.adapter_reduction=0",
            "setting 'backbone.adapter_reduction': expected 1 to 1024, got 0",
        ),
        (
            "backbone.adapter_min_width=1025",
            "setting 'backbone.adapter_min_width': expected 1 to 1024, got 1025",
        ),
        ("schedule.rise=2", "setting 'schedule.rise': expected 0 to 1, got 2.0"),
        ("schedule.gamma=-1", "setting 'schedule.gamma': expected 0 to 1, got -1.0"),
        (
            "schedule.milestones=[0.5, 8]",
            "setting 'schedule.milestones': expected 0 to 1, got [0.5, 8.0]",
        ),
        ("train.epochs=0", "setting 'train.epochs': expected at least 1, got 0"),
        ("train.batch_size=0", "setting 'train.batch_size': expected at least 1"),
        ("train.eval_every=0", "setting 'train.eval_every': expected at least 1"),
        ("train.workers=0", "setting 'train.workers': expected 1 to 1024"),
        ("train.prefetch=0", "setting 'train.prefetch': expected at least 1"),
        ("train.shuffle_shards=-1", "setting 'train.shuffle_shards': expected at least 0, got -1"),
        ("train.shuffle_shards=1.5", "setting 'train.shuffle_shards': expected int, got 1.5"),
        ("train.shufle_shards=1", "unknown setting 'train.shufle_shards'; did you mean"),
        ("train.seed=-1", "setting 'train.seed': expected 0 to 4294967295"),
        ("schedule.warmup_steps=-1", "setting 'schedule.warmup_steps': expected at least 0"),
        ("optim.lr=0", "setting 'optim.lr': expected at least 1e-12, got 0.0"),
        ("optim.lr=-1", "setting 'optim.lr': expected at least 1e-12, got -1.0"),
        ("optim.weight_decay=-1", "setting 'optim.weight_decay': expected at least 0"),
        ("train.min_visible=2", "setting 'train.min_visible': expected 0 to 1"),
        ("neck.channels=0", "setting 'neck.channels': expected 1 to 65536"),
        ("neck.max_level=2", "setting 'neck.max_level': expected 3 to 20"),
        ("head.anchor_scales=[]", "setting 'head.anchor_scales': expected positive numbers"),
        ("head.convs=0", "setting 'head.convs': expected 1 to 64"),
        ("optim.lr=nan", "setting 'optim.lr': expected a finite number"),
        ("optim.name=adam", "setting 'optim.name': expected one of ['adamw', 'sgd'], got 'adam'"),
        ("schedule.name=linear", "setting 'schedule.name': expected one of ['cosine', 'st"),
        ("neck.name=fpm", "unknown neck 'fpm'; did you mean 'fpn'?"),
        ("head.name=retnanet", "unknown head 'retnanet'; did you mean 'retinanet'?"),
        ("head.name=[1]", "unknown head [1]; known: "),
        ("neck=fpn", "setting 'neck': expected a section, got 'fpn'; did you mean 'neck.name'?"),
        ("train=5", "setting 'train': expected a section, got 5"),
        ("neck.chanels=8", "unknown setting 'neck.chanels'; did you mean 'neck.channels'?"),
        (
            "head.rpn_nms_iou=0.5",
            "unknown setting 'head.rpn_nms_iou' of head retinanet; only faster-rcnn, cascade-rcnn have it",
        ),
    ],
)
def test_a_bad_setting_is_named(assignment, said):
    with pytest.raises(ConfigError) as caught:
        load_config(head="retinanet", assignments=[assignment])
    assert str(caught.value).startswith(said)


def test_a_neck_given_as_a_word_is_refused_with_and_without_an_option(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('neck = "fpn"\n')
    for neck in (None, "fpn"):
        with pytest.raises(ConfigError, match="'neck': expected a section, got 'fpn'"):
            load_config(path, neck=neck)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="unknown head 'faster_rcnn'; did you mean 'faster-rcnn'"):
        load_config(head="faster_rcnn")
    with pytest.raises(ConfigError, match="unknown neck 'FPN'; did you mean 'fpn'"):
        load_config(neck="FPN")
