"""A crew of Ray actors: hired where there is room, also on nodes that come later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from .crew import Done, Looked, Lost, Piece, Ready, Refused, Report, Worker
from .ray_actor import Actor, Answer, error_of
from .ray_cluster import room

log = logging.getLogger(__name__)

_MOMENT_SECONDS = 0.2
_LOOK_SECONDS = 1.0
_ROOM_SECONDS = 20.0


@dataclass
class _Hired:
    """busy: the answer that is awaited; look: the one to how far it is."""

    actor: Any
    busy: Any
    begun: bool = False
    look: Any = None


@dataclass
class RayCrew:
    """needs: resources that a worker claims of its node. workers: at most; None: as many as there is room
    for. Where Ray has no room yet, workers wait for it, which an autoscaler sees.
    """

    ray: Any
    make: Callable[[], Worker]
    needs: Mapping[str, float]
    workers: int | None = None
    _hired: dict[int, _Hired] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _looked: float = 0.0
    _room: int = 0
    _alone_since: float = field(default_factory=time.monotonic)

    def hire(self, wanted: int) -> None:
        self._look_around()
        most = self.workers or max(1, self._room)
        while len(self._hired) < min(wanted, most):
            actor = self._new_actor()
            self._hired[next(self._numbers)] = _Hired(actor, actor.begin.remote())

    def _new_actor(self) -> Any:
        options = self.ray.remote(Actor).options(
            num_cpus=self.needs["CPU"],
            num_gpus=self.needs["GPU"],
            max_concurrency=3,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        return options.remote(self.make)

    def _look_around(self) -> None:
        """Every now and then: how much room there is, and how far everyone is."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        self._room = room(self.ray, self.needs)
        for hired in self._hired.values():
            if hired.begun and hired.busy is not None and hired.look is None:
                hired.look = hired.actor.look.remote()
        if any(hired.begun for hired in self._hired.values()) or not self._hired:
            self._alone_since = now
        elif now - self._alone_since > _ROOM_SECONDS:
            self._alone_since = now
            log.warning(
                "no worker has begun yet; each needs %s, and the cluster's nodes would hold %d of them",
                ", ".join(f"{need:g} {name}" for name, need in self.needs.items() if need),
                self._room,
            )

    def give(self, worker: int, pieces: Sequence[Piece]) -> None:
        hired = self._hired[worker]
        hired.busy = hired.actor.work.remote(list(pieces))

    def reports(self) -> list[Report]:
        """What has come since the last call, after a moment at most. A worker of which Ray tells an error is
        lost, and dismissed.
        """
        awaited = {
            reference: (worker, reference is hired.look)
            for worker, hired in self._hired.items()
            for reference in (hired.busy, hired.look)
            if reference is not None
        }
        if not awaited:
            time.sleep(_MOMENT_SECONDS)
            return []
        asked = list(awaited)
        if not self.ray.wait(asked, num_returns=1, timeout=_MOMENT_SECONDS)[0]:
            return []
        answered, _ = self.ray.wait(asked, num_returns=len(asked), timeout=0)
        found = [self._report(*awaited[reference], reference) for reference in answered]
        return [report for report in found if report is not None]

    def _report(self, worker: int, is_look: bool, reference: Any) -> Report | None:
        hired = self._hired.get(worker)
        if hired is None:  # lost by the report before
            return None
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            self._dismiss(worker)
            return Lost(worker, _why(error))
        if is_look:
            hired.look = None
            return Looked(worker, answer)
        hired.busy = None
        return self._answered(worker, hired, answer)

    def _answered(self, worker: int, hired: _Hired, answer: Answer) -> Report:
        found, kind, message = answer
        if kind:
            return Refused(worker, error_of(kind, message))
        if hired.begun:
            return Done(worker, found)
        hired.begun = True
        return Ready(worker)

    def _dismiss(self, worker: int) -> None:
        self.ray.kill(self._hired.pop(worker).actor)

    def stop(self) -> None:
        for worker, hired in list(self._hired.items()):
            if hired.begun:
                hired.actor.stop.remote()
            else:
                self._dismiss(worker)

    def close(self) -> None:
        """All of them, whatever they do."""
        for worker in list(self._hired):
            self._dismiss(worker)


@contextmanager
def ray_crew(
    ray: Any, make: Callable[[], Worker], needs: Mapping[str, float], workers: int | None
) -> Iterator[RayCrew]:
    """None of its workers outlives the block."""
    crew = RayCrew(ray, make, needs, workers)
    try:
        yield crew
    finally:
        crew.close()


def _why(error: Exception) -> str:
    """In a line: what a bug raised, or what Ray says of a death."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        log.warning("%s", error)  # with its traceback
        return f"{type(cause).__name__}: {cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "because" in line or "Error" in line]
    return f"{type(error).__name__}: {(told or lines or [''])[-1]}"
