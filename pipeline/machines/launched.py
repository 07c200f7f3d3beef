"""Where the processes of a run meet, for Lightning Fabric: as torchrun or srun started them.

Fabric's own readers of SLURM's variables know sbatch with --ntasks-per-node alone: in an allocation
that `salloc` made, every task of a step would start copies of itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from .world import World

_FIRST_PORT = 15_000
_PORTS = 15_000


class Launched(ClusterEnvironment):
    """Somebody else has started all processes; `world` says which this one is."""

    def __init__(self, world: World, on_machine: int, environment: Mapping[str, str]) -> None:
        super().__init__()
        self._world, self._on_machine, self._variables = world, on_machine, environment

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        """MASTER_ADDR, or the first node of SLURM's step."""
        if "MASTER_ADDR" in self._variables:
            return self._variables["MASTER_ADDR"]
        nodes = self._variables.get("SLURM_STEP_NODELIST", "127.0.0.1")
        return str(SLURMEnvironment.resolve_root_node_address(nodes))

    @property
    def main_port(self) -> int:
        """MASTER_PORT, or one that two steps of a cluster hardly share."""
        if "MASTER_PORT" in self._variables:
            return int(self._variables["MASTER_PORT"])
        job, step = (
            int(self._variables.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")
        )
        return _FIRST_PORT + (101 * job + step) % _PORTS

    @staticmethod
    def detect() -> bool:
        """It is chosen, never found."""
        return False

    def world_size(self) -> int:
        return self._world.size

    def set_world_size(self, size: int) -> None:
        """The launcher has set it."""

    def global_rank(self) -> int:
        return self._world.rank

    def set_global_rank(self, rank: int) -> None:
        """The launcher has set it."""

    def local_rank(self) -> int:
        return self._world.local_rank

    def node_rank(self) -> int:
        return self._world.rank // self._on_machine
