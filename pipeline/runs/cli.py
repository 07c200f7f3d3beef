"""The commands `fdet settings` and `fdet presets`, which list the settings of a run and sets of them."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

from ..command import argument, echo, opt, takes

# The width of output that is not a terminal, and of the narrowest terminal in which settings are a table.
_PLAIN_WIDTH, _TABLE_FROM = 160, 140


class Format(StrEnum):
    """A format in which settings and presets are printed."""

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

    from .described import as_markdown, as_paragraphs, described_settings

    settings = described_settings(section)
    if format != Format.table:
        as_json = format == Format.json
        echo(
            json.dumps(list(map(asdict, settings)), indent=2) if as_json else as_markdown(settings)
        )
        return
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    if console.width < _TABLE_FROM:
        echo("\n".join(as_paragraphs(settings, console.width)))
        return
    table = Table("setting", "default", "values", "", box=None, padding=(0, 2, 0, 0))
    for s in settings:
        name = f"{s.name} ({s.of})" if s.of else s.name
        table.add_row(*map(Text, (name, s.default, s.values, s.help)))
    console.print(table)


@takes
def presets_command(
    format: Annotated[Format, opt("format: table, md (Markdown) or json")] = Format.table,
) -> None:
    """List the presets that --config takes: neck, head, channels, trained parameters, and their use."""
    from rich.console import Console
    from rich.table import Table

    from .described_presets import COUNTED, described_presets, millions, presets_as_markdown

    presets = described_presets()
    if format == Format.json:
        echo(json.dumps([asdict(preset) for preset in presets], indent=2))
    elif format == Format.md:
        echo(presets_as_markdown(presets))
    else:
        table = Table(box=None, padding=(0, 1, 0, 0))
        for title in ("preset", "neck", "head"):
            table.add_column(title, no_wrap=True)
        for title in ("channels", "parameters"):
            table.add_column(title, no_wrap=True, justify="right")
        table.add_column("")
        for p in presets:
            numbers = (str(p.channels), millions(p.parameters))
            table.add_row(p.name, p.neck, p.head, *numbers, p.use)
        Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
        echo(COUNTED)
