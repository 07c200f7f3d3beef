"""The report as a table of groups, best first, for a terminal or in Markdown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ....cache.wording import listed
from ...runs.names import telling_names
from ...runs.points import points
from .axes import Group as RunGroup
from .axes import is_trial, shown
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
# The figures that a narrow terminal leaves out, the first one first.
_LEFT_OUT = ("device MiB", "MiB", "share %", "M trained", "range", "seconds", "AP50")
# The number of characters of a run's name, and those that a longer label has at least before it wraps.
_NAME = 24
# The width of output that is not a terminal, where lines must not wrap.
_PLAIN_WIDTH = 240


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table. of_figures: whether its cells are numbers."""

    head: str
    cells: tuple[str, ...]
    of_figures: bool = True

    @property
    def width(self) -> int:
        """The number of characters of the column; names may wrap."""
        widest = max(map(len, (self.head, *self.cells)))
        return widest if self.of_figures or self.head != "run" else min(widest, _NAME)


def table_rows(report: Report) -> list[list[str]]:
    """Return the headings, then a row for each group.

    A row has the names of the runs, the values of the axes, how many of the runs have finished, the mean of
    each figure, and the range of AP where a group has several runs.
    """
    groups = _best_first(report)
    columns = [*_names(report, groups), *_axes(report, groups), *_figures(report, groups)]
    return [[c.head for c in columns], *map(list, zip(*(c.cells for c in columns), strict=True))]


def _best_first(report: Report) -> list[RunGroup]:
    return sorted(report.groups, key=lambda group: -(report.mean(group, "ap") or 0.0))


def _names(report: Report, groups: Sequence[RunGroup]) -> list[Column]:
    """Return the column of the runs' names; none where they are trials, whose names say what the axes say."""
    records = report.records
    if report.axes and all(is_trial(records[k]) for group in groups for k in group.runs):
        return []
    names = [listed([records[k].name for k in group.runs], 1) for group in groups]
    return [Column("run", tuple(names), of_figures=False)]


def _axes(report: Report, groups: Sequence[RunGroup]) -> list[Column]:
    return [
        Column(axis.label, tuple(shown(group.values[k]) for group in groups), of_figures=False)
        for k, axis in enumerate(report.axes)
    ]


def _figures(report: Report, groups: Sequence[RunGroup]) -> list[Column]:
    finished = [f"{len(report.finished_of(g))}/{len(g.runs)}" for g in groups]
    columns = [Column("runs", tuple(finished))]
    for head, (name, factor, digits) in _FIGURES.items():
        spreads = [report.spread(group, name) for group in groups]
        if not any(spreads):
            continue
        cells = (f"{s.mean * factor:.{digits}f}" if s else "—" for s in spreads)
        columns.append(Column(head, tuple(cells)))
        if name == "ap" and any(len(report.finished_of(group)) > 1 for group in groups):
            ranges = (f"{points(s.minimum)}–{points(s.maximum)}" if s else "—" for s in spreads)
            columns.append(Column("range", tuple(ranges)))
    return columns


def _fitting(report: Report, width: int) -> tuple[list[Column], list[str]]:
    """Return the columns that fit, and the names of those that do not.

    Where the axes take too much room even without most figures, one column has the values that differ.
    """
    groups = _best_first(report)
    named, axes, figures = _names(report, groups), _axes(report, groups), _figures(report, groups)
    short = [Column("run", tuple(telling_names(c.cells, _NAME)), of_figures=False) for c in named]
    labels = [Column("run", tuple(group.label for group in groups), of_figures=False)]
    for first in ([*short, *axes], short or labels):
        kept, left_out = [*first, *figures], []
        for head in _LEFT_OUT:
            if _width(kept) <= width:
                break
            left_out += [c.head for c in kept if c.of_figures and c.head == head]
            kept = [c for c in kept if not (c.of_figures and c.head == head)]
        if _width(kept) <= width:
            break
    missing = [axis.head for axis in axes if axis not in kept] if short else []
    return kept, [*missing, *left_out[::-1]]


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + 2 * len(columns) + 1


def notes_of(report: Report) -> list[str]:
    """Return the notes below the table: the effect of each axis on AP, and remarks on the runs."""
    return [*(effect.sentence for effect in report.effects["ap"]), *report.notes]


def rich_report(report: Report, width: int) -> Group:
    """Return the report for rich's console, which prints names verbatim and not as markup."""
    columns, left_out = _fitting(report, width) if report.groups else ([], [])
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(
            Text(column.head),
            justify="right" if column.of_figures else "left",
            no_wrap=column.of_figures,
            overflow="fold",
            min_width=column.width,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, row))
    notes = notes_of(report)
    if left_out:
        notes.insert(
            0, f"left out, as they do not fit: {', '.join(left_out)} (--format md has all)"
        )
    tables = [table] if columns else []
    return Group(Text(report.sentence), *tables, *([Text("\n".join(notes))] if notes else []))


def print_report(report: Report) -> None:
    """Print the report to the standard output."""
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    console.print(rich_report(report, console.width))


def to_markdown(report: Report) -> str:
    """Return the report in Markdown."""
    heads, *rows = table_rows(report)
    first = heads.index("runs")
    rule = [":--" if k < first else "--:" for k in range(len(heads))]
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
