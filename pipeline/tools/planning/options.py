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
    """What `fdet plan` takes. budget: bytes that the cache may have; None: what is free. write_trial: bytes
    to write on the target disk; None: for some seconds.
    """

    extraction: ExtractConfig
    budget: Annotated[
        int | None,
        opt(
            "room the cache may have, e.g. 200GB; default: what is free",
            group=PLAN,
            parser=_budget,
            metavar="SIZE",
        ),
    ] = None
    epochs: Annotated[int, at_least(1), opt("of a training run on the cache", group=PLAN)] = 72
    trial_images: Annotated[int, at_least(1), opt("most images to try", group=PLAN)] = 16
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
        """Raise InputError for what cannot be planned."""
        check_ranges(self)
        if isinstance(self.extraction.out, ObjectPath):
            raise InputError(
                "fdet plan measures a disk: give --out a folder, e.g. one that is copied later"
            )
