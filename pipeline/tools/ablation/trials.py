"""The trials of a plan, checked: their settings fit their caches, and no trial appears twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from ....cache.format.header import CacheHeader
from ....cache.format.sealed import digest
from ....cache.pyramid import PyramidSpec
from ...backbones.tail import AdaptedTail, Tail, trained_in
from ...dataset.classes.long_tail import frequencies
from ...machines.processes import Processes
from ...runs.config import RunConfig
from ...runs.info import RunInfo
from ...runs.pairing import check_features, labelled
from ...sources.data import Data
from ...sources.epochs import sampler_of
from ...sources.kinds import CACHED, TAIL
from ...training.auto import settled
from ...training.checks import check_refining, check_settings
from ...training.data import chosen, open_data, trained_backbone
from ...training.start import belonging, start_digest
from .combinations import Caches, Faults, asked_config, caches_of, combinations_of, labels_of
from .plan import Choice, Plan


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of a plan.

    labels: the labels of its choices, by axis. asked: the settings as the plan has them. config: the same
    with a value in place of every "auto". digest: the digest of `asked`, caches, annotations and source.
    trained, total: the number of the trained parameters, and of all, with those of the backbone.
    """

    labels: Mapping[str, str]
    asked: RunConfig
    config: RunConfig
    caches: Caches
    digest: str
    steps: int
    trained: int
    total: int

    @property
    def id(self) -> str:
        return self.digest[:12]

    @property
    def seed(self) -> int:
        return self.config.train.seed

    @property
    def name(self) -> str:
        """A text such as `fcos, optim.lr 0.001, seed 0`."""
        words = [v if "." not in axis else f"{axis} {v}" for axis, v in self.labels.items()]
        return ", ".join([*words, f"seed {self.seed}"])


@dataclass(frozen=True, slots=True)
class TailFacts:
    """What a tail adds. levels: all that the detector gets. trained: its trained parameters.

    whole: the parameters of the whole backbone.
    """

    levels: PyramidSpec
    trained: int
    whole: int


@dataclass
class Opened:
    """The training and validation data of a plan's caches, opened once; samples do not stay in memory."""

    processes: Processes
    _data: dict[tuple[Caches, bool], tuple[Data, Data]] = field(default_factory=dict)
    _parameters: dict[object, tuple[int, int]] = field(default_factory=dict)
    _tails: dict[object, TailFacts | None] = field(default_factory=dict)

    def of(self, caches: Caches, config: RunConfig) -> tuple[Data, Data]:
        """Return the data of the caches. Raises what opening raises, KeyMismatch where they do not pair."""
        # A tail reads the same maps, and so does a start.
        caches = replace(caches, source=CACHED, weights=None, start=None)
        key = (caches, config.masks)
        if key not in self._data:
            options = caches.options(Path(), resident="none")
            header = CacheHeader.read(caches.cache)
            data, val = open_data(config, options, header, None, self.processes)
            assert val is not None
            info = _info(config, data, None)
            check_features(info, val.header.key, val.name)
            name = f"validation annotations of {val.name}"
            self._data[key] = data, val.with_annotations(partial(labelled, info, source=name))
        return self._data[key]

    def tail(self, caches: Caches, config: RunConfig) -> TailFacts | None:
        """Return what a tail adds to the maps of the caches, or None for a source without one.

        Raises what training says of a tail: ConfigError, InputError, KeyMismatch.
        """
        key = (caches, config.backbone)
        if key not in self._tails:
            header = CacheHeader.read(caches.cache)
            tail = trained_backbone(config, caches.options(Path()), header, torch.device("cpu"))
            assert tail is None or isinstance(tail, Tail | AdaptedTail)
            facts = None
            if tail is not None:
                facts = TailFacts(tail.spec, trained_in(tail), tail.whole_parameters)
            self._tails[key] = facts
        return self._tails[key]

    def parameters(self, config: RunConfig, data: Data, tail: TailFacts | None) -> tuple[int, int]:
        """Return the number of trained parameters, and of all. Raises ConfigError for a missing level."""
        info = _info(config, data, tail)
        key = (config.neck, config.head, info.levels, info.class_ids)
        if key not in self._parameters:
            with torch.device("meta"):
                detector = info.fresh_detector()
            self._parameters[key] = detector.trained_parameters, detector.all_parameters
        trained, above = self._parameters[key]
        of_tail = tail.trained if tail else 0
        total = info.total_parameters(above, of_tail if config.backbone.adapters else 0)
        return trained + (0 if config.head.refine else of_tail), total


def _info(config: RunConfig, data: Data, tail: TailFacts | None) -> RunInfo:
    return RunInfo(
        key=data.header.key,
        class_ids=data.annotations.class_ids,
        class_names=data.annotations.class_names,
        frequencies=frequencies(data.truth),
        config=config,
        backbone_parameters=tail.whole if tail else int(data.header.backbone["parameters"]),
        data={"source": CACHED if tail is None else TAIL},
        tail=tail.levels if tail else None,
    )


def trials_of(plan: Plan, opened: Opened) -> list[Trial]:
    """Return the trials in the order in which they run, seed after seed.

    Raises ConfigError where one of them is impossible; several reasons are also logged line by line.
    """
    combinations = [(seed, choices) for seed in plan.seeds for choices in combinations_of(plan)]
    found: dict[str, Trial] = {}
    faults = Faults(len(combinations))
    for seed, choices in combinations:
        with faults.noted(choices):
            trial = _trial(plan, labels_of(plan, choices), choices, seed, opened)
            found.setdefault(trial.digest, trial)
    faults.refuse()
    return list(found.values())


def _trial(
    plan: Plan, labels: Mapping[str, str], choices: Sequence[Choice], seed: int, opened: Opened
) -> Trial:
    caches, asked = caches_of(plan, choices), asked_config(plan, choices, seed)
    data, val = opened.of(caches, asked)
    check_settings(asked, caches.options(Path()), opened.processes.world.size)
    check_refining(asked, caches.options(Path()))
    used = chosen(asked, data)
    # Settings as asked for make the digest the same on every machine, whatever "auto" gives there.
    content = {"config": asked.digest, "train": data.fingerprint, "val": val.fingerprint}
    if caches.source != CACHED:
        content["source"] = caches.source
    before = asked
    if caches.start is not None:
        content["start"] = start_digest(caches.start)
        before = belonging(asked, RunInfo.read(caches.start).config)
    tail = opened.tail(caches, asked)
    config = settled(before, used, opened.processes.device, tail.levels if tail else None)
    return Trial(
        labels,
        asked,
        config,
        caches,
        digest(content),
        sampler_of(used, config.train).steps,
        *opened.parameters(config, data, tail),
    )


def comparable(trial: Trial, trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials whose evaluations compare with this one's: the same caches and as many epochs."""
    epochs = trial.config.train.epochs
    return [t for t in trials if (t.caches, t.config.train.epochs) == (trial.caches, epochs)]
