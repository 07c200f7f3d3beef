"""The command line of `fdet export`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ...command import echo, opt, takes
from ...zoo.option import run_argument
from .options import ExportOptions

# The exit code of a file that does not find the same.
DIFFERENT = 4


@takes
def export_command(
    run: Annotated[Path, run_argument("run directory")],
    out: Annotated[Path, opt("file to write: name.onnx, name.pt2 or name.xml (OpenVINO)")],
    options: ExportOptions,
) -> None:
    """Write backbone, neck and head of a run as one file, and prove that it finds the same."""
    from .checks import check_export

    check_export(run, out, options)
    logging.getLogger("fdet").setLevel(logging.INFO)
    from .export import export
    from .proof import prove
    from .report import proof_lines

    done = export(run, out, options)
    for path in (done.model, done.about, done.program):
        if path is not None:
            echo(f"written: {path}")
    if options.check is None:
        echo("not checked: --check CACHE --images DIR proves that the file finds the same")
        return
    proof = prove(run, done.model, done.program, done.description, options)
    for line in proof_lines(proof):
        echo(line)
    if proof.failures:
        raise typer.Exit(DIFFERENT)
