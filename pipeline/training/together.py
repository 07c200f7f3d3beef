"""Several runs in one pass over one cache: each batch is read, moved to the device and decoded once.

Every run has its own weights, optimiser, schedule, folder and log, and ends as it would alone, bit for
bit on a CPU. This pays where reading and decoding are expensive compared to a step.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import tee
from typing import cast

import torch

from ...cache.errors import FdetError, InputError
from ...cache.format.header import CacheHeader
from ..machines.interrupt import interruptible
from ..machines.processes import Processes, join_processes
from ..machines.progress import progress_line
from ..runs.config import RunConfig
from ..runs.folder import refuse_taken
from ..runs.info import RunInfo
from ..sources.batches import Batch
from ..sources.data import Data
from .checks import check_settings
from .data import open_data
from .loop import Loop, Parts, Stepwise, TrainSummary
from .options import TrainOptions
from .threads import check_threads, take_threads
from .train import prepared

log = logging.getLogger(__name__)

# The settings that decide which micro-batches come in which order, and what they contain.
_SAME = (
    *("batch_size", "accumulate", "seed", "fraction", "views", "repeat_factor"),
    *("shuffle_shards", "min_visible", "workers", "prefetch"),
)

Run = tuple[RunConfig, TrainOptions]
Ended = TrainSummary | Exception


def sharing_key(config: RunConfig, options: TrainOptions) -> tuple[object, ...]:
    """Return the key of a run; runs with equal keys can be trained together."""
    where = replace(options, out=options.caches[0], resume=False, hooks=(), track=())
    settings = [getattr(config.train, name) for name in _SAME]
    return (str(where), config.masks, *settings)


def train_together(runs: Sequence[Run]) -> list[Ended]:
    """Train several runs; return each one's summary, or the error that ended it while the others continued.

    Raises InputError where the runs cannot be trained together, whatever opening the data raises, and
    KeyboardInterrupt once all have saved.
    """
    config, options = runs[0]
    _check(runs)
    processes = join_processes(options.device)
    take_threads([options for _, options in runs], processes)
    header = CacheHeader.read(options.caches[0])
    shared = open_data(config, options, header, None, processes)
    with ExitStack() as held:
        ended: dict[int, Ended] = {}
        loops: dict[int, Loop] = {}
        for k, run in enumerate(runs):
            try:
                loops[k] = held.enter_context(_prepared(run, processes, shared))
            except FdetError as error:
                ended[k] = error
        ended |= _train_all(loops)
    return [ended[k] for k in range(len(runs))]


def _check(runs: Sequence[Run]) -> None:
    _, options = runs[0]
    if options.kind.live or options.memory_limit is not None:
        raise InputError("runs are trained together on a cache alone, and without a memory limit")
    if len({sharing_key(*run) for run in runs}) > 1:
        raise InputError(
            "runs are trained together only with the same caches and the same "
            f"{', '.join(f'train.{name}' for name in _SAME)}"
        )


@contextmanager
def _prepared(run: Run, processes: Processes, shared: tuple[Data, Data | None]) -> Iterator[Loop]:
    config, options = run
    options.check()
    check_settings(config, options, processes.world.size)
    refuse_taken(options.out, resume=options.resume)
    check_threads(options, processes)
    if options.resume:
        config = config.adopting(RunInfo.read(options.out).config)
    with prepared(config, options, processes, shared=shared) as loop:
        yield loop


def _train_all(loops: Mapping[int, Loop]) -> dict[int, Ended]:
    """Let the runs that are furthest behind take a step each, until none is left; return how they ended."""
    total = sum(loop.total for loop in loops.values())
    begun = sum(loop.position.step for loop in loops.values())
    with (
        interruptible() as stop_requests,
        progress_line(f"train {len(loops)} heads", total, begun) as progress,
    ):
        courses = {k: loop.stepwise(stop_requests, progress) for k, loop in loops.items()}
        group = _Group(loops, courses)
        while group.courses:
            group.turn()
    if group.left:
        raise KeyboardInterrupt
    return group.ended


@dataclass
class _Group:
    """Runs that take their steps in turn.

    courses: the `stepwise` generators of the runs that have not ended, by number. asking: the parts for
    which runs wait before an epoch. left: the runs that have saved since a stop was requested.
    """

    loops: Mapping[int, Loop]
    courses: dict[int, Stepwise]
    asking: dict[int, Parts] = field(default_factory=dict)
    ended: dict[int, Ended] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)

    def turn(self) -> None:
        """Do a step of each run that is furthest behind; runs that ask for the same parts share batches."""
        step = min(self.loops[k].position.step for k in self.courses)
        turn = [k for k in self.courses if self.loops[k].position.step == step]
        for k in turn:
            if k not in self.asking:
                self._advance(k, None)
        wanted = {k: self.asking.pop(k) for k in turn if k in self.asking}
        for members in _alike(wanted):
            first = members[0]
            loaded = cast(Iterator[Batch], self.loops[first].load(wanted[first]))
            batches = map(_decoded_once, loaded)
            for k, own in zip(members, tee(batches, len(members)), strict=True):
                self._advance(k, own)

    def _advance(self, k: int, batches: Iterator[Batch] | None) -> None:
        try:
            parts = self.courses[k].send(batches)
            if parts is not None:
                self.asking[k] = parts
            return
        except StopIteration as done:
            self.ended[k] = done.value
        except KeyboardInterrupt:
            self.left.add(k)
        except (FdetError, MemoryError, torch.OutOfMemoryError) as error:
            log.warning("%s: %s", self.loops[k].out, error)
            self.ended[k] = error
        del self.courses[k]


def _alike(wanted: Mapping[int, Parts]) -> list[list[int]]:
    """Group the runs that want the same parts."""
    groups: list[list[int]] = []
    for k, parts in wanted.items():
        for group in groups:
            if wanted[group[0]] == parts:
                group.append(k)
                break
        else:
            groups.append([k])
    return groups


def _decoded_once(batch: Batch) -> Batch:
    """Return the batch with a pyramid that the first user makes and all others share."""
    return replace(batch, pyramid=cache(batch.pyramid))
