"""Power cuts: every state that a disk may be in after one, at every moment of a few histories."""

import ast
import os
import random
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import fdet.cache

from .command import acknowledged
from .laboratory import Change, Laboratory, Options, follow
from .model import Disk, lay_out
from .state import Files
from .tracer import Call, trace

SYNCS = frozenset({"fsync", "fdatasync", "sync_folder", "sync_folders"})
FAILED_IMAGE = 5


@dataclass
class History:
    """What happened: the disk when it began, the calls, the reports until then.

    again: the commands that are repeated after a power cut.
    """

    disk: Disk
    calls: list[Call]
    reports: list[str] = field(default_factory=list)
    again: tuple[Options, ...] = ({},)

    def moments(self) -> Iterator[tuple[Call, Disk, list[str]]]:
        """After each call: the disk, and all reports so far. One disk, which goes on changing."""
        disk, reports = deepcopy(self.disk), list(self.reports)
        disk.begin()
        for call in self.calls:
            disk.follow(call)
            if call.name == "report":
                reports.append(call.data.decode())
            if call.name == "report" or call.changes:
                yield call, disk, reports


def cut(base: Path, store: str) -> dict[str, Any]:
    """Every crash state of every history."""
    laboratory, failures = Laboratory(base, store, "two coded shards"), []
    older, seen = laboratory.undisturbed(failed={FAILED_IMAGE}), set()
    for history in histories(laboratory):
        failures += violations(laboratory, history, older, seen)
    return {"states": len(seen), "failures": failures}


def violations(
    laboratory: Laboratory, history: History, older: Files, seen: set[object], hidden: bool = True
) -> Iterator[str]:
    """What a power cut breaks; one line for each promise and each state that breaks it.

    seen: states to pass over, and to add to. hidden: whether states that differ in scratch files
    alone are two.
    """
    rng = random.Random(0)
    for call, disk, reports in history.moments():
        promised = frozenset(acknowledged(reports))
        for tree in disk.after_power_cut(rng):
            found = {name: data for name, data in tree.items() if hidden or "/." not in name}
            state = (frozenset(found.items()), promised, repr(history.again))
            if state not in seen:
                seen.add(state)
                scope = laboratory.fresh()
                lay_out(tree, scope)
                for why in laboratory.examine(scope, reports, history.again, [older], aside=True):
                    yield f"after {call}: {why}"


def histories(laboratory: Laboratory, change: Change | None = None) -> Iterator[History]:
    """One writer, killed and resumed; a shard taken back and written again; two writers at once."""
    yield from alone(laboratory, Disk(), [], change)
    scope = laboratory.fresh()
    first = laboratory.trace(scope, failed={FAILED_IMAGE})
    disk = follow(Disk(), first)
    yield from alone(laboratory, disk, first.reports(), change, retry=True)
    yield from together(laboratory, change)


def alone(
    laboratory: Laboratory,
    disk: Disk,
    reports: list[str],
    change: Change | None,
    kills: int = 1,
    **options: bool,
) -> Iterator[History]:
    """The command on a disk; then killed where something was in doubt, and run again."""
    scope = laboratory.fresh()
    lay_out(disk.now, scope)
    made = laboratory.trace(scope, change=change, **options)
    history = History(deepcopy(disk), made.calls, reports, (options,))
    yield history
    if kills:
        for _, then, so_far in history.moments():
            if then.uncertain:
                yield from alone(laboratory, then, list(so_far), change, kills - 1, **options)


def together(laboratory: Laboratory, change: Change | None) -> Iterator[History]:
    """Two writers: the second pauses, the first pauses after it has named something, ..."""
    both = tuple({"rank": rank, "world": 2} for rank in range(2))

    def run(*turns: tuple[int, int | None]) -> list[Call]:
        scope = laboratory.fresh()
        bodies = [laboratory.body(scope, change, **options) for options in both]
        return trace(scope, bodies, turns=turns).calls

    second = [call for call in run((1, None)) if call.writer == 1]
    pauses = [number for number, call in enumerate(second) if call.name == "report"]
    for pause in pauses:
        first = [call for call in run((1, pause), (0, None)) if call.writer == 0]
        for number, call in enumerate(first, start=1):
            if call.name in ("mkdir", "link") and call.result == 0:
                yield History(Disk(), run((1, pause), (0, number), (1, None)), again=both)


class Site(NamedTuple):
    """A call in the sources that makes something durable."""

    file: str
    line: int
    name: str


def sites() -> list[Site]:
    """Every one of them."""
    found = []
    for path in sorted(Path(fdet.cache.__path__[0]).rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and (called := _called(node)) in SYNCS:
                        name = f"{path.stem}.{function.name}: {called}"
                        found.append(Site(str(path), node.lineno, name))
    return found


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def without(site: Site) -> Change:
    """Every fsync that this line causes does nothing."""

    def change() -> None:
        real = os.fsync

        def fsync(descriptor: int) -> None:
            frame = sys._getframe(1)
            while frame:
                if (frame.f_code.co_filename, frame.f_lineno) == (site.file, site.line):
                    return
                frame = frame.f_back
            real(descriptor)

        os.fsync = fsync

    return change


def without_each_fsync(base: Path, store: str) -> dict[str, Any]:
    """For each site, the first violation that shows when it is taken out."""
    laboratory, found = Laboratory(base, store, "two shards"), {}
    older = laboratory.undisturbed(failed={FAILED_IMAGE})
    for site in sites():
        seen: set[object] = set()
        broken = (
            why
            for history in histories(laboratory, without(site))
            for why in violations(laboratory, history, older, seen, hidden=False)
        )
        found[f"{site.name}, line {site.line}"] = next(broken, "")
    return {"found": found}
