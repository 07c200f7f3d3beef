"""fdet report: its options as the command line knows them."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ...cache.objects import located
from ..command import opt


class Format(StrEnum):
    """What is printed."""

    table = "table"
    md = "md"
    csv = "csv"
    json = "json"


def report_command(
    paths: Annotated[
        list[Path], typer.Argument(help="runs, or folders that hold some up to two levels below")
    ],
    out: Annotated[Path | None, opt("HTML file to write; an older one is replaced")] = None,
    val: Annotated[
        Path | None,
        opt("validation cache: evaluate the best weights for error breakdown and gallery"),
    ] = None,
    images: Annotated[
        Path | None, opt("image folder for the gallery; with --val the folder it was made from")
    ] = None,
    printed: Annotated[
        Format | None,
        typer.Option(
            "--format", help="print the table, md (Markdown), csv or json; csv: a row a run"
        ),
    ] = None,
    device: Annotated[str, opt("auto, cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[
        int | None, opt("of torch on a CPU; default: torch's, or the cache's")
    ] = None,
) -> None:
    """Compare runs: one self-contained HTML page, or a table in the terminal."""
    from .assemble import assemble, write_page
    from .terminal import print_report, to_markdown
    from .tidy import to_csv, to_json

    logging.getLogger("fdet").setLevel(logging.INFO)
    report = assemble(paths, out, val and located(val), images, device, threads)
    if out is not None:
        write_page(report, out)
        typer.echo(f"written: {out}", err=printed is not None)
    match printed or (Format.table if out is None else None):
        case Format.table:
            print_report(report)
        case Format.md:
            typer.echo(to_markdown(report), nl=False)
        case Format.csv:
            typer.echo(to_csv(report.rows), nl=False)
        case Format.json:
            typer.echo(to_json(report.rows, [e for of in report.effects.values() for e in of]))
