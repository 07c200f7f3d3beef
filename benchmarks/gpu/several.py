"""Two processes that train one model, against one process with the same batches."""

import multiprocessing
import os
import socket
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fdet.pipeline.machines.processes import Processes, join_processes
from fdet.pipeline.machines.world import World
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.training.auto import settled
from fdet.pipeline.training.probe import first_batches, fresh_model, weights_of
from fdet.pipeline.training.step import parts_of
from fdet.pipeline.training.train import begin

from .outcome import Check, Skipped, within
from .parity import exact
from .workload import Place, opened

# Two sums of the same gradients in another order; SGD moves the weights in proportion.
WEIGHTS = 1e-3
STEPS, SECONDS = 4, 180


def process_checks(place: Place, cache: Path) -> Iterator[Check]:
    """Yield the check of two processes."""
    name = "NCCL" if place.device.type == "cuda" else "Gloo"
    yield Check(f"two processes over {name} and one", partial(same_weights, place, cache))


def same_weights(place: Place, cache: Path) -> str:
    """Compare the weights after a few steps, relative to how far they have moved."""
    count = torch.cuda.device_count()
    if place.device.type == "cuda" and count < 2:
        raise Skipped(f"it needs two devices, torch finds {count}")
    alone = Processes(World(), place.device)
    fresh, one = (trained(place, cache, alone, steps) for steps in (0, STEPS))
    two = in_two_processes(place, cache)
    moved = max(float((one[n] - fresh[n]).abs().max()) for n in one)
    assert moved > 0, "the weights have not moved"
    apart = max(float((one[n] - two[n]).abs().max()) for n in one)
    return within(apart / moved, WEIGHTS, "largest difference, relative to the largest move")


def in_two_processes(place: Place, cache: Path) -> Mapping[str, Tensor]:
    """Train in two processes; return the weights of the first."""
    out = place.folder / "two.pt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    started = [
        context.Process(target=one_of_two, args=(place, cache, rank, port, out)) for rank in (0, 1)
    ]
    for one in started:
        one.start()
    try:
        for one in started:
            one.join(SECONDS)
            assert one.exitcode == 0, f"a process ended with {one.exitcode}"
    finally:
        for one in started:
            one.kill()
    weights: Mapping[str, Tensor] = torch.load(out, weights_only=True)
    return weights


def one_of_two(place: Place, cache: Path, rank: int, port: int, out: Path) -> None:
    """Train as one of the processes that torchrun would have started."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    processes = join_processes(place.device.type)
    weights = trained(place, cache, processes, STEPS)
    if processes.first:
        torch.save(weights, out)


def trained(place: Place, cache: Path, processes: Processes, steps: int) -> Mapping[str, Tensor]:
    """Train for some steps, in this process alone or together with others; return the weights."""
    world, device = processes.world, processes.device
    data, scale = opened(cache, device), place.scale
    given = [f"neck.channels={scale.channels}", f"train.batch_size={scale.batch}"]
    given += ["train.precision=fp32", "optim.name=sgd", "schedule.warmup_steps=0"]
    config = settled(load_config(head="retinanet", assignments=given), data, device)
    model = fresh_model(config, data, device)
    stepper, _ = begin(config, model, processes)
    batches = first_batches(config, data, steps)
    owned = [parts_of(batch, world.size, world.rank, 1) for batch in batches]
    parts = [part for parts in owned for part in parts]
    loaded = data.batches(parts, device, config.train.min_visible)
    with exact():
        for number, (batch, own) in enumerate(zip(batches, owned, strict=True)):
            stepper.step([next(loaded) for _ in own], len(batch), number, steps)
    return weights_of(model)
