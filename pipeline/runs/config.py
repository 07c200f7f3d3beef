"""RunConfig: everything that a training run needs, as a frozen value with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from ...cache.errors import ConfigError, did_you_mean
from ...heads.augment_settings import AugmentSettings
from ...heads.build import HEADS
from ...heads.checks import Auto, check_range
from ...heads.family import HeadSettings, NeckSettings
from ...heads.necks import NECKS
from ...heads.ranges import at_least, between, check_fields
from ...heads.roi import ROI_HEADS
from ...heads.roi.settings import RoISettings
from ..machines.choices import Precision
from .given import given_settings
from .settings import from_mapping, shown_value
from .suggestions import unknown_section, unknown_setting

T = TypeVar("T", int, float, Precision)
# The neck and head of a run that names none.
NECK, HEAD = "fpn", "tal"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The settings of a training: its length, batches, precision and samples."""

    epochs: Annotated[
        int | Auto,
        at_least(1),
        "passes over the images; auto: by the number of images (docs/training.md)",
    ] = "auto"
    batch_size: Annotated[int, at_least(1), "images per step, over all processes"] = 4
    accumulate: Annotated[
        int,
        at_least(1),
        "parts of a batch that each process computes in turn, for less memory; at most batch_size",
    ] = 1
    precision: Annotated[
        Precision | Auto,
        "precision of the step's matrix products; fp16 scales the loss; auto: bf16 where the processor or "
        "accelerator has it natively, otherwise fp32",
    ] = "auto"
    clip_norm: Annotated[float, at_least(0), "maximum norm of the gradient; 0: no limit"] = 1.0
    average: Annotated[
        float,
        between(0, 0.999999),
        "decay of a moving average of the weights, which is then evaluated and kept; 0: none",
    ] = 0.0
    eval_every: Annotated[
        int | Auto,
        at_least(1),
        "epochs between evaluations; the last epoch is always evaluated; auto: about ten evaluations",
    ] = "auto"
    patience: Annotated[
        int, at_least(0), "evaluations without a better AP after which training ends; 0: never"
    ] = 0
    save_minutes: Annotated[
        float,
        at_least(0),
        "minutes after which a checkpoint is written, at the next line of the log; a kill costs no more",
    ] = 10.0
    checkpoint_activations: Annotated[
        bool, "recompute activations in the backward pass, instead of keeping them, for less memory"
    ] = False
    compile: Annotated[bool, "compile neck and head"] = False
    channels_last: Annotated[bool, "keep neck and head in the channels-last memory format"] = False
    min_visible: Annotated[
        float,
        between(0, 1),
        "share of an object that a view must show for the object to be trained on",
    ] = 0.3
    seed: Annotated[int, between(0, 2**32 - 1), "seed of weights, order and random draws"] = 0
    fraction: Annotated[
        float,
        between(1e-6, 1),
        "share of the images to train on, always the same ones; a smaller share is a subset of a larger one",
    ] = 1.0
    views: Annotated[
        int, at_least(0), "number of the cache's views to use, the plain one first; 0: all"
    ] = 0
    repeat_factor: Annotated[
        float,
        between(0, 1),
        "share of the images above which a class counts as frequent; images with rarer ones come several "
        "times per epoch (LVIS, arXiv 1908.03195: 0.001); 0: never",
    ] = 0.0
    workers: Annotated[
        int,
        between(1, 1024),
        "threads that read maps; with a backbone in the loop, processes that decode images, four at a time",
    ] = 1
    prefetch: Annotated[
        int, at_least(1), "maximum number of batches of cached maps that are read ahead"
    ] = 4
    shuffle_shards: Annotated[
        int,
        at_least(0),
        "number of shards to shuffle over at a time, for disks with slow random reads; 0: all shards",
    ] = 0


