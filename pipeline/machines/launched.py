"""The environment, for Lightning Fabric, of processes that torchrun or srun has started.

Fabric's own reader of SLURM's variables knows only sbatch with --ntasks-per-node: in an allocation made by
`salloc`, every task of a step would start copies of itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from .world import World

_FIRST_PORT = 15_000
_PORTS = 15_000


class Launched(ClusterEnvironment):
    """An environment whose processes a launcher has started; `world` says which of them this one is."""

    def __init__(self, world: World, on_machine: int, environment: Mapping[str, str]) -> None:
        super().__init__()
        self._world, self._on_machine, self._variables = world, on_machine, environment

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        """The value of MASTER_ADDR, or the first node of SLURM's step."""
        if "MASTER_ADDR" in self._variables:
            return self._variables["MASTER_ADDR"]
        nodes = self._variables.get("SLURM_STEP_NODELIST", "127.0.0.1")
        return str(SLURMEnvironment.resolve_root_node_address(nodes))

    @property
    def main_port(self) -> int:
        """The value of MASTER_PORT, or a port that two steps of a cluster hardly ever share."""
        if "MASTER_PORT" in self._variables:
            return int(self._variables["MASTER_PORT"])
        job, step = (
            int(self._variables.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")
        )
        return _FIRST_PORT + (101 * job + step) % _PORTS

    @staticmethod
    def detect() -> bool:
        """Return False, since this environment is chosen explicitly and never detected."""
        return False

    def world_size(self) -> int:
        return self._world.size

    def set_world_size(self, size: int) -> None:
        """Do nothing, since the launcher has set the size."""

    def global_rank(self) -> int:
        return self._world.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing, since the launcher has set the rank."""

    def local_rank(self) -> int:
        return self._world.local_rank

    def node_rank(self) -> int:
        return self._world.rank // self._on_machine
