"""torch's threads and the processes of a run: the last bits of its weights depend on how many there are.

run.json says with how many a run was begun. --resume goes on with as many threads, which play no part on an
accelerator. Other processes are allowed, as a cluster may have fewer nodes the next day: a line says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from ...cache.errors import FdetError, InputError
from ..machines.devices import use_threads
from ..machines.processes import Processes
from ..runs.info import PROCESSES, THREADS, RunInfo
from .options import TrainOptions

log = logging.getLogger(__name__)


def take_threads(runs: Sequence[TrainOptions], processes: Processes) -> None:
    """Those that are asked for; else those of a run that is resumed; else torch's own, the first process's
    for all. runs: that are trained in these processes at once. Raises InputError.
    """
    asked = runs[0].threads
    if processes.device.type == "cpu" and asked is None:
        begun = (threads_of_run(options.out) for options in runs if options.resume)
        asked = next((count for count in begun if count is not None), None)
    use_threads(asked)
    if processes.device.type == "cpu":
        use_threads(processes.of_first(torch.get_num_threads()))


def check_threads(options: TrainOptions, processes: Processes) -> None:
    """Raises InputError where a run that is resumed was begun with other threads than are used now; where
    it does not say, or was begun by another number of processes, a line tells.
    """
    if not options.resume:
        return
    info, now = RunInfo.read(options.out), torch.get_num_threads()
    before = info.data.get(PROCESSES)
    if before not in (None, str(processes.world.size)) and processes.first:
        log.warning(
            "%s was begun with processes: %s, now: %d; gradients are summed in another order, so "
            "weights will differ from those of an undisturbed run in their last bits",
            options.out,
            before,
            processes.world.size,
        )
    if processes.device.type != "cpu":
        return
    if info.threads not in (None, now):
        raise InputError(
            f"--threads: {options.out} was begun with {info.threads}, now there are {now}, and other ones "
            f"give weights with other last bits; expected --threads {info.threads} or none, or a new --out"
        )
    if THREADS not in info.data and processes.first:
        log.warning(
            "%s was begun by an older fdet, which did not note with how many threads; it goes on with %d: "
            "weights are those of an undisturbed run only if that is what it was begun with (--threads)",
            options.out,
            now,
        )


def threads_now(processes: Processes) -> dict[str, str]:
    """What run.json says of them, and of the processes."""
    on_cpu = processes.device.type == "cpu"
    return {
        THREADS: str(torch.get_num_threads()) if on_cpu else "none",
        PROCESSES: str(processes.world.size),
    }


def threads_of_run(run: Path) -> int | None:
    """With which it was begun, where that counts. None too where no run can be read; whoever goes on with
    it says so.
    """
    try:
        return RunInfo.read(run).threads
    except FdetError:
        return None
