"""The command line of `fdet report`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from ....cache.disk.publish import publish_bytes
from ....cache.errors import InputError
from ...command import Device, argument, cache_opt, echo, opt, takes


class Format(StrEnum):
    """A format in which runs are printed or written."""

    table = "table"
    md = "md"
    csv = "csv"
    json = "json"


@takes
def report_command(
    paths: Annotated[Sequence[Path], argument("runs, or folders with runs up to two levels below")],
    out: Annotated[
        Path | None,
        opt("file to write: .html, .md, .csv or .json; an older one is replaced"),
    ] = None,
    val: Annotated[
        Path | None,
        cache_opt("validation cache to evaluate best weights on, for error breakdown and gallery"),
    ] = None,
    images: Annotated[
        Path | None, opt("image folder for the gallery; with --val the folder it was made from")
    ] = None,
    printed: Annotated[
        Format | None,
        opt("what to print: table, md (Markdown), csv (a row per run) or json", "--format"),
    ] = None,
    device: Device = "auto",
    threads: Annotated[
        int | None, opt("torch threads on a CPU; default: torch's choice, or the cache's")
    ] = None,
) -> None:
    """Compare runs: one self-contained HTML page, a table in the terminal, or a file for programs."""
    from .checks import check_report

    written = _format_of(out)
    page = out if written is None else None
    check_report(paths, page, val, images, device, threads)
    from ...runs.rows import to_csv
    from .assemble import assemble, write_page
    from .terminal import print_report, to_markdown
    from .tidy import to_json

    logging.getLogger("fdet").setLevel(logging.INFO)
    report = assemble(paths, page, val, images, device, threads)

    def text(format: Format) -> str:
        if format == Format.md:
            return to_markdown(report)
        if format == Format.csv:
            return to_csv(report.rows)
        return to_json(report.rows, [e for of in report.effects.values() for e in of])

    if out is not None:
        if written is None:
            write_page(report, out)
        else:
            publish_bytes(out, text(written).encode(), existing="replace")
        echo(f"written: {out}", err=printed is not None)
    printed = printed or (Format.table if out is None else None)
    if printed == Format.table:
        print_report(report)
    elif printed is not None:
        echo(text(printed), nl=False)


def _format_of(out: Path | None) -> Format | None:
    """Return the format of a file by its suffix, None for the HTML page.

    Raises InputError for an unknown suffix, and where the file cannot be written.
    """
    if out is None or out.suffix in (".html", ".htm"):
        return None
    if out.suffix not in (".md", ".csv", ".json"):
        raise InputError(f"--out {out}: expected a name that ends in .html, .md, .csv or .json")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"--out {out}: expected a file in a folder that exists")
    return Format(out.suffix[1:])
