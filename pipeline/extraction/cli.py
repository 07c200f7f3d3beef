"""The command line of `fdet extract`."""

from __future__ import annotations

import typer

from ...cache.disk.sizes import megabytes
from ...cache.wording import counted
from ..command import echo, takes
from ..dataset.images.sides import chosen_long
from .options import ExtractConfig


@takes
def extract_command(config: ExtractConfig) -> None:
    """Run the frozen backbone once over a data set and keep its feature maps.

    Exit 0: the cache is complete (or this process's part of it, where several fill it). 3: it is complete
    but some images could not be read. 2: bad input.
    """
    from .checks import check_extraction, check_out

    check_extraction(config)
    check_out(config.out)
    if line := chosen_long(config.short, config.long):
        echo(line, err=True)
    from .extract import extract

    summary = extract(config)
    for name, why in list(summary.failed.items())[:20]:
        echo(f"failed: {name}: {why}", err=True)
    if len(summary.failed) > 20:
        echo(f"failed: ... and {len(summary.failed) - 20} more", err=True)
    done = "" if summary.written else " (nothing was left to do)"
    if summary.reused:
        done = f" ({summary.reused} of {summary.written} taken over from {config.update})"
    echo(
        f"{counted(summary.samples, 'sample')}, {megabytes(summary.bytes)}, {summary.seconds:.1f} s, "
        f"{summary.out}{done}"
    )
    if summary.missing:
        echo(
            f"{counted(summary.missing, 'shard of other processes is', 'shards of other processes are')} not "
            "there yet; whoever finishes last completes the cache"
        )
    if summary.failed:
        echo(
            f"{counted(len(summary.failed), 'image')} failed; the cache works without them, --retry-failed "
            "tries them again",
            err=True,
        )
        raise typer.Exit(3)
