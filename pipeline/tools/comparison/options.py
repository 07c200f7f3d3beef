"""The options of `fdet compare`; impossible ones are refused before the first run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ....cache.errors import ConfigError, InputError, did_you_mean
from ....heads.ranges import at_least
from ...command import (
    DATA,
    Assignments,
    BackboneWeights,
    Device,
    Threads,
    argument,
    cache_opt,
    check_ranges,
    opt,
)
from ...sources.kinds import SOURCES

if TYPE_CHECKING:
    from ...runs.config import RunConfig


def parsed_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of "0,1,2". Raises InputError."""
    seeds = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        if not word.isdecimal() or not int(word) < 2**32:
            raise InputError(f"--seeds: expected numbers such as 0,1,2, got {word!r}")
        seeds.append(int(word))
    return tuple(seeds)


def _parsed_sources(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


# A tail needs the level that it begins with, so it is compared only where it is named.
USUAL = tuple(name for name, kind in SOURCES.items() if not kind.tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """The options of `fdet compare`.

    extraction_seconds: the seconds that making the training cache took, where the user has measured them.
    weights: the weights of the backbone as at extraction, where the cache was made from a file.
    """

    config: Annotated[
        Path, argument("TOML file of settings or name of a preset, the same for all sources")
    ]
    cache: Annotated[Path, cache_opt("training cache", group=DATA)]
    val: Annotated[Path, cache_opt("validation cache", group=DATA)]
    out: Annotated[Path, opt("folder for runs and report, new or to continue", group=DATA)]
    images: Annotated[
        Path | None,
        opt("image folder: for a backbone in the loop, and to measure extraction", group=DATA),
    ] = None
    val_images: Annotated[
        Path | None, opt("folder of the validation images; default: --images", group=DATA)
    ] = None
    sources: Annotated[
        tuple[str, ...],
        opt(
            f"sources to compare, out of {', '.join(SOURCES)}; default: {','.join(USUAL)}",
            parser=_parsed_sources,
            metavar="NAMES",
        ),
    ] = USUAL
    seeds: Annotated[
        tuple[int, ...],
        opt(
            "seeds, e.g. 0,1,2; each source is trained with each of them",
            parser=parsed_seeds,
            metavar="SEEDS",
        ),
    ] = (0,)
    assignments: Assignments = ()
    weights: BackboneWeights = None
    device: Device = "auto"
    threads: Threads = None
    extraction_seconds: Annotated[
        float | None,
        at_least(0),
        opt("seconds that making the training cache took; default: measured on a part of it"),
    ] = None

    def check(self) -> None:
        """Raise InputError for sources, seeds and options that cannot be used together."""
        for source in self.sources:
            if source not in SOURCES:
                raise InputError(f"--sources {source!r}{did_you_mean(source, SOURCES)}")
        for name, values in (("sources", self.sources), ("seeds", self.seeds)):
            if not values:
                raise InputError(f"--{name}: expected at least one")
            if len(set(values)) < len(values):
                raise InputError(f"--{name}: one stands there twice")
        check_ranges(self)
        live = [source for source in self.sources if SOURCES[source].live]
        if self.images is None and live:
            raise InputError(
                f"--sources {live[0]} needs --images DIR, the folder the cache was made from"
            )
        if self.images is None and self.extraction_seconds is None:
            raise InputError(
                "what the extraction costs is measured on some of its images: give --images DIR, or "
                "--extraction-seconds S"
            )

    def words_of(self, source: str, seed: int) -> list[str]:
        """Return the assignments of a run; scratch trains all of the backbone, even what finetune freezes."""
        mine = [*self.assignments, f"train.seed={seed}"]
        if SOURCES[source].fresh:
            mine += ['backbone.train_from=""', 'backbone.norm="auto"']
        return mine

    def config_of(self, source: str, seed: int) -> RunConfig:
        """Return the configuration of a run. Raises ConfigError, InputError."""
        for assignment in self.assignments:
            if assignment.partition("=")[0].strip() == "train.seed":
                raise ConfigError(
                    "--set train.seed: the seeds of a comparison are given by --seeds"
                )
        from ...runs.config import load_config

        return load_config(self.config, assignments=self.words_of(source, seed))
