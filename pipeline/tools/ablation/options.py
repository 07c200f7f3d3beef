"""What `fdet ablate` takes beside the plan; what cannot be is refused before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ....cache.errors import InputError, did_you_mean
from ...machines.ray_cluster import RayPlace
from ...sources.residence import Residence
from .group import Place
from .plan import Plan, read_plan

ENGINES = ("local", "ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class AblateOptions:
    """cache, val, out: instead of the plan's. together: trials of a pass at most, None to measure what
    pays. jobs: processes at once, which share `threads` (None: torch's). engine: "local", or "ray":
    processes on the nodes of a cluster, each with cpus_per_trial threads and a share of an accelerator.
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
    engine: str = "local"
    ray_address: str | None = None
    ray_workers: int | None = None
    cpus_per_trial: int = 1
    gpus_per_trial: float | None = None

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
        on_ray = self.engine == "ray"
        threads = self.threads or (self.cpus_per_trial if on_ray else torch.get_num_threads())
        alone = (self.jobs == 1 and not on_ray) or self.resident != "auto"
        resident = self.resident if alone else "none"
        return Place(self.device, max(1, threads // self.jobs), resident)

    @property
    def ray_place(self) -> RayPlace | None:
        """None of the local engine. Raises InputError for what does not go together."""
        if self.engine not in ENGINES:
            raise InputError(f"--engine {self.engine!r}{did_you_mean(self.engine, ENGINES)}")
        if self.engine == "ray":
            place = RayPlace(
                self.ray_address, self.ray_workers, self.cpus_per_trial, self.gpus_per_trial
            )
            place.check("--cpus-per-trial", "--gpus-per-trial")
            if self.jobs != 1:
                raise InputError("--jobs: belongs to --engine local; --ray-workers limits Ray's")
            return place
        for name in ("ray_address", "ray_workers", "gpus_per_trial", "cpus_per_trial"):
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise InputError(f"--{name.replace('_', '-')}: belongs to --engine ray")
        return None
