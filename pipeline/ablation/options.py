"""What `fdet ablate` takes beside the plan; what cannot be is refused before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...cache.errors import InputError
from ..sources.residence import Residence
from .group import Place
from .plan import Plan, read_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class AblateOptions:
    """cache, val, out: instead of the plan's. together: trials of a pass at most, None to measure what
    pays. jobs: processes at once, which share `threads` (None: torch's).
    """

    plan: Path
    cache: Path | None = None
    val: Path | None = None
    out: Path | None = None
    together: int | None = None
    jobs: int = 1
    device: str = "auto"
    threads: int | None = None
    resident: Residence = "auto"
    retry_failed: bool = False

    def read_plan(self) -> Plan:
        """With the paths of the command line. Raises ConfigError."""
        plan = read_plan(self.plan)
        given = {"cache": self.cache, "val": self.val}
        paths = {name: path for name, path in given.items() if path is not None}
        return replace(plan, paths={**plan.paths, **paths}, out=self.out or plan.out)

    @property
    def place(self) -> Place:
        """Of a process. Samples stay in the memory of one alone, unless that is asked for."""
        if self.jobs < 1:
            raise InputError(f"--jobs: expected at least 1, got {self.jobs}")
        threads = self.threads or torch.get_num_threads()
        alone = self.jobs == 1 or self.resident != "auto"
        resident = self.resident if alone else "none"
        return Place(self.device, max(1, threads // self.jobs), resident)
