"""The number of this process among several, from options or from the variables of a launcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...cache.errors import InputError

# The variables for (rank, size, rank on this machine) of torchrun, and of a step that srun started.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
)


@dataclass(frozen=True, slots=True)
class World:
    """The number of this process among `size` processes, and among those of this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"--world: expected at least 1, got {self.size}")
        if not 0 <= self.rank < self.size:
            raise InputError(f"--rank: expected 0 to {self.size - 1}, got {self.rank}")
        if self.local_rank < 0:
            raise InputError(f"local rank: expected at least 0, got {self.local_rank}")

    def owns(self, number: int) -> bool:
        """Return whether this process is the one to do task `number`."""
        return number % self.size == self.rank

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"


def find_world(rank: int | None, size: int | None, environment: Mapping[str, str]) -> World:
    """Find the world by --rank and --world, else by the variables of torchrun or srun.

    Without either it is one process alone. Raises InputError.
    """
    if (rank is None) != (size is None):
        raise InputError("--rank and --world belong together; give both or neither")
    if rank is not None and size is not None:
        return World(rank, size)
    for names in _LAUNCHERS:
        if names[0] in environment and names[1] in environment:
            values = [environment.get(name, "0") for name in names]
            given = ", ".join(f"{n}={v}" for n, v in zip(names, values, strict=True))
            try:
                return World(*map(int, values))
            except ValueError:
                raise InputError(
                    f"the launcher's variables are not numbers: {given}; give --rank and --world"
                ) from None
            except InputError as error:
                raise InputError(f"the launcher's variables ({given}): {error}") from None
    return World()


def without_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process that is not one of those that torchrun or srun started."""
    names = {name for launcher in _LAUNCHERS for name in launcher}
    return {name: value for name, value in environment.items() if name not in names}
