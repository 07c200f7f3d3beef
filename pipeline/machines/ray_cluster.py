"""The connection to a Ray cluster, or the start of one on this machine for this run alone.

There is no telemetry, and a cluster started here has no dashboard.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...cache.errors import InputError

# The time within which a reachable cluster accepts a connection.
PATIENCE_SECONDS = 5.0
# Workers return only records of a few kB.
_OBJECT_STORE_BYTES = 2**27


@dataclass(frozen=True, slots=True)
class RayOptions:
    """The Ray cluster to use, and how many workers to start there.

    address: HOST:PORT, "auto" for the cluster that runs on this machine, or None for that of RAY_ADDRESS,
    else for one started for this run. workers: the maximum number of workers, None for as many as there is
    room for. cpus, gpus: the numbers that each worker claims; gpus None: one where the cluster has any.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    gpus: float | None = None

    def check(self, cpus: str, gpus: str) -> None:
        """Check the values. Raises InputError.

        cpus, gpus: the names of the options, for messages.
        """
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--ray-workers: expected at least 1, got {self.workers}")
        if self.cpus < 1:
            raise InputError(f"{cpus}: expected at least 1, got {self.cpus}")
        whole = self.gpus is None or self.gpus == int(self.gpus)
        if self.gpus is not None and (self.gpus < 0 or (self.gpus > 1 and not whole)):
            raise InputError(f"{gpus}: expected 0, a part of 1, or a whole number, got {self.gpus}")


def import_ray() -> Any:
    """Import Ray. Raises InputError where it is not installed."""
    # Ray reads this on import and hands it on to the processes that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A worker that claims no accelerator then sees none, also in later versions of Ray.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            f"--engine ray: Ray cannot be imported ({error}); pip install 'frozendet[ray]'"
        ) from error


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Yield the module `ray`, connected; a connection that existed before stays open. Raises InputError."""
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    check_reachable(address)
    more: dict[str, Any] = {}
    if address == "local":
        more = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **more)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        first = str(error).strip().split("\n")[0]
        raise InputError(
            f"--ray-address {address}: no Ray cluster found ({first}); on a machine of the cluster, give "
            "the HOST:PORT that `ray start --head` printed"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def check_reachable(address: str | None) -> None:
    """Raise InputError soon for an address that does not answer; Ray itself would try for a minute."""
    if address in (None, "local", "auto"):
        return
    assert address is not None
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise InputError(
            f"--ray-address {address!r}: expected HOST:PORT, as `ray start --head` prints it, or auto"
        )
    try:
        socket.create_connection((host, int(port)), PATIENCE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--ray-address {address}: nothing answers there ({error}); start the head with `ray start "
            "--head` and check that this machine can reach it"
        ) from error


def needs_of(ray: Any, place: RayOptions, *, accelerators: bool = True) -> dict[str, float]:
    """Return the resources that a worker claims of its node. Raises InputError.

    accelerators: whether a worker may have any.
    """
    gpus = place.gpus
    if gpus and not accelerators:
        raise InputError(f"--device cpu: a worker uses no GPU, but claims {gpus:g}; leave one out")
    if gpus is None:
        gpus = 1.0 if accelerators and ray.cluster_resources().get("GPU") else 0.0
    return {"CPU": float(place.cpus), "GPU": gpus if accelerators else 0.0}


def room(ray: Any, needs: Mapping[str, float]) -> int:
    """Return how many workers the nodes of the cluster would have room for if they were idle."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        min(int(node.get(name, 0.0) / need + 1e-6) for name, need in needs.items() if need)
        for node in alive
    )
