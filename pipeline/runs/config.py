"""RunConfig: everything that a training run needs, as a frozen value with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from ...cache.errors import ConfigError, did_you_mean
from ...heads.build import HEADS
from ...heads.checks import Auto, check_range
from ...heads.family import HeadSettings, NeckSettings
from ...heads.feature_augment import AugmentSettings
from ...heads.necks import NECKS
from ...heads.roi import ROI_HEADS
from ...heads.roi.settings import RoISettings
from ..machines.devices import Precision
from .presets import config_file
from .settings import from_mapping, read_toml, shown_value, with_setting

T = TypeVar("T", int, float, Precision)
# Where nothing is said.
NECK, HEAD = "fpn", "tal"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """epochs: "auto" for as many as pipeline/training/auto.py says. batch_size: images a step, over all
    processes; accumulate: parts that each process works off one after the other, for less memory.
    precision: of the step's matrix products; fp16 scales the loss; "auto" is bf16 where the processor
    or accelerator has it natively, else fp32. clip_norm: largest norm of the gradient, 0 for none;
    average: decay of a moving average of the weights, which is then what is evaluated and kept, 0 for
    none.

    fraction: share of the images that is trained on, always the same ones, and a smaller share's images
    are among a larger one's; views: how many of the cache's views, the plain one first, 0 for all.
    repeat_factor: share of the images from which on a class is frequent; images with rarer ones come
    several times an epoch, 0 for never (LVIS, arXiv 1908.03195: 0.001).

    eval_every: epochs between evaluations (the last is always evaluated), "auto" for about ten of
    them; patience: evaluations without a better AP after which training ends, 0 for never;
    save_minutes: the longest work that a kill can cost, to the next line of the log.

    checkpoint_activations: compute them again in the backward pass instead of keeping them; compile,
    channels_last: of neck and head. min_visible: share of an object that a view must show for it to
    be trained on; workers: threads that read maps, or with a backbone in the loop processes that
    decode images (four at once in each); prefetch: batches of cached maps that may wait;
    shuffle_shards: 0 shuffles over everything, N over N shards at a time, where random reads are dear.
    """

    epochs: int | Auto = "auto"
    batch_size: int = 4
    accumulate: int = 1
    precision: Precision | Auto = "auto"
    clip_norm: float = 1.0
    average: float = 0.0
    eval_every: int | Auto = "auto"
    patience: int = 0
    save_minutes: float = 10.0
    checkpoint_activations: bool = False
    compile: bool = False
    channels_last: bool = False
    min_visible: float = 0.3
    seed: int = 0
    fraction: float = 1.0
    views: int = 0
    repeat_factor: float = 0.0
    workers: int = 1
    prefetch: int = 4
    shuffle_shards: int = 0


@dataclass(frozen=True, slots=True)
class OptimSettings:
    """lr: the peak, for the batch size that is used; "auto": by a rule for each optimiser that follows the
    batch size (pipeline/training/auto.py). momentum: of SGD alone.

    neck_factor, head_factor, backbone_factor, adapter_factor: what the rate is multiplied with there;
    layer_decay: once more for each stage of the backbone that lies before its last one. Both of the
    backbone's are for --source finetune: from scratch it has the full rate.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float | Auto = "auto"
    weight_decay: float = 1e-4
    momentum: float = 0.9
    neck_factor: float = 1.0
    head_factor: float = 1.0
    backbone_factor: float = 0.1
    adapter_factor: float = 1.0
    layer_decay: float = 1.0


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """cosine, step: `warmup_steps` linear from 0, at most a quarter of the run; then a half cosine to 0,
    or times `gamma` at each of `milestones`, which are shares of the run. onecycle (Smith and Topin,
    arXiv 1708.07120): a half cosine up over the share `rise`, from 1/25 of the peak, and one down to 0.
    """

    name: Literal["cosine", "step", "onecycle"] = "cosine"
    warmup_steps: int = 100
    rise: float = 0.3
    milestones: tuple[float, ...] = (0.67, 0.9)
    gamma: float = 0.1


@dataclass(frozen=True, slots=True)
class BackboneSettings:
    """Of a backbone that is trained too (--source finetune and scratch), or adapted (--source online).

    train_from: finetune's first trained stage, by the name of the level it ends with (c3: all behind
    the stride 4 of c2), or the first one with adapters, "" for all. norm: whether BatchNorm keeps the
    statistics that it has ("frozen") or takes the batch's ("batch"); "auto" takes them from scratch alone.

    adapters: whether small trained layers act on what the frozen backbone's blocks give, each with the
    block's channels divided by `adapter_reduction`, at least `adapter_min_width`.
    """

    train_from: str = ""
    norm: Literal["auto", "frozen", "batch"] = "auto"
    adapters: bool = False
    adapter_reduction: int = 4
    adapter_min_width: int = 8


