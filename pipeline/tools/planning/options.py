"""The options of a plan: those of the extraction that is planned, and its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ....cache.disk.objects import ObjectPath
from ....cache.disk.sizes import parse_bytes
from ....cache.errors import InputError
from ....heads.ranges import at_least
from ...command import check_ranges, opt
from ...extraction.options import ExtractConfig

PLAN = "Plan"


def _budget(text: str) -> int:
    return parse_bytes(text, "--budget")


def _write_trial(text: str) -> int:
    return parse_bytes(text, "--write-trial")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The options of `fdet plan`.

    train_from: the level that a tail begins with, for a cache that it is trained on, "" for any other cache.
    budget: the bytes that the cache may take, None for all that are free. write_trial: the bytes to write on
    the target disk, None for as many as some seconds allow.
    """

    extraction: ExtractConfig
    train_from: Annotated[
        str,
        opt(
            "plan the cache of a trained tail that begins with this level: the levels before it alone",
            group=PLAN,
        ),
    ] = ""
    budget: Annotated[
        int | None,
        opt(
            "disk space that the cache may take, e.g. 200GB; default: all free space",
            group=PLAN,
            parser=_budget,
            metavar="SIZE",
        ),
    ] = None
    epochs: Annotated[
        int, at_least(1), opt("epochs of a training run on the cache", group=PLAN)
    ] = 72
    trial_images: Annotated[
        int, at_least(1), opt("maximum number of images to try", group=PLAN)
    ] = 16
    write_trial: Annotated[
        int | None,
        opt(
            "how much to write on the target disk, e.g. 100GB; default: 10 s, at most 8 GiB",
            group=PLAN,
            parser=_write_trial,
            metavar="SIZE",
        ),
    ] = None
    nodes: Annotated[
        int, at_least(1), opt("machines like this one that extract at the same time", group=PLAN)
    ] = 1

    def check(self) -> None:
        """Raise InputError for options with which nothing can be planned."""
        check_ranges(self)
        if isinstance(self.extraction.out, ObjectPath):
            raise InputError(
                "fdet plan measures a disk: give --out a folder, e.g. one that is copied later"
            )
