"""The processes that train one model together, as torchrun or SLURM started them; usually a single one.

Lightning Fabric deals with launchers, devices and nodes. Gradients are summed here, not in its
data-parallel wrapper, so that the sum over the micro-batches of all processes is the gradient of the whole
batch, however its images are distributed.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from ...cache.errors import FdetError, InputError
from .devices import pick_device
from .world import World, find_world

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """All processes of a run, seen from this one.

    world: the number of this process among them. device: its device. on_machine: how many processes share
    the memory of this machine. fabric: the Lightning Fabric that connects them, None for a single process.
    """

    world: World
    device: torch.device
    on_machine: int = 1
    fabric: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the first process, which is the one that writes."""
        return self.world.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, in place."""
        if self.fabric is None:
            return tensor
        summed: Tensor = self.fabric.all_reduce(tensor, reduce_op="sum")
        return tensor.copy_(summed)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in at least one process."""
        if self.fabric is None:
            return flag
        return bool(self.sum_(torch.tensor(float(flag), device=self.device)))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Set the gradient of each parameter to its sum over all processes; a missing one counts as 0."""
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        if self.fabric is None:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.sum_(torch.cat([g.reshape(-1) for g in gradients]))
        parts = torch.split(flat, [g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def share_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace the tensors of all processes by those of the first, in place and on the device."""
        if self.fabric is None:
            return
        for tensor in tensors:
            if not self.first:
                tensor.zero_()
            self.sum_(tensor)

    def of_first(self, value: T) -> T:
        """Return the value of the first process."""
        if self.fabric is None:
            return value
        shared: T = self.fabric.broadcast(value, src=0)
        return shared

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their ranks."""
        if self.fabric is None:
            return [value]
        return [self.fabric.broadcast(value, src=rank) for rank in range(self.world.size)]

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
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise InputError(
            f"{world.size} processes train together with Lightning Fabric, which is not installed: "
            "pip install 'frozendet[distributed]'"
        ) from error
    here = _on_machine(world, environment)
    if on.type == "cuda" and (here > torch.cuda.device_count() or on.index != world.local_rank):
        raise InputError(
            f"--device {device}: each of the {here} processes on this machine takes a device of its "
            f"own; expected auto, and {here} devices, got {torch.cuda.device_count()}"
        )
    from .launched import Launched

    fabric = Fabric(
        accelerator=on.type,
        devices=here,
        num_nodes=world.size // here,
        strategy="ddp",
        precision="32-true",
        plugins=[Launched(world, here, environment)],
    )
    fabric.launch()
    # Gloo's threads must end before the interpreter does, or they abort it; Fabric ends only NCCL's.
    atexit.register(_leave)
    return Processes(world, on, here, fabric)


def _leave() -> None:
    """Leave the process group, if it still exists."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _on_machine(world: World, environment: Mapping[str, str]) -> int:
    """Return the number of processes on this machine, as torchrun or srun sets it.

    Fabric needs the same number on each machine. srun's SLURM_STEP_TASKS_PER_NODE is "4" or "4(x2)", or
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
