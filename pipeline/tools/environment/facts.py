"""What was found out about this machine, as values; `asdict` of an Environment is the JSON of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...machines.disk import Disk

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and what to do about it, in a sentence.

    An error keeps fdet, or the folder, from being used. A warning is worth a look.
    """

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class System:
    """The interpreter and the machine. cores: those that this process may use. memory: bytes."""

    python: str
    executable: str
    platform: str
    processor: str
    cores: int
    memory: int
    memory_available: int
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Library:
    """A library that fdet asks for.

    version: the installed one, None where there is none. wanted: the versions that fdet asks for. extra: the
    extra that it belongs to, "" for a library that fdet always needs.
    """

    name: str
    version: str | None
    wanted: str
    extra: str
    fits: bool


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A device that torch found. memory: bytes."""

    name: str
    memory: int
    capability: str


@dataclass(frozen=True, slots=True)
class Torch:
    """What torch computes on. built_for: "cpu", or its version of CUDA or ROCm. device: the one chosen.

    precision: that which `auto` means on the device.
    """

    version: str
    built_for: str
    threads: int
    device: str
    precision: str
    accelerators: tuple[Accelerator, ...]


@dataclass(frozen=True, slots=True)
class FoundWeights:
    """Weights of a backbone on this machine. source: the package that has them, or the cache of downloads."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that was found. torch, disk: None where they could not be examined; a problem says why."""

    fdet: str
    folder: str
    system: System
    torch: Torch | None
    disk: Disk | None
    weights: tuple[FoundWeights, ...]
    libraries: tuple[Library, ...]
    problems: tuple[Problem, ...]


def without_home(path: Path | str) -> str:
    """Return a path as text with ~ for the home folder, whose name is nobody's business in a report."""
    text, home = str(path), str(Path.home())
    inside = home != "/" and (text == home or text.startswith(f"{home}/"))
    return f"~{text[len(home) :]}" if inside else text
