"""Where a run's data lie and where it happens; what cannot be, or would be ignored, is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ...cache.disk.objects import located
from ...cache.errors import InputError, did_you_mean
from ...cache.loader import OnCorrupt
from ..runs.info import SCRATCH, TRAINING_SOURCES
from ..sources.residence import Residence
from ..watching.events import Hook
from ..watching.tracking import check_trackers

Source = Literal["cached", "online", "finetune", "scratch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Where a run's data lie and where it happens.

    cache: one, or several that are read as one. second, val_second: of a second backbone, with the
    images of `cache` and of `val`. source: "cached"; or a backbone in the loop, which needs `images` (and
    `weights`, where the cache was made from a file): "online" the frozen one, "finetune" trained from a
    stage on, "scratch" trained from random weights. The training cache is then only the recipe.
    Validation reads the maps of its cache, but where the backbone is trained, or adapters in it: then
    `val_images` (None: `images`) pass through it too; otherwise they are for pictures alone.
    start: a run whose weights this one begins with. class_embeddings: a file of vectors that tell the
    classes (pipeline/dataset/embeddings.py).

    resident: whether samples stay in memory, as they are stored, after their first reading.
    memory_limit: bytes that a process may take, of the accelerator where there is one. on_corrupt
    "skip": train without damaged samples, and say how many there were; validation never does
    without. track: trackers that are shown every figure, and pictures of some validation images where
    their folder is known. hooks: plain functions, called with each line of the log.
    """

    cache: Path | str | Sequence[Path]
    out: Path
    val: Path | None = None
    second: Path | str | Sequence[Path] = ()
    val_second: Path | None = None
    annotations: Path | None = None
    val_annotations: Path | None = None
    source: Source = "cached"
    images: Path | None = None
    val_images: Path | None = None
    weights: str | None = None
    start: Path | None = None
    class_embeddings: Path | None = None
    device: str = "auto"
    threads: int | None = None
    resume: bool = False
    resident: Residence = "auto"
    memory_limit: int | None = None
    on_corrupt: OnCorrupt = "raise"
    track: Sequence[str] = ()
    hooks: Sequence[Hook] = ()

    @property
    def caches(self) -> tuple[Path, ...]:
        """All training caches."""
        return _paths(self.cache)

    @property
    def seconds(self) -> tuple[Path, ...]:
        """All training caches of a second backbone."""
        return _paths(self.second)

    @property
    def trains_backbone(self) -> bool:
        return self.source in TRAINING_SOURCES

    @property
    def shown_images(self) -> Path | None:
        """The folder of the validation images, where it is known."""
        if self.val is not None and self.trains_backbone:
            return self.val_images or self.images
        return self.val_images

    def check(self) -> None:
        """Raises InputError."""
        if not self.caches:
            raise InputError("expected at least one cache to train on")
        known = get_args(Source)
        if self.source not in known:
            raise InputError(f"--source {self.source!r}{did_you_mean(self.source, known)}")
        if self.resident not in get_args(Residence):
            raise InputError(
                f"--resident {self.resident!r}{did_you_mean(self.resident, get_args(Residence))}"
            )
        if self.on_corrupt not in get_args(OnCorrupt):
            raise InputError(f"--on-corrupt {self.on_corrupt!r}: expected raise or skip")
        if self.memory_limit is not None and self.memory_limit < 1:
            raise InputError(f"--memory-limit: expected bytes, got {self.memory_limit}")
        if self.source == "cached":
            self._refuse("is for a backbone in the loop", images=None, weights=None)
        else:
            self._check_live()
        if self.val is None:
            self._refuse("needs --val", val_annotations=None, val_images=None)
        self._check_second()
        check_trackers(self.track)

    def _check_second(self) -> None:
        if self.seconds and self.source != "cached":
            raise InputError(
                f"--with is for cached maps; with --source {self.source}, which has one backbone in the "
                "loop, leave it out"
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
        if self.source == SCRATCH:
            self._refuse("is of no use to --source scratch", weights=None)

    def _refuse(self, why: str, **idle: str | None) -> None:
        """Options that would be ignored, unless they have their idle value."""
        for name, value in idle.items():
            if getattr(self, name) != value:
                raise InputError(
                    f"--{name.replace('_', '-')} {why}; with --source {self.source} leave it out"
                )


def _paths(given: Path | str | Sequence[Path]) -> tuple[Path, ...]:
    if isinstance(given, Path | str):
        return (located(given),)
    return tuple(map(located, given))
