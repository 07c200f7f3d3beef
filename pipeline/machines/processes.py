"""The processes that train one model together, as torchrun or SLURM started them; usually a single one.

Gradients are summed here, not by a data-parallel wrapper, so that the sum over the micro-batches of all
processes is the gradient of the whole batch, however its images are distributed.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from ...cache.errors import FdetError, InputError
from .devices import pick_device
from .world import World, find_world

T = TypeVar("T")
# Of the ports that no service is registered for.
_FIRST_PORT = 15_000
_PORTS = 15_000


class Group(Protocol):
    """A connection between several processes."""

    def sum_(self, tensor: Tensor) -> None:
        """Sum a tensor over all processes, in place."""

    def shared(self, value: T, rank: int) -> T:
        """Return the value that process number `rank` has."""


class _TorchGroup:
    """The default group of torch.distributed."""

    def sum_(self, tensor: Tensor) -> None:
        distributed.all_reduce(tensor)

    def shared(self, value: T, rank: int) -> T:
        values = [value]
        distributed.broadcast_object_list(values, src=rank)
        return values[0]


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them.

    world: this process among them. device: the one that it computes on. on_machine: how many share this
    machine's memory. group: what connects them; None for one process alone.
    """

    world: World
    device: torch.device
    on_machine: int = 1
    group: Group | None = None

    @property
    def first(self) -> bool:
        """Return whether this is the first process, which is the one that writes."""
        return self.world.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, in place."""
        if self.group is not None:
            self.group.sum_(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in at least one process."""
        if self.group is None:
            return flag
        return bool(self.sum_(torch.tensor(float(flag), device=self.device)))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Set the gradient of each parameter to its sum over all processes; a missing one counts as 0."""
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        if self.group is None:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.sum_(torch.cat([g.reshape(-1) for g in gradients]))
        parts = torch.split(flat, [g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def share_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace the tensors of all processes by those of the first, in place and on the device."""
        if self.group is None:
            return
        for tensor in tensors:
            if not self.first:
                tensor.zero_()
            self.sum_(tensor)

    def of_first(self, value: T) -> T:
        """Return the value of the first process."""
        return value if self.group is None else self.group.shared(value, 0)

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their ranks."""
        if self.group is None:
            return [value]
        return [self.group.shared(value, rank) for rank in range(self.world.size)]

    def by_first(self, action: Callable[[], T]) -> T:
        """Run an action in the first process, and return its result in all; all raise its FdetError."""
        done: T | FdetError | None = None
        if self.first:
            try:
                done = action()
            except FdetError as error:
                done = error
        done = self.of_first(done)
        if isinstance(done, FdetError):
            raise done
        return cast(T, done)


def join_processes(device: str, environment: Mapping[str, str] = os.environ) -> Processes:
    """Return this process alone, or together with the other processes that the launcher started.

    device: the value of --device. Raises InputError.
    """
    world = find_world(None, None, environment)
    if world.size == 1:
        return Processes(world, pick_device(device))
    on = pick_device(device, world.local_rank)
    here = _on_machine(world, environment)
    if on.type == "cuda" and (here > torch.cuda.device_count() or on.index != world.local_rank):
        raise InputError(
            f"--device {device}: each of the {here} processes on this machine takes a device of its "
            f"own; expected auto, and {here} devices, got {torch.cuda.device_count()}"
        )
    if on.type == "cuda":
        torch.cuda.set_device(on)
    # A second training of the same processes finds the group of the first.
    if not distributed.is_initialized():
        distributed.init_process_group(
            "nccl" if on.type == "cuda" else "gloo",
            init_method=f"tcp://{main_address(environment)}:{main_port(environment)}",
            world_size=world.size,
            rank=world.rank,
        )
        # The threads of Gloo must end before the interpreter does, or they abort it.
        atexit.register(_leave)
    return Processes(world, on, here, _TorchGroup())


def main_address(environment: Mapping[str, str]) -> str:
    """Return where the first process listens: MASTER_ADDR, or the first node of SLURM's step."""
    if "MASTER_ADDR" in environment:
        return environment["MASTER_ADDR"]
    nodes = environment.get("SLURM_STEP_NODELIST", "127.0.0.1")
    # far[08-10,12]-ib,near -> far08-ib
    name, bracket, rest = nodes.partition("[")
    if not bracket or "," in name:
        return name.split(",")[0]
    numbers, _, after = rest.partition("]")
    return name + re.split("[,-]", numbers)[0] + after.split(",")[0]


def main_port(environment: Mapping[str, str]) -> int:
    """Return MASTER_PORT, or a port that two steps of a cluster hardly ever share."""
    if "MASTER_PORT" in environment:
        return int(environment["MASTER_PORT"])
    job, step = (int(environment.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return _FIRST_PORT + (101 * job + step) % _PORTS


def _leave() -> None:
    """Leave the process group, if it still exists."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _on_machine(world: World, environment: Mapping[str, str]) -> int:
    """Return the number of processes on this machine, as torchrun or srun sets it.

    It must be the same on each machine. srun's SLURM_STEP_TASKS_PER_NODE is "4" or "4(x2)", or
    "4(x2),3" where they differ. Raises InputError.
    """
    given = environment.get("LOCAL_WORLD_SIZE") or environment.get("SLURM_STEP_TASKS_PER_NODE")
    found = re.fullmatch(r"(\d+)(\(x\d+\))?", given or str(world.size))
    here = int(found[1]) if found else 0
    if here < 1 or world.size % here:
        raise InputError(
            f"{world.size} processes, {given} on a machine: expected the same number on each; "
            "start them with torchrun --nproc-per-node, or srun --ntasks-per-node"
        )
    return here
