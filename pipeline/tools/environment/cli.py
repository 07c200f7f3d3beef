"""The command line of `fdet doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from ...command import echo, opt, takes
from .options import DoctorOptions


@takes
def doctor_command(
    options: DoctorOptions,
    as_json: Annotated[bool, opt("print JSON, for bug reports and programs", "--json")] = False,
) -> None:
    """Say what fdet runs on here, and what is wrong with it.

    Looks at Python, the libraries, the device, the disk of --folder (where it writes for two seconds and
    leaves nothing) and the weights that need no download. Exit 0: nothing is wrong. 3: warnings. 2: errors,
    with which fdet does not work here.
    """
    from .checks import check_doctor

    check_doctor(options)
    from .examine import examine
    from .text import text_of

    found = examine(options)
    echo(json.dumps(asdict(found), indent=2) if as_json else text_of(found))
    levels = {problem.level for problem in found.problems}
    if levels:
        raise typer.Exit(2 if "error" in levels else 3)