@dataclass(frozen=True, slots=True)
class OptimSettings:
    """The optimiser and its rates. The factors multiply the rate of one part of the model."""

    name: Annotated[Literal["adamw", "sgd"], "the optimiser"] = "adamw"
    lr: Annotated[
        float | Auto,
        at_least(1e-12),
        "peak learning rate, for the batch size that is used; auto: by a rule that follows the batch size",
    ] = "auto"
    weight_decay: Annotated[float, at_least(0), "weight decay; biases and norms have none"] = 1e-4
    momentum: Annotated[float, between(0, 1), "momentum, for sgd only"] = 0.9
    neck_factor: Annotated[float, at_least(0), "factor of the neck's learning rate"] = 1.0
    head_factor: Annotated[float, at_least(0), "factor of the head's learning rate"] = 1.0
    backbone_factor: Annotated[
        float, at_least(0), "factor of the backbone's learning rate, with --source finetune or tail"
    ] = 0.1
    adapter_factor: Annotated[float, at_least(0), "factor of the adapters' learning rate"] = 1.0
    layer_decay: Annotated[
        float,
        at_least(0),
        "with --source finetune or tail: factor of the rate, once more for each stage before the last one",
    ] = 1.0


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """The settings of the rate, which changes during a run.

    cosine, step: the rate rises linearly from 0 for `warmup_steps`, at most a quarter of the run; then it
    falls along a half cosine to 0, or is multiplied by `gamma` at each of `milestones`. onecycle (Smith and
    Topin, arXiv 1708.07120): it rises along a half cosine from 1/25 of the peak, over the share `rise` of the
    run, and falls along another one to 0.
    """

    name: Annotated[Literal["cosine", "step", "onecycle"], "how the learning rate changes"] = (
        "cosine"
    )
    warmup_steps: Annotated[int, at_least(0), "cosine, step: steps with a rising rate"] = 100
    rise: Annotated[float, between(0, 1), "onecycle: share of the run with a rising rate"] = 0.3
    milestones: Annotated[
        tuple[float, ...], between(0, 1), "step: shares of the run after which the rate drops"
    ] = (0.67, 0.9)
    gamma: Annotated[float, between(0, 1), "step: the factor of each drop"] = 0.1


@dataclass(frozen=True, slots=True)
class BackboneSettings:
    """The settings of a backbone that is trained (--source finetune, tail, scratch) or adapted (online)."""

    train_from: Annotated[
        str,
        "first stage that finetune or tail trains, or that has adapters, by the name of the level at its end "
        '(c3: all that follows c2, of stride 4); "": all',
    ] = ""
    norm: Annotated[
        Literal["auto", "frozen", "batch"],
        "statistics of BatchNorm; frozen: those that it has; batch: the batch's; auto: batch with --source "
        "scratch, otherwise frozen",
    ] = "auto"
    adapters: Annotated[
        bool, "train small layers (adapters) on the outputs of the frozen backbone's blocks"
    ] = False
    frozen_tail: Annotated[
        bool, "with --source tail: compute the stages from train_from on, but do not train them"
    ] = False
    adapter_reduction: Annotated[
        int, between(1, 1024), "an adapter's width is the block's channels divided by this"
    ] = 4
    adapter_min_width: Annotated[int, between(1, 1024), "minimum width of an adapter"] = 8


@dataclass(frozen=True, slots=True)
class RunConfig:
    """All settings of a run.

    neck, head: the settings of the chosen neck and head, e.g. FPNSettings and RetinaNetSettings.
    """

    neck: NeckSettings = field(default_factory=NECKS[NECK].settings)
    head: HeadSettings = field(default_factory=HEADS[HEAD].settings)
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)

    def __post_init__(self) -> None:
        for section in fields(self):
            check_fields(section.name, getattr(self, section.name))
        check_range("train.accumulate", self.train.accumulate, 1, self.train.batch_size)

    def to_mapping(self) -> dict[str, Any]:
        """Return the settings as sections of plain values, as TOML and JSON know them."""
        mapping: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return mapping

    def to_toml(self) -> str:
        """Return the text of a file that `--config` takes; scalars and lists of JSON are valid TOML too."""
        blocks = []
        for section, values in self.to_mapping().items():
            lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
            blocks.append("\n".join([f"[{section}]", *lines]))
        return "\n\n".join(blocks) + "\n"

    def adopting(self, kept: RunConfig) -> RunConfig:
        """Return these settings with the values that a run of them has kept in place of every "auto"."""
        values, others = self.to_mapping(), kept.to_mapping()
        for section, settings in values.items():
            for name, value in settings.items():
                if value == "auto" and others[section].get("name") == settings.get("name"):
                    settings[name] = others[section].get(name, value)
        return RunConfig.from_mapping(values)

    @property
    def masks(self) -> bool:
        """Return whether the head predicts masks too."""
        return isinstance(self.head, RoISettings) and self.head.masks

    @property
    def digest(self) -> str:
        """The sha256 of all settings."""
        return digest_of(self.to_mapping())

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunConfig:
        """Make a configuration from sections; settings that are absent have their defaults.

        Raises ConfigError for an unknown section, neck, head or setting, and for wrong types.
        """
        for section, given in values.items():
            if section not in ("neck", "head", *_PLAIN):
                raise ConfigError(unknown_section(section, given, setting_names()))
        chosen: dict[str, Any] = {
            name: _settings(kind, values.get(name, {}), name) for name, kind in _PLAIN.items()
        }
        neck = _chosen("neck", values, NECK)
        head = _chosen("head", values, HEAD)
        return cls(neck=neck, head=head, **chosen)


