"""A cluster of simulated nodes on this machine, by Ray's own means; nothing of it is left behind."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_MEMORY = {"object_store_memory": 80 * 2**20}
# A node that is lost is missed within two seconds.
_QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


class Cluster:
    """A head that takes no work, and nodes that come and go."""

    def __init__(self) -> None:
        from ray import cluster_utils

        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": _QUICK, **_MEMORY}
        self._cluster: Any = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        self._nodes: list[Any] = []

    @property
    def address(self) -> str:
        return self._cluster.address

    def add(self) -> None:
        """A node with room for one worker."""
        self._nodes.append(self._cluster.add_node(num_cpus=1, **_MEMORY))

    def lose(self) -> None:
        """The oldest node: killed, with all that runs on it."""
        self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)

    def empty(self) -> None:
        while self._nodes:
            self.lose()

    def close(self) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Skips by name without Ray."""
    pytest.importorskip("ray", reason="ray is not installed")
    # Sockets have names of at most 107 bytes.
    folder = tempfile.mkdtemp(prefix="fr-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        started = Cluster()
        try:
            yield started
        finally:
            started.close()
            shutil.rmtree(folder, ignore_errors=True)
