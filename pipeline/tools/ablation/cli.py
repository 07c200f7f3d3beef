"""fdet ablate: its options as the command line knows them."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ....cache.disk.objects import located
from ...command import echo, opt


class Residence(StrEnum):
    """Where samples stay."""

    auto = "auto"
    ram = "ram"
    device = "device"
    none = "none"


def ablate_command(
    plan: Annotated[Path, typer.Argument(help="TOML file: base, axes, seeds (docs/ablations.md)")],
    cache: Annotated[Path | None, opt("training cache, instead of the plan's")] = None,
    val: Annotated[Path | None, opt("validation cache, instead of the plan's")] = None,
    out: Annotated[Path | None, opt("folder for runs and results, or to go on in")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="list the trials: parameters, share, expected time")
    ] = False,
    together: Annotated[
        str, opt("trials in one pass over their cache at most; auto: measure whether that pays")
    ] = "auto",
    jobs: Annotated[int, opt("processes at once; they share the threads")] = 1,
    device: Annotated[str, opt("auto, cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[int | None, opt("of torch on a CPU, of all jobs; default: torch's")] = None,
    resident: Annotated[
        Residence, opt("whether samples stay in memory after their first reading (auto: one job)")
    ] = Residence.auto,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="go on with trials that failed before")
    ] = False,
    engine: Annotated[
        str, opt("local: --jobs processes; ray: processes on a cluster's nodes (docs/cluster.md)")
    ] = "local",
    ray_address: Annotated[
        str | None, opt("HOST:PORT, or auto; default: RAY_ADDRESS, or a Ray of this machine's own")
    ] = None,
    ray_workers: Annotated[
        int | None, opt("at most so many processes; default: as many as there is room for")
    ] = None,
    cpus_per_trial: Annotated[int, opt("with Ray: that a process claims, and its --threads")] = 1,
    gpus_per_trial: Annotated[
        float | None,
        opt("with Ray: that a process claims, e.g. 0.25; default: 1 where the cluster has any"),
    ] = None,
) -> None:
    """Train a plan's trials on cached maps: grid, list or random draw of necks, heads and settings.

    The same command goes on where it was interrupted, and runs only what is new after the plan has
    changed. A trial that fails is recorded with its reason, and the rest goes on; the exit status is then 1.
    """
    from rich.console import Console

    from .options import AblateOptions
    from .results import lines_of
    from .run import ablate, estimated, prepared
    from .schedule import parse_together
    from .table import result_table, summary, total_line, trial_table

    logging.getLogger("fdet").setLevel(logging.INFO)
    options = AblateOptions(
        plan=plan,
        cache=cache and located(cache),
        val=val and located(val),
        out=out,
        together=parse_together(together),
        jobs=jobs,
        device=device,
        threads=threads,
        resident=resident.value,
        retry_failed=retry_failed,
        engine=engine,
        ray_address=ray_address,
        ray_workers=ray_workers,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
    )
    console = Console(width=None if sys.stdout.isatty() else 160)
    if dry_run:
        ready = prepared(options)
        seconds = estimated(ready, options)
        console.print(trial_table(ready, seconds))
        echo(total_line(ready, seconds))
        return
    ready = ablate(options)
    console.print(result_table(ready, lines_of(ready.trials, ready.rows())))
    echo(f"{summary(ready)}; {ready.state.out / 'results.csv'}, results.json")
    if any(ready.state.status(trial) == "failed" for trial in ready.trials):
        raise typer.Exit(1)
