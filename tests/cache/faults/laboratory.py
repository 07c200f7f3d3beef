"""A store's command, undisturbed once for comparison, and the means to try it again and again.

Imports no torch, and before it forks no more than each fork will need.
"""

import hashlib
import os
import shutil
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fdet.cache.errors import FdetError
from fdet.cache.stores import STORES, hdf5_store

from ..handmade import files_below
from .command import HEADERS, acknowledged, write_cache
from .model import Disk, Tree
from .state import Files, problems
from .tracer import Body, Decide, Trace, go, trace

Change = Callable[[], None]
Options = Mapping[str, Any]

FAILURES = ("refused", "bug")


class Laboratory:
    """base: an empty folder for everything. header: a name in `HEADERS`."""

    def __init__(self, base: Path, store: str, header: str) -> None:
        if store == "hdf5":
            import h5py  # noqa: F401
            import hdf5plugin  # noqa: F401
        self.header = HEADERS[header](store)
        self._base, self._count = base, 0
        self._found: dict[object, list[str]] = {}
        self.whole = self.undisturbed()
        # A function of the header alone; zarr's event loop costs more than all the rest.
        other_files = {
            name: data for name, data in self.whole.items() if name.endswith("zarr.json")
        }
        type(STORES[store]).other_files = lambda *_: other_files
        # Fresh memory costs a forked process more than the work does.
        hdf5_store._GROWTH_BYTES = 2**16

    def undisturbed(self, **options: Any) -> Files:
        """The files of a finished cache that no accident befell."""
        scope = self.fresh()
        made = trace(scope, [self.body(scope, **options)])
        assert made.ends == {0: 0} and not refusals(made), made.reports()
        return files_below(self.root(scope))

    def fresh(self) -> Path:
        """An empty folder that nothing else uses."""
        self._count += 1
        scope = self._base / str(self._count)
        scope.mkdir()
        return scope

    def root(self, scope: Path) -> Path:
        """The cache in it: below a folder that the command has to make."""
        return scope / "new" / "a.fdet"

    def body(self, scope: Path, change: Change | None = None, **options: Any) -> Body:
        """The command for the tracer. change: made to its process before it begins."""

        def run(report: Callable[[str], None]) -> None:
            if change:
                change()
            try:
                write_cache(self.root(scope), self.header, report, **options)
            except FdetError as error:
                report(f"refused {type(error).__name__}: {error}")
            except Exception as error:
                frames = traceback.extract_tb(error.__traceback__)
                ours = [frame for frame in frames if "/cache/" in frame.filename][-1]
                report(f"bug {error!r} from {ours.filename}:{ours.lineno}")

        return run

    def trace(
        self, scope: Path, decide: Decide = go, results: bool = True, **options: Any
    ) -> Trace:
        """One writer with one accident."""
        return trace(scope, [self.body(scope, **options)], decide, results=results)

    def run(self, scope: Path, **options: Any) -> list[str]:
        """The command without accident; its reports."""
        reports: list[str] = []
        self.body(scope, **options)(reports.append)
        return reports

    def examine(
        self,
        scope: Path,
        reports: Iterable[str],
        again: Sequence[Options] = ({},),
        versions: Sequence[Files] = (),
        aside: bool = False,
    ) -> list[str]:
        """What is wrong after an accident, now or when the same command has run again; removes `scope`.

        reports: before the accident. again: the options of each command that is repeated. aside:
        whether files that were set aside may remain. The same state is looked at only once.
        """
        promised = acknowledged(reports)
        begun = {text for text in reports if text.startswith("begun")}
        state = (fingerprint(scope), frozenset(promised | begun), repr(again))
        if state not in self._found:
            found = problems(self.root(scope), self.header, [*versions, self.whole], promised)
            for options in again:
                found += [f"again: {why}" for why in self._repeat(scope, options, promised, begun)]
            found += [f"again: {why}" for why in self._unfinished(scope, aside)]
            self._found[state] = found
        shutil.rmtree(scope)
        return self._found[state]

    def _repeat(
        self, scope: Path, options: Options, promised: set[str], begun: set[str]
    ) -> list[str]:
        reports = self.run(scope, **options)
        wrong = [text for text in reports if text.startswith(FAILURES)]
        if len(begun.intersection(reports)) > 1:
            wrong.append("more than one shard is done again")
        if not options.get("retry"):
            wrong += [f"{n} is done again" for n in sorted(promised) if f"begun {n}" in reports]
        return wrong

    def _unfinished(self, scope: Path, aside: bool) -> list[str]:
        root = self.root(scope)
        hidden = [p.name for p in root.rglob(".*") if not (aside and ".aside-" in p.name)]
        wrong = [f"{name} is left over" for name in hidden]
        return wrong if files_below(root) == self.whole else [*wrong, "it ends with other bytes"]

    @property
    def states(self) -> int:
        """How many different ones were looked at."""
        return len(self._found)

    def visible(self, tree: Tree) -> Files:
        """The cache's files in a model's tree."""
        prefix = "new/a.fdet/"
        return {
            name.removeprefix(prefix): data
            for name, data in tree.items()
            if name.startswith(prefix) and data is not None and "/." not in name
        }


def fingerprint(root: Path) -> str:
    """Of everything below a folder; of hidden files their names alone, which are all that counts."""
    hashed = hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            data = b"" if name.startswith(".") and ".aside-" not in name else path.read_bytes()
            hashed.update(f"{path.relative_to(root)} {len(data)}\n".encode() + data)
        hashed.update(f"{Path(folder).relative_to(root)}/\n".encode())
    return hashed.hexdigest()


def refusals(made: Trace) -> list[str]:
    """The errors that came out of the command."""
    return [text for text in made.reports() if text.startswith(FAILURES)]


def follow(disk: Disk, made: Trace) -> Disk:
    """The disk after a whole trace."""
    disk.begin()
    for call in made.calls:
        disk.follow(call)
    return disk
