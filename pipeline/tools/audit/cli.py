"""The command line of `fdet audit`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ....cache.wording import counted
from ...command import cache_argument, echo, opt, takes
from ...machines.interrupt import INTERRUPTED
from ...zoo.option import run_argument
from .options import AuditOptions

# How many entries are printed.
_SHOWN = 10


@takes
def audit_command(
    run: Annotated[Path, run_argument("run directory, whose settings the heads have")],
    cache: Annotated[Path, cache_argument("cache whose labels to look at")],
    out: Annotated[Path, opt("folder to write to; an interrupted audit in it goes on")],
    options: AuditOptions,
) -> None:
    """List objects whose labels are probably wrong, by heads that have not seen their images."""
    from .checks import check_audit

    check_audit(run, cache, out, options)
    logging.getLogger("fdet").setLevel(logging.INFO)
    from .audit import audit
    from .paths import LIST, PAGE, TABLE
    from .suspicion import MISSED

    try:
        results = audit(run, cache, out, options)
    except KeyboardInterrupt as error:
        echo("\nfdet: interrupted; what was finished is kept: the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from error
    for entry in results.entries[:_SHOWN]:
        echo(
            f"{entry.rank:>4} {entry.suspicion:.2f} {entry.kind}: {entry.image}: {entry.suggestion}"
        )
    more = len(results.entries) - _SHOWN
    if more > 0:
        echo(f"     ... and {more} more")
    kinds = dict(results.kinds)
    missed = counted(kinds.pop(MISSED), "object")
    looked_at = f"{counted(results.objects, 'label')} in {counted(results.images, 'image')}"
    wrong = ", ".join(f"{kind}: {number}" for kind, number in kinds.items())
    echo(f"{looked_at}: {sum(kinds.values())} may be wrong ({wrong}), and {missed} may have none")
    if (most := max(results.reached.values(), default=0)) > options.top:
        in_all = sum(results.reached.values())
        echo(f"there are {in_all} in all; --top, the maximum of each kind, lists them with {most}")
    if results.few:
        echo(f"too few to judge invented boxes: {', '.join(results.few)}")
    echo(f"written: {out / PAGE}, {LIST}, {TABLE}")
