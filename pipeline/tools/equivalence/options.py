"""Which samples of a cache are checked, where, and how closely; each default stands here alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ....cache.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivalenceOptions:
    """samples: at least so many are computed again, drawn from `seed`. steps: of training.

    device: None for the kind that the cache was made on; threads: None for its number. elsewhere: the
    cache was made on another processor, so equal bits are not asked for.
    """

    images: Path
    annotations: Path | None = None
    samples: int = 32
    steps: int = 4
    seed: int = 0
    weights: str | None = None
    device: str | None = None
    threads: int | None = None
    elsewhere: bool = False

    def check(self) -> None:
        """Raises InputError."""
        for name, least in (("samples", 1), ("steps", 1), ("seed", 0)):
            value = getattr(self, name)
            if not least <= value < 2**63:
                raise InputError(f"--{name}: expected at least {least}, got {value}")
        if not self.images.is_dir():
            raise InputError(f"--images {self.images}: no such folder")
