"""Which samples of a cache are checked, where, and how closely."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ....cache.errors import InputError
from ....heads.ranges import at_least, between
from ...command import check_ranges, opt

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivalenceOptions:
    """What `fdet check-equivalence` takes. device: None for the kind that the cache was made on; threads:
    None for its number.
    """

    images: Annotated[Path, opt("folder that it was made from")]
    annotations: Annotated[Path | None, opt("instead of the cache's own")] = None
    samples: Annotated[
        int, at_least(1), opt("features of so many, drawn at random, are computed again")
    ] = 32
    steps: Annotated[int, at_least(1), opt("of training, with cached and with live features")] = 4
    seed: Annotated[int, between(0, _LARGEST), opt("of the samples that are drawn")] = 0
    weights: Annotated[str | None, opt("as at extraction, where that took a file")] = None
    device: Annotated[
        str | None, opt("auto, cpu, cuda, cuda:1; default: the kind the cache was made on")
    ] = None
    threads: Annotated[int | None, opt("of torch on a CPU; default: the cache's")] = None
    elsewhere: Annotated[
        bool, opt("the cache was made on another processor: do not ask for equal bits")
    ] = False

    def check(self) -> None:
        """Raise InputError for a value that cannot be."""
        check_ranges(self)
        if not self.images.is_dir():
            raise InputError(f"--images {self.images}: no such folder")
