"""A Ray cluster: reached, or started for this run alone on this machine; without telemetry or dashboard."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...cache.errors import InputError

# Of a cluster that answers at all.
PATIENCE_SECONDS = 5.0
# Workers return records: a few kB.
_OBJECT_STORE_BYTES = 2**27


@dataclass(frozen=True, slots=True)
class RayPlace:
    """address: HOST:PORT, "auto" for the cluster that runs on this machine, None for RAY_ADDRESS's, or one
    started for this run. workers: at most, None for as many as there is room for; cpus, gpus: that each
    claims; gpus None: one where the cluster has any.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    gpus: float | None = None

    def check(self, cpus: str, gpus: str) -> None:
        """cpus, gpus: what the options are called. Raises InputError."""
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--ray-workers: expected at least 1, got {self.workers}")
        if self.cpus < 1:
            raise InputError(f"{cpus}: expected at least 1, got {self.cpus}")
        whole = self.gpus is None or self.gpus == int(self.gpus)
        if self.gpus is not None and (self.gpus < 0 or (self.gpus > 1 and not whole)):
            raise InputError(f"{gpus}: expected 0, a part of 1, or a whole number, got {self.gpus}")


def import_ray() -> Any:
    """Raises InputError where it is not installed."""
    # Read when Ray is imported, or handed on to what it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Whoever claims no accelerator sees none, also in Rays to come.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            f"--engine ray: Ray cannot be imported ({error}); pip install 'frozendet[ray]'"
        ) from error


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected; what was connected before stays so. Raises InputError."""
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
            f"--ray-address {address}: no Ray cluster to be had ({first}); on a machine of the cluster, give "
            "the HOST:PORT that `ray start --head` told"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def check_reachable(address: str | None) -> None:
    """Raises InputError soon, where Ray itself would try for a minute."""
    if address in (None, "local", "auto"):
        return
    assert address is not None
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise InputError(
            f"--ray-address {address!r}: expected HOST:PORT, as `ray start --head` told it, or auto"
        )
    try:
        socket.create_connection((host, int(port)), PATIENCE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--ray-address {address}: nothing answers there ({error}); start the head with `ray start "
            "--head` and look whether this machine reaches it"
        ) from error


def needs_of(ray: Any, place: RayPlace, *, accelerators: bool = True) -> dict[str, float]:
    """What a worker claims of its node. accelerators: whether it is to have one at all."""
    gpus = place.gpus
    if gpus and not accelerators:
        raise InputError(f"--device cpu: a worker uses no GPU, but claims {gpus:g}; leave one out")
    if gpus is None:
        gpus = 1.0 if accelerators and ray.cluster_resources().get("GPU") else 0.0
    return {"CPU": float(place.cpus), "GPU": gpus if accelerators else 0.0}


def room(ray: Any, needs: Mapping[str, float]) -> int:
    """How many workers the nodes that are there would hold, were they idle."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        min(int(node.get(name, 0.0) / need + 1e-6) for name, need in needs.items() if need)
        for node in alive
    )
