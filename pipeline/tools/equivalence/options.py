"""The options of `fdet check-equivalence`: which samples are checked, where, and how closely."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ....heads.ranges import at_least, between
from ...command import BackboneWeights, opt
from ...sources.kinds import CACHED, ON_CACHES

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivalenceOptions:
    """The options of `fdet check-equivalence`.

    source: what is trained, one of ON_CACHES; a tail is compared with a backbone that is trained from the
    same level on. device, threads: None for the kind of device that the cache was made on, and for its number
    of threads.
    """

    images: Annotated[Path, opt("image folder that the cache was made from")]
    annotations: Annotated[Path | None, opt("annotation file to use instead of the cache's")] = None
    source: Annotated[
        str,
        opt(
            "source of the training steps; a tail is compared with finetune from the same "
            "backbone.train_from too",
            metavar="|".join(ON_CACHES),
        ),
    ] = CACHED
    samples: Annotated[
        int, at_least(1), opt("number of random samples whose features to recompute")
    ] = 32
    steps: Annotated[
        int, at_least(1), opt("training steps, with cached and with live features")
    ] = 4
    seed: Annotated[int, between(0, _LARGEST), opt("seed of the random samples")] = 0
    weights: BackboneWeights = None
    device: Annotated[
        str | None, opt("auto, cpu, cuda or cuda:1; default: the kind that the cache was made on")
    ] = None
    threads: Annotated[int | None, opt("torch threads on a CPU; default: the cache's")] = None
    elsewhere: Annotated[
        bool, opt("do not expect equal bits, as the cache was made on another processor")
    ] = False
