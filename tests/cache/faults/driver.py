"""Many accidents, each in a fork: `python -m fdet.tests.cache.faults.driver JOB STORE` prints JSON.

Calls fail once a site (`one_a_site`), or each of them where FDET_EVERY_CALL is set.
"""

import errno
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from fdet.cache.disk.publish import SCRATCH
from fdet.cache.format.header import NAME as HEADER

from ..handmade import files_below
from . import power
from .laboratory import Laboratory, follow, refusals
from .model import Disk, lay_out
from .state import shard_files
from .tracer import Call, Decide, Trace, go, trace, unavailable

WRITERS = 4
POINTS_OF_FOUR = 20


def at(point: int, decision: Any) -> Decide:
    """That decision for one call, by its number."""
    return lambda call, number: decision if number == point else "go"


def one_a_site(calls: list[Call], points: Iterable[int]) -> list[int]:
    """Of calls that the same line makes, for one file after the other: the first or the last, in turn.

    They have the same names and paths but for numbers, and so have the calls before and after them.
    """
    if os.environ.get("FDET_EVERY_CALL"):
        return list(points)
    kinds = ["", *(re.sub(r"\d+", "#", str(call)) for call in calls), ""]
    sites: dict[tuple[str, ...], list[int]] = {}
    for point in points:
        sites.setdefault(tuple(kinds[point : point + 3]), []).append(point)
    return [alike[-(k % 2)] for k, alike in enumerate(sites.values())]


def record(base: Path, store: str) -> dict[str, Any]:
    """The system calls of an undisturbed run, but those that failed, and the reports among them."""
    laboratory = Laboratory(base, store, "handmade")
    made = laboratory.trace(laboratory.fresh())
    return {
        "calls": [
            [call.name, call.data.decode() if call.name == "report" else call.path, call.other]
            for call in made.calls
            if call.result is None or call.result >= 0
        ],
        "shards": {
            s.name: shard_files(laboratory.header, s.name) for s in laboratory.header.layout.shards
        },
    }


def kill(base: Path, store: str) -> dict[str, Any]:
    """SIGKILL before each call of one writer."""
    laboratory, failures = Laboratory(base, store, "two shards"), []
    calls = laboratory.trace(laboratory.fresh()).touching
    # Before a call that only reads, the disk is as before the next one that changes it.
    points = [number for number, call in enumerate(calls) if call.changes]
    for point in points:
        scope = laboratory.fresh()
        made = laboratory.trace(scope, at(point, "kill"), results=False)
        assert made.ends == {0: -9} and str(made.touching[-1]) == str(calls[point])
        found = laboratory.examine(scope, made.reports())
        failures += [f"killed before {calls[point]}: {why}" for why in found]
    return {"points": len(points), "states": laboratory.states, "failures": failures}


def kill_among_codec_files(base: Path, store: str) -> dict[str, Any]:
    """SIGKILL before each call that puts a codec's file in its place; then another writer comes, who
    has none, and is refused while one is missing.
    """
    laboratory, failures = Laboratory(base, store, "two coded shards"), []
    names = [name for name in laboratory.whole if name.startswith("codec/")]
    calls = laboratory.trace(laboratory.fresh()).touching
    points = [n for n, c in enumerate(calls) if "codec" in c.path + c.other and c.changes]
    refused = 0
    for point in points:
        scope = laboratory.fresh()
        made = laboratory.trace(scope, at(point, "kill"), results=False)
        there = files_below(laboratory.root(scope))
        lost = HEADER in there and any(name not in there for name in names)
        told = [t for t in laboratory.run(scope, forgetful=True) if t.startswith("refused Input")]
        if lost != any("codec/" in text and "\n" not in text for text in told):
            failures.append(f"without its files, after {calls[point]}: {told}")
        refused += lost
        found = laboratory.examine(scope, made.reports())
        failures += [f"killed before {calls[point]}: {why}" for why in found]
    return {"points": len(points), "refused": refused, "failures": failures}


def kill_one_of_four(base: Path, store: str) -> dict[str, Any]:
    """SIGKILL for one of four writers, while the others go on."""
    return _kill_of_four(base, store, "kill")


def kill_all_four(base: Path, store: str) -> dict[str, Any]:
    """SIGKILL for four writers at once."""
    return _kill_of_four(base, store, "kill all")


