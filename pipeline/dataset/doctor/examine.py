"""The examination of a data set: what the rules find, the worst first, and a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..data_set import DataSet
from ..images.views import ResizeRule
from .files import listed_files, read_files
from .finding import Finding, Severity
from .rules import RULES, Depth
from .subject import Split, Subject


def examine(
    splits: Sequence[Split], depth: Depth = Depth.pixels, resize: ResizeRule | None = None
) -> list[Finding]:
    """Return what the rules find in a data set, the worst first.

    depth: how far to look. resize: the size at which the images will be used, where it is known.
    """
    if depth is Depth.annotations:
        subject = Subject(splits, resize=resize)
    else:
        files = read_files(splits, pixels=depth is Depth.pixels)
        subject = Subject(splits, files, listed_files(splits), resize)
    findings = _findings(subject, [name for name, rule in RULES.items() if rule.needs <= depth])
    return sorted(findings, key=lambda finding: -finding.severity.rank)


def quick_findings(data: DataSet, resize: ResizeRule | None = None) -> list[Finding]:
    """Return the warnings and errors that the annotations of one split show, without opening a file.

    What `Annotations.warnings` says is left out, and what is about all splits together.
    """
    names = [
        name
        for name, rule in RULES.items()
        if rule.needs is Depth.annotations and not (rule.said or rule.whole)
    ]
    findings = _findings(Subject([Split("", data)], resize=resize), names)
    return [finding for finding in findings if finding.severity is not Severity.note]


def _findings(subject: Subject, names: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        finding = RULES[name].find(subject)
        if finding is not None:
            yield replace(finding, rule=name)
