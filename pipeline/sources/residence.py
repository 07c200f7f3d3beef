"""The choice of the memory in which encoded samples are kept after their first reading, if in any."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from ...cache.disk.sizes import megabytes
from ...cache.errors import InputError
from ...cache.format.header import CacheHeader
from ...cache.resident import ResidentSamples, resident_bytes
from .kinds import Residence

log = logging.getLogger(__name__)

# The shares of the free memory to use at most; the rest is for the head, the page cache and other processes.
_RAM_SHARE = 0.5
_DEVICE_SHARE = 0.3
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def resident_samples(
    choice: Residence,
    header: CacheHeader,
    device: torch.device,
    sharing: int = 1,
    room: int | None = None,
    others: Sequence[CacheHeader] = (),
) -> ResidentSamples | None:
    """Return room for all samples in the chosen memory, or None where they are not to be kept.

    "auto" chooses the device's memory, then the machine's, if the samples fit. sharing: the number of
    processes of this machine that do the same. room: the number of bytes that "auto" may take of the device's
    memory, which is the machine's for a CPU. others: the headers of caches that are read along with this one.
    Raises InputError where "device" or "ram" is chosen and the samples do not fit.
    """
    needed = resident_bytes(header, *others)
    wanted = {"device": needed, "ram": needed * sharing}
    rooms = {"device": (device, _DEVICE_SHARE), "ram": (torch.device("cpu"), _RAM_SHARE)}
    if choice == "none":
        return None
    if choice == "auto":
        for name, (where, share) in rooms.items():
            if name == "device" and device.type == "cpu":
                continue
            if room is not None and where.type == device.type and needed > room:
                continue
            if wanted[name] <= share * free_memory(where):
                log.info("samples stay in memory (%s): %s", name, megabytes(needed))
                return ResidentSamples(header, where, *others)
        return None
    where = rooms[choice][0]
    if wanted[choice] > (free := free_memory(where)):
        raise InputError(
            f"--resident {choice}: the samples need {wanted[choice] / 1e9:.2f} GB, {free / 1e9:.2f} GB are "
            "free; use --resident auto or none"
        )
    return ResidentSamples(header, where, *others)


def free_memory(device: torch.device) -> int:
    """Return how many bytes this process may still take of the device, or of the machine (and its cgroup)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [_field(_MEMINFO, "MemAvailable:") * 1024]
    limit, used = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        # Cached pages of files that were not used lately count as used, but are freed when needed.
        free.append(max(0, limit - used + _field(_CGROUP / "memory.stat", "inactive_file")))
    return min(free)


def _field(path: Path, name: str) -> int:
    """Return the number that follows a name at the beginning of a line, 0 where there is none."""
    if path.exists():
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == name:
                return int(words[1])
    return 0


def _number(path: Path) -> int | None:
    """Return the number in a file, or None where there is no such file or it names no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
