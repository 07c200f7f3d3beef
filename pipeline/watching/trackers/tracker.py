"""The interface of trackers, which show a run's figures and pictures elsewhere.

metrics.jsonl has every figure in any case. A tracker's files on this machine lie in RUN/<its name>/, with
the id under which a resumed run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ....cache.disk.files import read_below
from ....cache.disk.publish import publish_bytes
from ..events import Event, Hook

MAX_ID_BYTES = 512
# Numbers of an evaluation that never change.
_COUNTS = "objects", "sizes"


class Tracker(Protocol):
    """An open tracker of one run. Its methods may fail with whatever the package behind them raises."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log figures at a step, by names such as train/loss; a resumed run may repeat a step."""

    def picture(self, step: int, name: str, png: bytes) -> None:
        """Log a picture at a step, by a name such as pictures/17."""

    def close(self, finished: bool) -> None:
        """Send what is left to send. finished: whether the run came to its end."""


Opener = Callable[[Path, Mapping[str, Any], bool], Tracker]
"""A function from (run folder, sections of the configuration, whether the run is resumed) to a tracker."""


def tracker_hook(tracker: Tracker) -> Hook:
    """Return a hook that passes the figures of every event to a tracker."""

    def track(event: Event) -> None:
        tracker.scalars(event.step, scalars(event.line))

    return track


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line of the log by name.

    The names are such as train/loss, train/losses/box, eval/ap and eval/per_class/<name>.
    """
    figures = {
        name: value for name, value in line.items() if name not in ("kind", "step", "metrics")
    }
    metrics = line.get("metrics", {})
    measured = {name: value for name, value in metrics.items() if name not in _COUNTS}
    named = flat({**figures, **measured}, "/")
    return {f"{line['kind']}/{name}": value for name, value in named if type(value) in (int, float)}


def flat(values: Mapping[str, Any], separator: str) -> Iterator[tuple[str, Any]]:
    """Yield (outer<separator>inner, value) for all values of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}{separator}{inner}", v) for inner, v in flat(value, separator))
        else:
            yield name, value


def kept_id(run: Path, tracker: str) -> str | None:
    """Return the id under which a tracker knows this run, or None where it has not seen the run."""
    path = f"{tracker}/id"
    return read_below(run, path, MAX_ID_BYTES).decode() if (run / path).is_file() else None


def keep_id(run: Path, tracker: str, run_id: str) -> None:
    """Keep the id under which a tracker knows this run for --resume. Raises StorageError."""
    publish_bytes(run / tracker / "id", run_id.encode(), existing="replace")
