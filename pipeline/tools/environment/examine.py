"""The examination of an installation. What is broken is a problem in the result, never an exception."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from ....cache.errors import FdetError
from ...machines.disk import Disk, measure_disk
from . import software
from .facts import Environment, FoundWeights, Problem, Torch, without_home
from .options import DoctorOptions

# What is written to measure the disk: so many bytes, but not for longer than these seconds.
WRITTEN, SECONDS = 2**28, 2.0
# Below these a disk is mentioned: bytes that are free, and bytes per second of writing.
LITTLE_ROOM, SLOW = 10e9, 50e6


def examine(options: DoctorOptions) -> Environment:
    """Examine the installation, the device and the disk."""
    libraries = software.libraries()
    torch, weights, of_torch = _torch(options.device)
    disk, of_disk = _disk(options.folder)
    return Environment(
        import_module(__package__.partition(".")[0]).__version__,
        without_home(Path(__file__).parents[3]),
        software.system(),
        torch,
        disk,
        weights,
        libraries,
        (*software.problems_of(libraries), *of_torch, *of_disk),
    )


def _torch(device: str) -> tuple[Torch | None, tuple[FoundWeights, ...], list[Problem]]:
    """Return what torch says of itself, the weights, and what is wrong with either."""
    try:
        from . import torches

        weights = torches.weights_found()
    except Exception as error:  # A torch that does not fit its libraries fails in many ways.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        return None, (), [Problem("error", f"torch cannot be imported: {reason}")]
    try:
        facts = torches.torch_facts(device)
    except FdetError as error:
        return None, weights, [Problem("error", str(error))]
    return facts, weights, list(torches.problems_of(facts))


def _disk(folder: Path) -> tuple[Disk | None, list[Problem]]:
    try:
        disk = measure_disk(folder.absolute(), WRITTEN, seconds=SECONDS, option="--folder")
    except (FdetError, OSError) as error:
        return None, [Problem("error", without_home_within(str(error)))]
    return replace(disk, folder=without_home(disk.folder)), list(problems_of(disk))


def without_home_within(text: str) -> str:
    """Return a sentence with ~ for the home folder in its paths."""
    return " ".join(without_home(word) for word in text.split(" "))


def problems_of(disk: Disk) -> Iterator[Problem]:
    """Yield what makes a disk a bad place for caches."""
    where = without_home(disk.folder)
    if disk.in_memory:
        what = f"{where} lies in memory ({disk.file_system})"
        yield Problem("warning", f"{what}: a cache there is lost when the machine is restarted")
    if disk.free < LITTLE_ROOM:
        what = f"{where} has {disk.free / 1e9:.1f} GB free"
        yield Problem("warning", f"{what}: `fdet plan` says how much a cache needs")
    if disk.sustained < SLOW:
        what = f"{where} writes {disk.sustained / 1e6:.0f} MB/s"
        yield Problem("warning", f"{what}: extractions will wait for it; choose another disk")
