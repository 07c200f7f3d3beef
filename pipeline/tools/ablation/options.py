"""The options of `fdet ablate`; impossible ones are refused before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ....cache.errors import InputError
from ....heads.ranges import at_least
from ...command import (
    MACHINE,
    Device,
    ThreadsOfJobs,
    argument,
    cache_opt,
    check_ranges,
    flag_of,
    opt,
)
from ...machines.choices import check_engine
from ...machines.ray_cluster import RayOptions
from ...sources.kinds import Residence

if TYPE_CHECKING:
    from .plan import Plan
    from .process import Place

RAY = "Ray"


@dataclass(frozen=True, slots=True, kw_only=True)
class AblateOptions:
    """The options of `fdet ablate`.

    threads: the number of torch's threads, or None for torch's choice. engine: "local", or "ray" for
    processes on the nodes of a cluster, each with cpus_per_trial threads and a share of an accelerator.
    """

    plan: Annotated[Path, argument("TOML file: base, axes, seeds (docs/ablations.md)")]
    cache: Annotated[Path | None, cache_opt("training cache, instead of the plan's")] = None
    val: Annotated[Path | None, cache_opt("validation cache, instead of the plan's")] = None
    out: Annotated[Path | None, opt("folder for runs and results, new or to continue")] = None
    retry_failed: Annotated[bool, opt("go on with trials that failed before")] = False
    jobs: Annotated[
        int, at_least(1), opt("processes that run at once; they share the threads", group=MACHINE)
    ] = 1
    device: Device = "auto"
    threads: ThreadsOfJobs = None
    resident: Annotated[
        Residence,
        opt(
            "keep encoded samples in memory after their first reading; auto: with one job, if they fit",
            group=MACHINE,
        ),
    ] = "auto"
    engine: Annotated[
        str,
        opt(
            "local: --jobs processes; ray: processes on a cluster's nodes (docs/cluster.md)",
            group=RAY,
        ),
    ] = "local"
    ray_address: Annotated[
        str | None,
        opt(
            "HOST:PORT of a Ray cluster, or auto; default: RAY_ADDRESS, or a Ray started on this machine",
            group=RAY,
        ),
    ] = None
    ray_workers: Annotated[
        int | None,
        opt("maximum number of processes; default: as many as there is room for", group=RAY),
    ] = None
    cpus_per_trial: Annotated[
        int, opt("CPUs that a process claims, and its --threads", group=RAY)
    ] = 1
    gpus_per_trial: Annotated[
        float | None,
        opt("GPUs that a process claims, e.g. 0.25; default: 1 if the cluster has any", group=RAY),
    ] = None

    def read_plan(self) -> Plan:
        """Return the plan, with the paths of the command line. Raises ConfigError."""
        from .plan import read_plan

        plan = read_plan(self.plan)
        given = {"cache": self.cache, "val": self.val}
        paths = {name: path for name, path in given.items() if path is not None}
        return replace(plan, paths={**plan.paths, **paths}, out=self.out or plan.out)

    @property
    def place(self) -> Place:
        """The place of a process; only a single one keeps samples in memory, unless --resident is given."""
        import torch

        from .process import Place

        check_ranges(self)
        on_ray = self.engine == "ray"
        threads = self.threads or (self.cpus_per_trial if on_ray else torch.get_num_threads())
        alone = (self.jobs == 1 and not on_ray) or self.resident != "auto"
        resident = self.resident if alone else "none"
        return Place(self.device, max(1, threads // self.jobs), resident)

    @property
    def ray_options(self) -> RayOptions | None:
        """The cluster, None for the local engine. Raises InputError for options that do not go together."""
        check_engine(self.engine)
        if self.engine == "ray":
            place = RayOptions(
                self.ray_address, self.ray_workers, self.cpus_per_trial, self.gpus_per_trial
            )
            place.check("--cpus-per-trial", "--gpus-per-trial")
            if self.jobs != 1:
                raise InputError("--jobs: belongs to --engine local; --ray-workers limits Ray's")
            return place
        for name in ("ray_address", "ray_workers", "gpus_per_trial", "cpus_per_trial"):
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise InputError(f"{flag_of(name)}: belongs to --engine ray")
        return None