@dataclass(frozen=True, slots=True)
class RunConfig:
    """neck and head: the settings of the chosen ones, e.g. FPNSettings and RetinaNetSettings."""

    neck: NeckSettings = field(default_factory=NECKS[NECK].settings)
    head: HeadSettings = field(default_factory=HEADS[HEAD].settings)
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)

    def __post_init__(self) -> None:
        train, optim, schedule = self.train, self.optim, self.schedule
        check_range("train.epochs", train.epochs, 1)
        check_range("train.batch_size", train.batch_size, 1)
        check_range("train.accumulate", train.accumulate, 1, train.batch_size)
        check_range("train.clip_norm", train.clip_norm, 0)
        check_range("train.average", train.average, 0, 0.999999)
        check_range("train.eval_every", train.eval_every, 1)
        check_range("train.patience", train.patience, 0)
        check_range("train.save_minutes", train.save_minutes, 0)
        check_range("train.min_visible", train.min_visible, 0, 1)
        check_range("train.seed", train.seed, 0, 2**32 - 1)
        check_range("train.fraction", train.fraction, 1e-6, 1)
        check_range("train.views", train.views, 0)
        check_range("train.repeat_factor", train.repeat_factor, 0, 1)
        check_range("train.workers", train.workers, 1)
        check_range("train.prefetch", train.prefetch, 1)
        check_range("train.shuffle_shards", train.shuffle_shards, 0)
        check_range("optim.lr", optim.lr, 1e-12)
        check_range("optim.weight_decay", optim.weight_decay, 0)
        check_range("optim.momentum", optim.momentum, 0, 1)
        for name in (
            *("neck_factor", "head_factor", "backbone_factor", "adapter_factor"),
            "layer_decay",
        ):
            check_range(f"optim.{name}", getattr(optim, name), 0)
        check_range("backbone.adapter_reduction", self.backbone.adapter_reduction, 1, 1024)
        check_range("backbone.adapter_min_width", self.backbone.adapter_min_width, 1, 1024)
        check_range("schedule.warmup_steps", schedule.warmup_steps, 0)
        check_range("schedule.rise", schedule.rise, 0, 1)
        check_range("schedule.gamma", schedule.gamma, 0, 1)
        for milestone in schedule.milestones:
            check_range("schedule.milestones", milestone, 0, 1)

    def to_mapping(self) -> dict[str, Any]:
        """Plain sections, as TOML and JSON know them."""
        mapping: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return mapping

    def to_toml(self) -> str:
        """A file that `--config` takes. JSON's scalars and lists are TOML's too."""
        blocks = []
        for section, values in self.to_mapping().items():
            lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
            blocks.append("\n".join([f"[{section}]", *lines]))
        return "\n\n".join(blocks) + "\n"

    def adopting(self, kept: RunConfig) -> RunConfig:
        """With the values that a run of these settings has kept in place of every "auto"."""
        values, others = self.to_mapping(), kept.to_mapping()
        for section, settings in values.items():
            for name, value in settings.items():
                if value == "auto" and others[section].get("name") == settings.get("name"):
                    settings[name] = others[section].get(name, value)
        return RunConfig.from_mapping(values)

    @property
    def masks(self) -> bool:
        """Whether the head finds masks too."""
        return isinstance(self.head, RoISettings) and self.head.masks

    @property
    def digest(self) -> str:
        """sha256 of all settings."""
        return digest_of(self.to_mapping())

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunConfig:
        """Raises ConfigError for an unknown section, neck, head or setting, and for wrong types."""
        plain = {
            "backbone": BackboneSettings,
            "augment": AugmentSettings,
            "train": TrainSettings,
            "optim": OptimSettings,
            "schedule": ScheduleSettings,
        }
        known = ["neck", "head", *plain]
        for section in values:
            if section not in known:
                raise ConfigError(f"unknown section '{section}'{did_you_mean(section, known)}")
        chosen: dict[str, Any] = {
            name: from_mapping(kind, values.get(name, {}), name) for name, kind in plain.items()
        }
        neck = _chosen("neck", {n: v.settings for n, v in NECKS.items()}, values, NECK)
        head = _chosen("head", {n: v.settings for n, v in HEADS.items()}, values, HEAD)
        return cls(neck=neck, head=head, **chosen)


def fixed(value: T | Auto) -> T:
    """A setting of a run, which has a value in place of every "auto" (pipeline/training/auto.py)."""
    assert value != "auto"
    return value


def digest_of(settings: Mapping[str, Any]) -> str:
    """sha256 of the sections of a configuration, as `to_mapping` gives them."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _chosen(
    section: str, table: Mapping[str, type[Any]], values: Mapping[str, Any], default: str
) -> Any:
    settings = values.get(section, {})
    if not isinstance(settings, Mapping):
        raise ConfigError(f"setting '{section}': expected a section, got {shown_value(settings)}")
    name = settings.get("name", default)
    if not isinstance(name, str) or name not in table:
        given = shown_value(name)
        hint = did_you_mean(name if isinstance(name, str) else "", table)
        raise ConfigError(f"unknown {section} {given}{hint}")
    return from_mapping(table[name], settings, section)


def load_config(
    path: Path | None = None,
    *,
    neck: str | None = None,
    head: str | None = None,
    masks: bool = False,
    adapters: bool = False,
    assignments: Sequence[str] = (),
) -> RunConfig:
    """Defaults, then the file (or preset), then the names, then each 'section.name=value'; masks,
    adapters: last of all head.masks=true, backbone.adapters=true.

    Raises ConfigError.
    """
    values = read_toml(config_file(path)) if path else {}
    for section, name in (("neck", neck), ("head", head)):
        given = values.get(section, {})
        if name is not None and isinstance(given, Mapping):
            values[section] = {**given, "name": name}
    for assignment in assignments:
        values = with_setting(values, assignment)
    config = RunConfig.from_mapping(values)
    if adapters:
        config = replace(config, backbone=replace(config.backbone, adapters=True))
    return _with_masks(config) if masks else config


def _with_masks(config: RunConfig) -> RunConfig:
    if not isinstance(config.head, RoISettings):
        raise ConfigError(
            f"--masks: head {config.head.name} finds none; expected {' or '.join(ROI_HEADS)}"
        )
    return replace(config, head=replace(config.head, masks=True))
