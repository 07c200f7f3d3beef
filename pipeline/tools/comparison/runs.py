"""The runs of a comparison: each is one `fdet train-heads` in a separate process, and is kept.

The peak of its memory is therefore its own; an interrupted run goes on, and a finished one is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....cache.disk.files import read_below
from ....cache.disk.publish import publish_bytes
from ....cache.errors import ConfigError, FdetError, InputError
from ....cache.format.header import CacheHeader
from ....cache.format.sealed import canonical_json, parse_json
from ...machines.launching import signal_of
from ...runs.folder import changed_settings
from ...runs.history import is_finished
from ...runs.info import MAX_BYTES, RunInfo
from ...sources.kinds import SOURCES
from ...training.options import TrainOptions
from .options import CompareOptions

CONDITIONS = "conditions.json"

Launch = Callable[[Sequence[str]], int]


class RunEnded(Exception):
    """A run ended early and has said why. status: the exit status to leave with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Run:
    """A run of one source with one seed. folder: its run directory."""

    source: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def begun(self) -> bool:
        return (self.folder / "run.json").is_file()

    @property
    def finished(self) -> bool:
        return self.begun and is_finished(self.folder)


def planned(options: CompareOptions) -> list[Run]:
    """Return the runs seed after seed, so that slow drifts of the machine affect all sources alike."""
    return [
        Run(source, seed, options.out / f"{source}-{seed}")
        for seed in options.seeds
        for source in options.sources
    ]


def refuse_other_conditions(options: CompareOptions) -> None:
    """Raise InputError where the folder was begun under other conditions, on which seconds depend."""
    path, now = options.out / CONDITIONS, _conditions(options)
    if not path.is_file():
        return
    before = parse_json(read_below(options.out, CONDITIONS, MAX_BYTES), path)
    for name, value in now.items():
        if before.get(name) != value:
            raise InputError(
                f"--{name}: {options.out} was begun with {before.get(name)}, now it is {value}, and its "
                "seconds would be of both; repeat the first, or choose another --out"
            )


def keep_conditions(options: CompareOptions) -> None:
    """Write the conditions that the same command has to meet later on."""
    path = options.out / CONDITIONS
    if not path.is_file():
        publish_bytes(path, canonical_json(_conditions(options)))


def _conditions(options: CompareOptions) -> dict[str, Any]:
    return {"device": options.device, "threads": options.threads}


def refuse_others(runs: Sequence[Run], options: CompareOptions) -> None:
    """Raise ConfigError or InputError where an existing run had other settings or other data."""
    ids = {
        "training data": CacheHeader.read(options.cache).id,
        "validation data": CacheHeader.read(options.val).id,
    }
    for run in runs:
        config = options.config_of(run.source, run.seed)
        if not run.begun:
            continue
        before = RunInfo.read(run.folder)
        changes = changed_settings(before.config, config.adopting(before.config))
        if changes:
            raise ConfigError(
                f"{run.folder}: the configuration has changed: {changes}; choose another --out"
            )
        for name, cache_id in ids.items():
            if before.data.get(name, "").partition(" ")[0] != cache_id:
                raise InputError(
                    f"{run.folder} has other {name} than this command; choose another --out"
                )


def _needs_val_images(run: Run, options: CompareOptions) -> bool:
    """Return whether a run needs the validation images; others would use them for pictures alone."""
    if SOURCES[run.source].trains:
        return True
    return SOURCES[run.source].live and options.config_of(run.source, run.seed).backbone.adapters


def train_options(run: Run, options: CompareOptions) -> TrainOptions:
    """Return the options of a run that its settings have to go with."""
    return TrainOptions(
        cache=options.cache,
        out=run.folder,
        val=options.val,
        source=run.source,
        images=options.images,
    )


def train(run: Run, options: CompareOptions, launch: Launch) -> None:
    """Begin a run or go on with it.

    Raises RunEnded where the run said itself why it ended, and FdetError where it was killed.
    """
    status = launch(list(command(run, options)))
    if status < 0:
        raise FdetError(
            f"{run.name} was ended by {signal_of(status)}; the same command goes on with it"
        )
    if status:
        raise RunEnded(status)


def command(run: Run, options: CompareOptions) -> Iterator[str]:
    """Yield the words after `fdet` on the command line of a run."""
    yield from ("train-heads", str(options.cache), "--val", str(options.val))
    yield from ("--out", str(run.folder), "--config", str(options.config))
    yield from ("--source", run.source, "--device", options.device)
    for assignment in options.words_of(run.source, run.seed):
        yield from ("--set", assignment)
    if options.threads is not None:
        yield from ("--threads", str(options.threads))
    kind = SOURCES[run.source]
    if kind.live:
        yield from ("--images", str(options.images))
    if options.val_images is not None and _needs_val_images(run, options):
        yield from ("--val-images", str(options.val_images))
    if kind.runs_backbone and not kind.fresh and options.weights is not None:
        yield from ("--weights", options.weights)
    if run.begun:
        yield "--resume"
