"""ablation.json: the state of each trial of a folder, published after every group.

Whether a trial is finished is read from its run directory; the file has what that cannot know: why a trial
failed or was pruned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ....cache.disk.files import read_below
from ....cache.disk.publish import publish_bytes
from ....cache.errors import CorruptCache, FdetError
from ....cache.format.sealed import canonical_json, parse_json
from ...runs import history
from ...runs.config import RunConfig
from .trials import Trial

NAME = "ablation.json"
# The folder of the runs.
RUNS = "runs"
FORMAT = 1
MAX_BYTES = 2**28
Status = Literal["waiting", "finished", "failed", "pruned"]


@dataclass(frozen=True, slots=True)
class Entry:
    """The state of a trial. log: its log, below the folder. planned: whether the plan still has the trial."""

    digest: str
    labels: Mapping[str, str]
    seed: int
    status: Status = "waiting"
    reason: str = ""
    log: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    planned: bool = True


@dataclass
class State:
    """The state of a folder. entries: the state of each trial, by digest."""

    out: Path
    entries: dict[str, Entry]

    @classmethod
    def read(cls, out: Path) -> State:
        """Read the state of a folder, which is empty where nothing was run. Raises CorruptCache."""
        path = out / NAME
        if not path.is_file():
            return cls(out, {})
        data = parse_json(read_below(out, NAME, MAX_BYTES), path)
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}, expected {FORMAT}")
            entries = [Entry(**entry) for entry in data["trials"]]
            if not all(entry.status in get_args(Status) for entry in entries):
                raise ValueError("an unknown status")
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptCache(f"{path}: unreadable ({error!r}); choose another --out") from error
        return cls(out, {entry.digest: entry for entry in entries})

    def take(self, trials: Sequence[Trial], retried: Collection[Status] = ()) -> None:
        """Take over the plan's trials as they stand, and keep the entries of those that it no longer has.

        retried: the statuses whose trials wait once more.
        """
        mine = {trial.digest for trial in trials}
        others = {d: replace(e, planned=False) for d, e in self.entries.items() if d not in mine}
        own = {trial.digest: self._entry_of(trial, retried) for trial in trials}
        self.entries = own | others

    def _entry_of(self, trial: Trial, retried: Collection[Status]) -> Entry:
        entry = Entry(
            trial.digest, dict(trial.labels), trial.seed, settings=_settings(trial.config)
        )
        before = self.entries.get(trial.digest, entry)
        if is_finished(self.folder(trial)):
            return replace(entry, status="finished", log=before.log)
        if before.status not in {"failed", "pruned"} - set(retried):
            return entry
        return replace(entry, status=before.status, reason=before.reason, log=before.log)

    def folder(self, trial: Trial) -> Path:
        return self.out / RUNS / trial.id

    def status(self, trial: Trial) -> Status:
        return self.entries[trial.digest].status

    def note(self, trial: Trial, status: Status, reason: str, log: str) -> None:
        """Record how a trial ended; `write` puts it on the disk."""
        entry = self.entries[trial.digest]
        self.entries[trial.digest] = replace(entry, status=status, reason=reason, log=log)

    def write(self) -> None:
        trials = [asdict(entry) for entry in self.entries.values()]
        data = canonical_json({"format": FORMAT, "trials": trials})
        publish_bytes(self.out / NAME, data, existing="replace")


def is_finished(run: Path) -> bool:
    """Return whether a run directory holds a complete run; a damaged one does not."""
    try:
        return history.is_finished(run)
    except FdetError:
        return False


def _settings(config: RunConfig) -> dict[str, Any]:
    """Return all settings by full name."""
    sections = config.to_mapping().items()
    return {
        f"{section}.{name}": value for section, values in sections for name, value in values.items()
    }
