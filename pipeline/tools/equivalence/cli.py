"""The command line of `fdet check-equivalence`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...command import Assignments, cache_argument, echo, opt, takes
from .options import EquivalenceOptions


@takes
def equivalence_command(
    cache: Annotated[Path, cache_argument("a finished cache")],
    options: EquivalenceOptions,
    config: Annotated[Path | None, opt("TOML file of settings; default: a small detector")] = None,
    assignments: Assignments = (),
) -> None:
    """Compare a cache with the backbone in the loop: sampled features, and a few training steps.

    Equal bits are expected where device, threads, versions and batches allow them, otherwise differences
    within the codec's bound. Exit 0: equivalent. 1: not; each wrong sample is named. 2: bad input.
    """
    from .checks import check_options, steps_config

    check_options(cache, options)
    settings = steps_config(cache, config, assignments, options.source)
    from .check import check_equivalence
    from .report import report_lines

    found = check_equivalence(cache, settings, options)
    for line in report_lines(found):
        echo(line)
    if not found.equivalent:
        raise typer.Exit(1)
