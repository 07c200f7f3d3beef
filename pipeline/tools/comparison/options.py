"""What `fdet compare` takes; what cannot be is refused before the first run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ....cache.errors import ConfigError, InputError, did_you_mean
from ...runs.config import RunConfig, load_config
from ...runs.info import SCRATCH
from ...training.options import Source

SOURCES: tuple[Source, ...] = get_args(Source)
CACHED: Source = "cached"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """config: a TOML file, the same for all sources; assignments: 'section.name=value' on top.

    cache, val: of training and validation. images: what the caches were made from, needed by every
    source but "cached", and to measure what extraction costs. extraction_seconds: that, where the
    user has measured it. weights: as at extraction, where the cache was made from a file.
    """

    config: Path
    cache: Path
    val: Path
    out: Path
    sources: Sequence[Source] = SOURCES
    seeds: Sequence[int] = (0,)
    assignments: Sequence[str] = ()
    images: Path | None = None
    val_images: Path | None = None
    weights: str | None = None
    device: str = "auto"
    threads: int | None = None
    extraction_seconds: float | None = None

    def check(self) -> None:
        """Raises InputError."""
        for source in self.sources:
            if source not in SOURCES:
                raise InputError(f"--sources {source!r}{did_you_mean(source, SOURCES)}")
        for name, values in (("sources", self.sources), ("seeds", self.seeds)):
            if not values:
                raise InputError(f"--{name}: expected at least one")
            if len(set(values)) < len(values):
                raise InputError(f"--{name}: one stands there twice")
        if self.extraction_seconds is not None and not 0 <= self.extraction_seconds < float("inf"):
            raise InputError(
                f"--extraction-seconds: expected at least 0, got {self.extraction_seconds}"
            )
        live = [source for source in self.sources if source != CACHED]
        if self.images is None and live:
            raise InputError(
                f"--sources {live[0]} needs --images DIR, the folder the cache was made from"
            )
        if self.images is None and self.extraction_seconds is None:
            raise InputError(
                "what the extraction costs is measured on some of its images: give --images DIR, or "
                "--extraction-seconds S"
            )

    def words_of(self, source: Source, seed: int) -> list[str]:
        """The assignments of a run. Scratch trains all of the backbone, whatever finetune leaves out."""
        mine = [*self.assignments, f"train.seed={seed}"]
        if source == SCRATCH:
            mine += ['backbone.train_from=""', 'backbone.norm="auto"']
        return mine

    def config_of(self, source: Source, seed: int) -> RunConfig:
        """Raises ConfigError, InputError."""
        for assignment in self.assignments:
            if assignment.partition("=")[0].strip() == "train.seed":
                raise ConfigError(
                    "--set train.seed: the seeds of a comparison are given by --seeds"
                )
        return load_config(self.config, assignments=self.words_of(source, seed))


def parsed_seeds(text: str) -> list[int]:
    """Of "0,1,2". Raises InputError."""
    seeds = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        if not word.isdecimal() or not int(word) < 2**32:
            raise InputError(f"--seeds: expected numbers such as 0,1,2, got {word!r}")
        seeds.append(int(word))
    return seeds
