"""The files in the folder of an audit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# The folders below that of the audit.
FOLDS, PICTURES = "folds", "pictures"
SETTINGS, LIST, TABLE, PAGE = "config.toml", "audit.json", "audit.csv", "audit.html"


@dataclass(frozen=True, slots=True)
class FoldPaths:
    """The paths of a fold's files: the annotations of the images it trains on, the run, and its log."""

    folder: Path

    @classmethod
    def of(cls, out: Path, number: int) -> FoldPaths:
        """Return the paths of a fold by its number, from 1 on."""
        return cls(out / FOLDS / str(number))

    @property
    def annotations(self) -> Path:
        return self.folder / "train.json"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def found(self, weights: str) -> Path:
        """Return the file with what the head of these weights, by their sha256, found."""
        return self.folder / f"found-{weights[:16]}.npz"
