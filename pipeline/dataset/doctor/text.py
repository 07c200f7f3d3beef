"""The report of the doctor as text of 80 columns, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ....cache.wording import counted
from .finding import Finding
from .summary import SplitSummary, Summary

WIDTH = 80
# How many classes the table has; the others are counted in its last line.
_CLASSES = 20
_COLUMN = 12
_SEVERITY_WIDTH = len("warning  ")


def as_lines(summary: Summary, findings: Sequence[Finding]) -> list[str]:
    """Return the report: a table of the splits, one of the classes, and the findings, the worst first."""
    lines = [
        *_splits(summary.splits),
        "",
        *class_lines([s.name for s in summary.splits], summary.classes),
        "",
    ]
    for finding in findings:
        lines += _described(finding)
    counts = [
        counted(sum(f.severity == s for f in findings), s) for s in ("error", "warning", "note")
    ]
    return [*lines, *([""] if findings else []), ", ".join(counts)]


def as_json(summary: Summary, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the report as JSON has it."""
    return {
        "splits": [asdict(split) for split in summary.splits],
        "classes": summary.classes,
        "findings": [asdict(finding) for finding in findings],
    }


def _splits(splits: Sequence[SplitSummary]) -> list[str]:
    """Return a table with a row for each split, and a sentence on each."""
    heads = ["split", "images", "empty", "objects", "crowds", "classes", "per image", "max"]
    rows = [
        [
            _cut(s.name, 16),
            *map(str, (s.images, s.empty, s.objects, s.crowds, s.classes)),
            f"{s.objects / s.images:.1f}",
            str(s.most),
        ]
        for s in splits
    ]
    return table([heads, *rows]) + [line for s in splits for line in _wrapped(_sentence(s))]


def _sentence(s: SplitSummary) -> str:
    """Describe where a split comes from and the sizes of its images and objects."""
    sizes = f"{_size(s.smallest)} px"
    if s.largest != s.smallest:
        sizes = (
            f"{_size(s.smallest)} to {_size(s.largest)} px, half of them up to {_size(s.median)}"
        )
    shares = ", ".join(
        f"{count / max(1, s.objects):.0%} {name}"
        for name, count in (("small", s.small), ("medium", s.medium), ("large", s.large))
    )
    return f"{s.name}: {s.source} ({s.format}); images of {sizes}; objects: {shares}"


def class_lines(splits: Sequence[str], classes: Mapping[str, Sequence[int]]) -> list[str]:
    """Return a table with the objects of each class in each split; of many classes the first few.

    splits: the names of the splits. classes: the numbers of each class, by its name.
    """
    width = max(_COLUMN, WIDTH - (_COLUMN + 2) * len(splits))
    shown = list(classes.items())[:_CLASSES]
    rows = [[_cut(name, width), *map(str, counts)] for name, counts in shown]
    more = len(classes) - len(shown)
    lines = table([["class", *(_cut(name, _COLUMN) for name in splits)], *rows])
    return lines + ([f"... and {counted(more, 'more class', 'more classes')}"] if more else [])


def _described(finding: Finding) -> list[str]:
    """Return a finding as a paragraph: how bad, how many of what, the first few, and what to do."""
    head = f"{finding.severity:<{_SEVERITY_WIDTH}}"
    indent = " " * _SEVERITY_WIDTH
    parts = [f"{finding.numbers} {finding.what} [{finding.rule}]"]
    if finding.examples:
        parts.append(f"e.g. {finding.shown_examples}")
    parts.append(f"-> {finding.advice}")
    lines = [line for part in parts for line in _wrapped(part, indent, "   ")]
    return [head + lines[0][len(head) :], *lines[1:]]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows with aligned columns; the first is aligned to the left, and what is too long is wrapped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [f"{first:<{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines += _wrapped("  ".join(cells).rstrip())
    return lines


def _wrapped(text: str, indent: str = "", hanging: str = "  ") -> list[str]:
    """Return a text in lines; those after the first are indented further."""
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_on_hyphens=False,
    )
    return lines or [""]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _size(wh: tuple[int, int]) -> str:
    return f"{wh[0]}x{wh[1]}"
