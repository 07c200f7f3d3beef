"""The command line of `fdet watch`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ...command import argument, echo, opt, takes
from ...machines.interrupt import interruptible


@takes
def watch_command(
    paths: Annotated[Sequence[Path], argument("runs, or folders with runs up to two levels below")],
    out: Annotated[
        Path | None, opt("page to write, .html; default: watch.html in the first folder")
    ] = None,
    every: Annotated[float, opt("seconds between two readings", min=1, max=3600)] = 5.0,
    once: Annotated[bool, opt("write the page once, and end")] = False,
    open_browser: Annotated[bool, opt("open the page in the browser too", "--open")] = False,
) -> None:
    """Follow runs while they train: one page with loss, AP and learning rate that renews itself.

    It only reads the runs. The page is a file, so no port is opened; Ctrl-C ends it.
    """
    import webbrowser

    from .checks import check_watching
    from .watch import watch, write_once

    page = check_watching(paths, out)
    count = write_once(paths, page, None if once else every)
    ends = "" if once else ", read again every few seconds; Ctrl-C ends it"
    echo(f"{page.absolute().as_uri()}\n{count} run{'s' * (count != 1)}{ends}")
    if open_browser:
        webbrowser.open(page.absolute().as_uri())
    if not once:
        with interruptible() as stop_requests:
            watch(paths, page, every, stop_requests)
