"""fdet check-equivalence: its options as the command line knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ....cache.disk.objects import located
from ...command import defaults_of, echo, opt
from .options import EquivalenceOptions

_D = defaults_of(EquivalenceOptions)


def equivalence_command(
    cache: Annotated[Path, typer.Argument(help="a finished cache")],
    images: Annotated[Path, opt("folder that it was made from")],
    annotations: Annotated[Path | None, opt("instead of the cache's own")] = _D["annotations"],
    samples: Annotated[int, opt("features of so many are computed again")] = _D["samples"],
    steps: Annotated[int, opt("of training, with cached and with live features")] = _D["steps"],
    seed: Annotated[int, opt("of the samples that are drawn")] = _D["seed"],
    config: Annotated[Path | None, opt("TOML file of settings; default: a small detector")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="section.name=value, e.g. train.batch_size=8")
    ] = None,
    weights: Annotated[str | None, opt("as at extraction, where that took a file")] = _D["weights"],
    device: Annotated[
        str | None, opt("auto, cpu, cuda, cuda:1; default: the kind the cache was made on")
    ] = _D["device"],
    threads: Annotated[int | None, opt("of torch on a CPU; default: the cache's")] = _D["threads"],
    elsewhere: Annotated[
        bool, opt("the cache was made on another processor: do not ask for equal bits")
    ] = _D["elsewhere"],
) -> None:
    """Compare a cache with the backbone in the loop: sampled features, and a few training steps.

    Equal bits are asked for where device, threads, versions and batches allow them, otherwise the
    codec's bound. Exit 0: equivalent. 1: not; each wrong sample is named. 2: bad input.
    """
    from .check import check_equivalence
    from .report import report_lines
    from .steps import steps_config

    options = EquivalenceOptions(
        images=images,
        annotations=annotations,
        samples=samples,
        steps=steps,
        seed=seed,
        weights=weights,
        device=device,
        threads=threads,
        elsewhere=elsewhere,
    )
    cache = located(cache)
    found = check_equivalence(cache, steps_config(cache, config, assignments or ()), options)
    for line in report_lines(found):
        echo(line)
    if not found.equivalent:
        raise typer.Exit(1)
