"""The command `fdet settings`, which lists every setting of a run."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

from ..command import argument, echo, opt, takes


class Format(StrEnum):
    """A format in which settings are printed."""

    table = "table"
    md = "md"
    json = "json"


@takes
def settings_command(
    section: Annotated[
        str | None,
        argument("neck, head, backbone, augment, train, optim or schedule; default: all sections"),
    ] = None,
    format: Annotated[Format, opt("format: table, md (Markdown) or json")] = Format.table,
) -> None:
    """List the settings of a run, as --set and TOML files take them: name, default, values, help."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .described import as_markdown, described_settings

    settings = described_settings(section)
    if format == Format.json:
        echo(json.dumps([asdict(setting) for setting in settings], indent=2))
    elif format == Format.md:
        echo(as_markdown(settings))
    else:
        table = Table("setting", "default", "values", "", box=None, padding=(0, 2, 0, 0))
        for s in settings:
            name = f"{s.name} ({s.of})" if s.of else s.name
            table.add_row(*map(Text, (name, s.default, s.values, s.help)))
        Console(width=None if sys.stdout.isatty() else 160).print(table)
