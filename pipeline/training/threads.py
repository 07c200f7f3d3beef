"""torch's threads and the processes of a run, on whose numbers the last bits of its weights depend.

run.json states with how many a run was begun. --resume continues with as many threads, which play no part
on an accelerator. Another number of processes is allowed, as a cluster may have fewer nodes the next day,
but a warning is logged.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from ...cache.errors import FdetError, InputError
from ..machines.devices import use_threads
from ..machines.processes import Processes
from ..runs.info import PROCESSES, THREADS, RunInfo
from .options import TrainOptions

log = logging.getLogger(__name__)


def take_threads(options: TrainOptions, processes: Processes) -> None:
    """Set the number of torch's threads to the requested one, else a resumed run's, else torch's own.

    On a CPU all processes take the number of the first one. Raises InputError.
    """
    asked = options.threads
    if processes.device.type == "cpu" and asked is None and options.resume:
        asked = threads_of_run(options.out)
    use_threads(asked)
    if processes.device.type == "cpu":
        use_threads(processes.of_first(torch.get_num_threads()))


def check_threads(options: TrainOptions, processes: Processes) -> None:
    """Raise InputError where a resumed run was begun with another number of threads than is used now.

    A warning is logged where run.json does not state that number, or where the run was begun by another
    number of processes.
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
            f"--threads: {options.out} was begun with {info.threads}, now there are {now}, and another "
            "number gives weights with other last bits; expected --threads "
            f"{info.threads} or none, or a new --out"
        )
    if THREADS not in info.data and processes.first:
        log.warning(
            "%s was begun by an older fdet, which did not note with how many threads; it goes on with %d: "
            "weights are those of an undisturbed run only if that is what it was begun with (--threads)",
            options.out,
            now,
        )


def threads_now(processes: Processes) -> dict[str, str]:
    """Return what run.json states about the threads and the processes."""
    on_cpu = processes.device.type == "cpu"
    return {
        THREADS: str(torch.get_num_threads()) if on_cpu else "none",
        PROCESSES: str(processes.world.size),
    }


def threads_of_run(run: Path) -> int | None:
    """Return the number of threads that a run was begun with; None where it is not stated or plays no part.

    None is also returned where no run can be read, which whoever continues it reports.
    """
    try:
        return RunInfo.read(run).threads
    except FdetError:
        return None
