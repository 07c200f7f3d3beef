"""torch's threads on a CPU: the last bits of a run's weights depend on how many there are.

So run.json says with how many a run was begun, and --resume goes on with as many. On an accelerator they play
no part.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from ...cache.errors import FdetError, InputError
from ..devices import use_threads
from ..runs.info import THREADS, RunInfo
from .options import TrainOptions
from .processes import Processes

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
    it does not say, a line tells.
    """
    if not options.resume or processes.device.type != "cpu":
        return
    info, now = RunInfo.read(options.out), torch.get_num_threads()
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
    """What run.json says of them."""
    on_cpu = processes.device.type == "cpu"
    return {THREADS: str(torch.get_num_threads()) if on_cpu else "none"}


def threads_of_run(run: Path) -> int | None:
    """With which it was begun, where that counts. None too where no run can be read; whoever goes on with
    it says so.
    """
    try:
        return RunInfo.read(run).threads
    except FdetError:
        return None
