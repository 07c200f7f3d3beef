"""The options of a training run; impossible combinations and ignored options are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

from ...cache.disk.objects import located
from ...cache.disk.sizes import parse_bytes
from ...cache.errors import InputError, OnCorrupt, did_you_mean
from ..command import (
    DATA,
    FORMAT,
    MACHINE,
    TRAINING,
    Device,
    Threads,
    cache_argument,
    cache_opt,
    flag_of,
    opt,
)
from ..dataset.data_name import DataName
from ..sources.kinds import CACHED, SOURCES, Residence, SourceKind
from ..zoo.option import run_opt


def _memory_limit(text: str) -> int:
    return parse_bytes(text, "--memory-limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The options of a training run: its data, its folder and its machine.

    source: one of SOURCES. For a backbone in the loop the training cache is only the recipe, and needs
    `images` (and `weights`, where the cache was made from a file). Validation reads the maps of its cache,
    unless the backbone, or adapters in it, are trained: then `val_images` (None: `images`) pass through it
    too; otherwise they are only for pictures. memory_limit: the bytes that a process may take, of the
    accelerator where there is one. on_corrupt: with "skip", validation still leaves no damaged sample out.
    hooks: functions of an Event (pipeline/watching/events.py), called with each line of the log. extend:
    with `resume`, whether the configuration may have more epochs than the run.
    """

    cache: Annotated[
        Path | str | Sequence[Path],
        cache_argument("training cache; several are read as one"),
    ] = ()
    out: Annotated[Path, opt("run directory to make")]
    val: Annotated[Path | None, cache_opt("validation cache", group=DATA)] = None
    second: Annotated[
        Path | str | Sequence[Path],
        cache_opt(
            "cache of a second backbone, of the same images and views: its levels are joined with "
            "those of the first below the neck (neck.fusion); several are read as one",
            "--with",
            group=DATA,
        ),
    ] = ()
    val_second: Annotated[
        Path | None,
        cache_opt("the second backbone's validation cache", "--val-with", group=DATA),
    ] = None
    annotations: Annotated[
        Path | None, opt("annotation file to use instead of the training cache's", group=DATA)
    ] = None
    val_annotations: Annotated[
        Path | None, opt("annotation file to use instead of the validation cache's", group=DATA)
    ] = None
    format: Annotated[str | None, opt(FORMAT, group=DATA)] = None
    split: Annotated[str | None, opt("split of --annotations", group=DATA)] = None
    val_split: Annotated[str | None, opt("split of --val-annotations", group=DATA)] = None
    source: Annotated[
        str,
        opt(
            "; ".join(f"{name}: {kind.help}" for name, kind in SOURCES.items()),
            group=DATA,
            metavar="|".join(SOURCES),
        ),
    ] = CACHED
    images: Annotated[Path | None, opt("image folder, for a backbone in the loop", group=DATA)] = (
        None
    )
    val_images: Annotated[
        Path | None,
        opt(
            "folder of the validation images: for pictures of detections, --source finetune and --adapters",
            group=DATA,
        ),
    ] = None
    weights: Annotated[
        str | None,
        opt("weights file of the backbone in the loop, if extraction was given one", group=DATA),
    ] = None
    class_embeddings: Annotated[
        Path | None,
        opt(
            "safetensors file with a vector under each class's name, e.g. from a text encoder: classes are "
            "scored by their cosine with it, and evaluate and predict accept other classes",
            group=DATA,
        ),
    ] = None
    start: Annotated[
        Path | None,
        run_opt(
            "run whose weights to begin with, also of other classes (matched by name) or another backbone",
            group=TRAINING,
        ),
    ] = None
    resume: Annotated[bool, opt("go on with an interrupted run: --resume RUN", group=TRAINING)] = (
        False
    )
    on_corrupt: Annotated[
        OnCorrupt,
        opt(
            "raise: stop at a damaged sample; skip: train without it, and count it", group=TRAINING
        ),
    ] = "raise"
    track: Annotated[
        Sequence[str],
        opt("send figures and pictures to tensorboard, wandb or mlflow too", group=TRAINING),
    ] = ()
    device: Device = "auto"
    threads: Threads = None
    resident: Annotated[
        Residence,
        opt(
            "keep encoded samples in memory after their first reading; auto: if they fit",
            group=MACHINE,
        ),
    ] = "auto"
    memory_limit: Annotated[
        int | None,
        opt(
            "memory that each process may take, or its accelerator's, e.g. 4GiB: micro-batches, checkpointed "
            "activations and residency are chosen by trials so that the run fits",
            group=MACHINE,
            parser=_memory_limit,
            metavar="SIZE",
        ),
    ] = None
    hooks: Sequence[Any] = ()
    extend: bool = False

    @property
    def data(self) -> DataName | None:
        """The data set of --annotations."""
        given = self.annotations
        return None if given is None else DataName(given, self.format, self.split)

    @property
    def val_data(self) -> DataName | None:
        """The data set of --val-annotations."""
        given = self.val_annotations
        if given is None:
            return None
        return DataName(given, self.format, self.val_split, option="--val-split")

    @property
    def caches(self) -> tuple[Path, ...]:
        """The paths of all training caches."""
        return _paths(self.cache)

    @property
    def seconds(self) -> tuple[Path, ...]:
        """The paths of all training caches of a second backbone."""
        return _paths(self.second)

    @property
    def kind(self) -> SourceKind:
        """The row of SOURCES for this source."""
        return SOURCES[self.source]

    @property
    def trains_backbone(self) -> bool:
        return self.kind.trains

    @property
    def shown_images(self) -> Path | None:
        """The folder of the validation images, where it is known."""
        if self.val is not None and self.trains_backbone:
            return self.val_images or self.images
        return self.val_images

    def check(self) -> None:
        """Raise InputError for options that are unknown, impossible together, or would be ignored."""
        if not self.caches:
            raise InputError("expected at least one cache to train on; give CACHE")
        for name, known in (
            ("source", tuple(SOURCES)),
            ("resident", get_args(Residence)),
            ("on_corrupt", get_args(OnCorrupt)),
        ):
            if (given := getattr(self, name)) not in known:
                raise InputError(f"{flag_of(name)} {given!r}{did_you_mean(given, known)}")
        if self.memory_limit is not None and self.memory_limit < 1:
            raise InputError(f"--memory-limit: expected bytes, got {self.memory_limit}")
        if not self.kind.live:
            self._refuse("is for a backbone in the loop", images=None)
        if not self.kind.runs_backbone:
            self._refuse("is for a backbone that is loaded", weights=None)
        if self.kind.live:
            self._check_live()
        if self.val is None:
            for name in ("val_annotations", "val_images"):
                if getattr(self, name) is not None:
                    raise InputError(f"{flag_of(name)} needs --val; give both, or leave it out")
        self._check_annotations()
        self._check_second()
        if self.track:
            from ..watching.tracking import check_trackers

            check_trackers(self.track)

    def _check_annotations(self) -> None:
        either = self.annotations or self.val_annotations
        for flag, value, belongs in (
            ("--format", self.format, either),
            ("--split", self.split, self.annotations),
            ("--val-split", self.val_split, self.val_annotations),
        ):
            if value is not None and belongs is None:
                to = "--val-annotations" if flag == "--val-split" else "--annotations"
                raise InputError(f"{flag} {value}: it goes with {to}; leave it out")

    def _check_second(self) -> None:
        if self.seconds and self.kind.runs_backbone:
            raise InputError(
                f"--with is for cached maps alone; with --source {self.source}, which has one backbone, "
                "leave it out"
            )
        if self.val_second is not None and not (self.seconds and self.val):
            raise InputError("--val-with goes with --with and --val; give all three")
        if self.seconds and self.val is not None and self.val_second is None:
            raise InputError(
                f"--with needs --val-with CACHE, the second backbone's of the images of {self.val}"
            )

    def _check_live(self) -> None:
        if self.images is None:
            raise InputError(
                f"--source {self.source} needs --images DIR, the folder the cache was made from"
            )
        if len(self.caches) != 1:
            raise InputError(f"--source {self.source} takes one cache, got {len(self.caches)}")
        self._refuse("is for cached maps", resident="auto", on_corrupt="raise")
        if self.kind.fresh:
            self._refuse(f"is of no use to --source {self.source}", weights=None)

    def _refuse(self, why: str, **idle: str | None) -> None:
        """Raise InputError for options that would be ignored: those that differ from their idle value."""
        for name, value in idle.items():
            if getattr(self, name) != value:
                raise InputError(f"{flag_of(name)} {why}; with --source {self.source} leave it out")


def _paths(given: Path | str | Sequence[Path]) -> tuple[Path, ...]:
    if isinstance(given, Path | str):
        return (located(given),)
    return tuple(map(located, given))
