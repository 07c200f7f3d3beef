"""The report as a table of groups, best first, for a terminal or in Markdown."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ...runs.points import points
from .axes import shown
from .report import Report

_FIGURES = {
    "epochs": ("epochs", 1.0, 0),
    "AP": ("ap", 100.0, 1),
    "AP50": ("ap50", 100.0, 1),
    "M trained": ("trained", 1e-6, 2),
    "share %": ("share", 100.0, 1),
    "seconds": ("seconds", 1.0, 1),
    "MiB": ("process_mb", 1.0, 0),
    "device MiB": ("device_mb", 1.0, 0),
}


# The number of characters that a name keeps in a narrow terminal before it wraps.
_MIN_WIDTH = 12
# The width of output that is not a terminal, where lines must not wrap.
_PLAIN_WIDTH = 240


def table_rows(report: Report) -> list[list[str]]:
    """Return the headings, then a row for each group.

    A row has the values of the axes, how many of the runs have finished, the mean of each figure, and the
    range of AP.
    """
    known = {
        head: figure
        for head, figure in _FIGURES.items()
        if any(report.mean(group, figure[0]) is not None for group in report.groups)
    }
    figures = [name for head in known for name in ([head, "range"] if head == "AP" else [head])]
    heads = [*([axis.label for axis in report.axes] or ["run"]), "runs", *figures]
    order = sorted(report.groups, key=lambda g: -(report.mean(g, "ap") or 0.0))
    rows = [heads]
    for group in order:
        names = [shown(value) for value in group.values] or [group.label]
        cells = []
        for column, factor, digits in known.values():
            spread = report.spread(group, column)
            text = "—" if spread is None else f"{spread.mean * factor:.{digits}f}"
            cells.append(text)
            if column == "ap":
                cells.append(
                    "—" if spread is None else f"{points(spread.minimum)}–{points(spread.maximum)}"
                )
        finished = f"{len(report.finished_of(group))}/{len(group.runs)}"
        rows.append([*names, finished, *cells])
    return rows


def notes_of(report: Report) -> list[str]:
    """Return the notes below the table: the effect of each axis on AP, and remarks on the runs."""
    return [*(effect.sentence for effect in report.effects["ap"]), *report.notes]


def rich_report(report: Report) -> Group:
    """Return the report for rich's console, which prints names verbatim and not as markup."""
    heads, *rows = table_rows(report)
    widest = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    axes = max(1, len(report.axes))
    for k, head in enumerate(heads):
        table.add_column(
            Text(head),
            justify="left" if k < axes else "right",
            no_wrap=k >= axes,
            min_width=min(widest[k], _MIN_WIDTH),
        )
    for row in rows:
        table.add_row(*map(Text, row))
    notes = "\n".join(notes_of(report))
    return Group(Text(report.sentence), table, *([Text(notes)] if notes else []))


def print_report(report: Report) -> None:
    """Print the report to the standard output."""
    Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(rich_report(report))


def to_markdown(report: Report) -> str:
    """Return the report in Markdown."""
    heads, *rows = table_rows(report)
    axes = max(1, len(report.axes))
    rule = [":--" if k < axes else "--:" for k in range(len(heads))]
    table = "\n".join(_row(cells) for cells in [_escaped(heads), rule, *map(_escaped, rows)])
    notes = "\n".join(f"- {note}" for note in _escaped(notes_of(report)))
    return "\n\n".join(block for block in (report.sentence, table, notes) if block) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(cells: Sequence[str]) -> list[str]:
    return [
        cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
        for cell in cells
    ]