def _kill_of_four(base: Path, store: str, how: str) -> dict[str, Any]:
    laboratory, failures, killed = Laboratory(base, store, "eight shards"), [], 0

    def run(decide: Decide) -> tuple[Path, Trace]:
        scope = laboratory.fresh()
        bodies = [laboratory.body(scope, rank=rank, world=WRITERS) for rank in range(WRITERS)]
        return scope, trace(scope, bodies, decide, results=False)

    total = len(run(go)[1].touching)
    points = [total * k // POINTS_OF_FOUR for k in range(POINTS_OF_FOUR)]
    for point in points:
        victims: list[int] = []
        while not victims:
            scope, made = run(at(point, how))
            victims = [rank for rank, end in made.ends.items() if end < 0]
            if not victims:
                # Writers that wait for each other less make fewer calls: the run was over before.
                point = point * 9 // 10
        killed += 1
        again = [{"rank": rank, "world": WRITERS} for rank in victims]
        found = refusals(made) + laboratory.examine(scope, made.reports(), again)
        failures += [f"{how} at call {point}: {why}" for why in found]
    return {"points": len(points), "killed": killed, "failures": failures}


def fail(base: Path, store: str, code: int = errno.EIO) -> dict[str, Any]:
    """An error of the disk at each site of one writer's calls; no room at each call that may need some."""
    laboratory, failures = Laboratory(base, store, "two shards"), []
    calls = laboratory.trace(laboratory.fresh()).touching
    points = [number for number, call in enumerate(calls) if _may_fail(call)]
    if code == errno.EIO:
        points = one_a_site(calls, points)
    else:
        points = [number for number in points if calls[number].changes]
    for point in points:
        scope = laboratory.fresh()
        made = laboratory.trace(scope, at(point, code))
        found = _after_error(laboratory, scope, follow(Disk(), made), made)
        failures += [f"{errno.errorcode[code]} at {calls[point]}: {why}" for why in found]
    return {"points": len(points), "states": laboratory.states, "failures": failures}


def fill(base: Path, store: str) -> dict[str, Any]:
    """No room, at each call that may need some."""
    return fail(base, store, errno.ENOSPC)


def fail_resumed(base: Path, store: str) -> dict[str, Any]:
    """An error at each site of a run that finds what a killed one has named, but not made durable."""
    laboratory, failures = Laboratory(base, store, "two shards"), []
    calls = laboratory.trace(laboratory.fresh()).touching
    named = max(n for n, c in enumerate(calls) if c.name == "link" and "commits" in c.other)
    scope = laboratory.fresh()
    before = laboratory.trace(scope, at(named + 1, "kill"))
    disk = follow(Disk(), before)
    calls = laboratory.trace(scope).touching
    points = one_a_site(calls, (number for number, call in enumerate(calls) if _may_fail(call)))
    for point in points:
        scope = laboratory.fresh()
        lay_out(disk.now, scope)
        made = laboratory.trace(scope, at(point, errno.EIO))
        found = _after_error(laboratory, scope, follow(deepcopy(disk), made), made)
        failures += [f"EIO at {calls[point]}: {why}" for why in found]
    return {"points": len(points), "states": laboratory.states, "failures": failures}


def _may_fail(call: Call) -> bool:
    """Closing a file that was only read tells nothing."""
    return call.name != "close" or call.path.endswith(SCRATCH)


def _after_error(laboratory: Laboratory, scope: Path, disk: Disk, made: Trace) -> list[str]:
    allowed = ("refused StorageError", "refused CorruptCache")
    found = [text for text in refusals(made) if not text.startswith(allowed)]
    found += [f"{name} is published although an fsync of it failed" for name in disk.refused()]
    if not refusals(made) and laboratory.visible(disk.durable) != laboratory.whole:
        found.append("it says that all is well, and not all would survive a power cut")
    return found + laboratory.examine(scope, made.reports())


JOBS: Mapping[str, Callable[[Path, str], dict[str, Any]]] = {
    "record": record,
    "kill": kill,
    "kill among codec files": kill_among_codec_files,
    "kill one of four": kill_one_of_four,
    "kill all four": kill_all_four,
    "fail": fail,
    "fill": fill,
    "fail resumed": fail_resumed,
    "power cut": power.cut,
    "without an fsync": power.without_each_fsync,
}


def main(job: str, store: str) -> None:
    assert "torch" not in sys.modules
    shared = Path("/dev/shm")
    fast = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=fast) as base:
        found = {"skip": why} if (why := unavailable()) else JOBS[job](Path(base).resolve(), store)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
