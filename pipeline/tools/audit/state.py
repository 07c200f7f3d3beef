"""state.json: what an audit is of. A folder goes on with the same audit alone.

It is published before the first fold is trained. Which folds are finished is read from their folders.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ....cache.disk.publish import publish_bytes
from ....cache.errors import CorruptCache, InputError
from ....cache.format.json_values import text_of, whole_of
from ....cache.format.sealed import read_sealed, sealed_json
from ...sources.kinds import CACHED

NAME = "state.json"
FORMAT = 1
MAX_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class State:
    """The inputs that the folds of an audit depend on.

    config: the digest of the settings. cache, second: the ids of the caches, "none" without a second one.
    annotations: their sha256. source: the source of the pyramids, which older states lack, as it was the
    cache.
    """

    config: str
    cache: str
    second: str
    annotations: str
    folds: int
    seed: int
    source: str = CACHED

    @classmethod
    def read(cls, out: Path) -> State | None:
        """Return the state in a folder, None where there is none. Raises CorruptCache, StorageError."""
        path = out / NAME
        if not path.exists():
            return None
        data = read_sealed(out, NAME, MAX_BYTES)
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}, expected {FORMAT}")
            return cls(
                text_of(data["config"]),
                text_of(data["cache"]),
                text_of(data["second"]),
                text_of(data["annotations"]),
                whole_of(data["folds"]),
                whole_of(data["seed"]),
                text_of(data.get("source", CACHED)),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise CorruptCache(f"{path}: unreadable ({error}); choose another --out") from error

    def write(self, out: Path) -> None:
        """Publish the state. Raises StorageError."""
        publish_bytes(out / NAME, sealed_json({"format": FORMAT, **asdict(self)}))

    def check_same(self, now: State, out: Path, settings: str = "") -> None:
        """Raise InputError where a folder with this state is to be filled with another audit.

        settings: those of the run that have changed, as far as they are known.
        """
        found = [
            f"{what} differ{f' ({settings})' if name == 'config' and settings else ''}"
            for name, what in (
                ("config", "the settings of the run"),
                ("cache", "the features of the cache"),
                ("second", "the features of the second cache"),
                ("annotations", "the annotations"),
                ("source", "the sources (--source of the run)"),
            )
            if getattr(self, name) != getattr(now, name)
        ]
        found += [
            f"--{name} was {before}, is {after}"
            for name in ("folds", "seed")
            if (before := getattr(self, name)) != (after := getattr(now, name))
        ]
        if found:
            raise InputError(
                f"--out {out}: it holds another audit: {'; '.join(found)}; choose another"
            )
