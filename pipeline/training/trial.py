"""A trial: a short run on the heaviest samples, in a process of its own, to measure its peak memory.

The process is fresh, so its peak includes all that a run's does: the interpreter, torch, batches that are
read ahead, the optimiser's state, an evaluation and a checkpoint. It does not include processes that decode
images, the tables of scores of more validation images than a batch, and trackers.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from dataclasses import replace
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import Tensor

from ...cache.errors import FdetError
from ...cache.sampler import Sampler
from ..machines.devices import (
    cap_device_memory,
    device_memory_mb,
    memory_now_mb,
    pick_device,
    process_memory_mb,
    use_threads,
)
from ..machines.processes import Processes
from ..machines.world import World
from ..runs.config import RunConfig
from ..sources.data import Data
from .options import TrainOptions

T = TypeVar("T")
# Trains as briefly as it can; returns the bytes that resident samples will take in addition.
Trial = Callable[[RunConfig, TrainOptions, Processes], int]

_TOO_LARGE = 77
_KILLED = -signal.SIGKILL


def peak_of(
    trial: Trial,
    config: RunConfig,
    options: TrainOptions,
    processes: Processes,
    allowed: int | None,
) -> int | None:
    """Return the peak of a trial in bytes, of the process or of the accelerator where there is one.

    It is None where the peak would exceed `allowed`, at which the trial is broken off, or the memory that
    there is. Raises whatever the trial raises.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with TemporaryDirectory() as folder:
        apart = replace(options, out=Path(folder), hooks=(), memory_limit=None)
        device = str(processes.device)
        arguments = (sender, trial, config, apart, processes.world, device, allowed)
        process = context.Process(target=_tell, args=arguments)
        process.start()
        sender.close()
        result: int | Exception | None = None
        with suppress(EOFError):
            result = receiver.recv()
        process.join()
    if isinstance(result, Exception):
        raise result
    if result is None and process.exitcode not in (0, _TOO_LARGE, _KILLED):
        # A new process imports the script that started it, and fails where that would train at once.
        hint = "; a script that trains needs `if __name__ == '__main__':`"
        raise FdetError(
            f"the process of a trial step ended with {process.exitcode}"
            f"{hint if process.exitcode == 1 else ''}"
        )
    return result


def heaviest(data: Data, sampler: Sampler, batches: int, parts: int = 1) -> Data:
    """Return the data with only the images of the canvas whose part of a batch is largest.

    They come with most objects first, as many as fill `batches` batches. parts: the number of parts that a
    batch is split into, over all processes.
    """
    layout = data.header.layout
    by_bucket: dict[int, list[int]] = {}
    for image_id in data.image_ids:
        by_bucket.setdefault(layout.bucket_of(image_id), []).append(image_id)

    def pixels(bucket: int) -> int:
        height, width = layout.buckets[bucket].canvas_hw
        return height * width * -(-sampler.largest[bucket] // parts)

    def objects(image_id: int) -> int:
        return len(data.annotations.of_image(image_id).labels)

    image_ids = sorted(by_bucket[max(by_bucket, key=pixels)], key=objects, reverse=True)
    return replace(data, image_ids=tuple(image_ids[: sampler.batch_size * batches]))


def shortest(config: RunConfig, images: int) -> RunConfig:
    """Return a configuration with as many epochs as give two full batches of one bucket of `images` images.

    The weights hardly move, because a learning rate that suits a long run could spoil a short one.
    """
    epochs = -(-2 * config.train.batch_size // images)
    train = replace(config.train, epochs=epochs, eval_every=epochs, patience=0)
    return replace(config, train=train, optim=replace(config.optim, lr=1e-12))


def batches_to_try(config: RunConfig) -> int:
    """Return the number of batches for a trial: as many as are read ahead, and at least two.

    Only the second one finds the state of the optimiser, which the first one creates.
    """
    train = config.train
    return max(2, -(-(train.prefetch + 2) // train.accumulate))


def _tell(
    sender: Connection,
    trial: Trial,
    config: RunConfig,
    options: TrainOptions,
    world: World,
    device: str,
    allowed: int | None,
) -> None:
    """Run the trial; send the peak, None for too much, or the error."""
    result: int | Exception | None
    try:
        on = pick_device(device)
        use_threads(options.threads)
        _break_off_above(allowed, on)
        with redirect_stderr(StringIO()):
            samples = trial(
                config, options, Processes(world, on, group=None if world.size == 1 else _Alone())
            )
        result = int((device_memory_mb(on) or process_memory_mb()) * 2**20) + samples
    except (torch.OutOfMemoryError, MemoryError):
        result = None
    except KeyboardInterrupt:  # the parent gets it too
        return
    except Exception as error:
        if not isinstance(error, FdetError):
            error.add_note(traceback.format_exc())
        result = error
    sender.send(result)


def _break_off_above(allowed: int | None, device: torch.device) -> None:
    """Break the trial off, or let it fail, where it takes more memory than the run may."""
    if allowed is None:
        return
    if device.type == "cuda":
        cap_device_memory(device, allowed)
        return

    def watch() -> None:
        while memory_now_mb() * 2**20 <= allowed:
            time.sleep(0.02)
        os._exit(_TOO_LARGE)

    threading.Thread(target=watch, daemon=True).start()


class _Alone:
    """A stand-in for the group of processes, in which a trial waits for no other process."""

    def sum_(self, tensor: Tensor) -> None:
        """Leave the tensor as it is."""

    def shared(self, value: T, rank: int) -> T:
        """Return the own value."""
        return value