def fixed(value: T | Auto) -> T:
    """Return a setting of a run, which has a value in place of every "auto" (pipeline/training/auto.py)."""
    assert value != "auto"
    return value


def digest_of(settings: Mapping[str, Any]) -> str:
    """Return the sha256 of the sections of a configuration, as `to_mapping` gives them."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _chosen(section: str, values: Mapping[str, Any], default: str) -> Any:
    """Return the settings of the neck or head that the section names."""
    settings, table = values.get(section, {}), _FAMILIES[section]
    if not isinstance(settings, Mapping):
        hint = f"; did you mean '{section}.name'?" if isinstance(settings, str) else ""
        given = shown_value(settings)
        raise ConfigError(f"setting '{section}': expected a section, got {given}{hint}")
    name = settings.get("name", default)
    if not isinstance(name, str) or name not in table:
        given = shown_value(name)
        hint = did_you_mean(name if isinstance(name, str) else "", table)
        raise ConfigError(f"unknown {section} {given}{hint}")
    for each in settings:
        owners = [n for n, kind in table.items() if each in _names(kind)]
        if owners and name not in owners:
            raise ConfigError(
                f"unknown setting '{section}.{each}' of {section} {name}; only {', '.join(owners)} "
                "have it"
            )
    return _settings(table[name], settings, section)


def _settings(kind: type[Any], values: object, section: str) -> Any:
    """Make a section from its values. Raises ConfigError, with what an unknown name may stand for."""
    for name in values if isinstance(values, Mapping) else ():
        if name not in _names(kind):
            raise ConfigError(unknown_setting(f"{section}.{name}", setting_names(), _names(kind)))
    return from_mapping(kind, values, section)


@cache
def setting_names() -> tuple[str, ...]:
    """Return the full names of all settings, of every neck and head."""
    kinds = [*_PLAIN.items(), *((s, k) for s, table in _FAMILIES.items() for k in table.values())]
    return tuple(sorted({f"{section}.{name}" for section, kind in kinds for name in _names(kind)}))


def _names(kind: type[Any]) -> list[str]:
    return [f.name for f in fields(kind)]


_PLAIN: Mapping[str, type[Any]] = {
    "backbone": BackboneSettings,
    "augment": AugmentSettings,
    "train": TrainSettings,
    "optim": OptimSettings,
    "schedule": ScheduleSettings,
}
_FAMILIES: Mapping[str, Mapping[str, type[Any]]] = {
    "neck": {name: family.settings for name, family in NECKS.items()},
    "head": {name: family.settings for name, family in HEADS.items()},
}


def load_config(
    path: Path | None = None,
    *,
    neck: str | None = None,
    head: str | None = None,
    masks: bool = False,
    adapters: bool = False,
    assignments: Sequence[str] = (),
) -> RunConfig:
    """Return the defaults, changed by the file (or preset), then the names, then each 'section.name=value'.

    masks, adapters: whether to set head.masks and backbone.adapters to true, last of all. Raises ConfigError,
    which names the file or preset where it is about a setting that came from there.
    """
    given = given_settings(path, neck=neck, head=head, assignments=assignments)
    with given.named():
        config = RunConfig.from_mapping(given.values)
    if adapters:
        config = replace(config, backbone=replace(config.backbone, adapters=True))
    return _with_masks(config) if masks else config


def _with_masks(config: RunConfig) -> RunConfig:
    if not isinstance(config.head, RoISettings):
        raise ConfigError(
            f"--masks: head {config.head.name} finds none; expected {' or '.join(ROI_HEADS)}"
        )
    return replace(config, head=replace(config.head, masks=True))
