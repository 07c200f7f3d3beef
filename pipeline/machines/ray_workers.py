"""Workers in Ray actors, which start where there is room, also on nodes that join later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from .ray_actor import Actor, Answer, error_of
from .ray_cluster import room
from .workers import Done, Lost, Progress, Ready, Refused, Report, Task, Worker

log = logging.getLogger(__name__)

_WAIT_SECONDS = 0.2
_POLL_SECONDS = 1.0
_WARN_SECONDS = 20.0


@dataclass
class _Member:
    """One of the workers.

    busy: the pending answer of `begin` or `work`, if any. begun: whether the worker is prepared. progress:
    the pending answer of `progress`, if any.
    """

    actor: Any
    busy: Any
    begun: bool = False
    progress: Any = None


@dataclass
class RayWorkers:
    """Workers in Ray actors.

    make: a function that makes a worker, in its actor. needs: the resources that a worker claims of its
    node. workers: their maximum number, None for as many as there is room for. Where Ray has no room yet,
    pending workers wait for it, which an autoscaler notices.
    """

    ray: Any
    make: Callable[[], Worker]
    needs: Mapping[str, float]
    workers: int | None = None
    _members: dict[int, _Member] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _polled: float = 0.0
    _room: int = 0
    _waiting_since: float = field(default_factory=time.monotonic)

    def start_workers(self, wanted: int) -> None:
        self._poll()
        limit = self.workers or max(1, self._room)
        while len(self._members) < min(wanted, limit):
            actor = self._new_actor()
            self._members[next(self._numbers)] = _Member(actor, actor.begin.remote())

    def _new_actor(self) -> Any:
        options = self.ray.remote(Actor).options(
            num_cpus=self.needs["CPU"],
            num_gpus=self.needs["GPU"],
            max_concurrency=3,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        return options.remote(self.make)

    def _poll(self) -> None:
        """Update the room of the cluster and ask all workers for their progress, once in a while."""
        now = time.monotonic()
        if now - self._polled < _POLL_SECONDS:
            return
        self._polled = now
        self._room = room(self.ray, self.needs)
        for member in self._members.values():
            if member.begun and member.busy is not None and member.progress is None:
                member.progress = member.actor.progress.remote()
        if any(member.begun for member in self._members.values()) or not self._members:
            self._waiting_since = now
        elif now - self._waiting_since > _WARN_SECONDS:
            self._waiting_since = now
            log.warning(
                "no worker has started yet; each needs %s, and the nodes would have room for %d of them",
                ", ".join(f"{need:g} {name}" for name, need in self.needs.items() if need),
                self._room,
            )

    def give(self, worker: int, tasks: Sequence[Task]) -> None:
        member = self._members[worker]
        member.busy = member.actor.work.remote(list(tasks))

    def reports(self) -> list[Report]:
        """Return what has happened since the last call, after a moment at most.

        A worker for which Ray reports an error is lost, and dismissed.
        """
        awaited = {
            reference: (worker, reference is member.progress)
            for worker, member in self._members.items()
            for reference in (member.busy, member.progress)
            if reference is not None
        }
        if not awaited:
            time.sleep(_WAIT_SECONDS)
            return []
        asked = list(awaited)
        if not self.ray.wait(asked, num_returns=1, timeout=_WAIT_SECONDS)[0]:
            return []
        answered, _ = self.ray.wait(asked, num_returns=len(asked), timeout=0)
        found = [self._report(*awaited[reference], reference) for reference in answered]
        return [report for report in found if report is not None]

    def _report(self, worker: int, is_look: bool, reference: Any) -> Report | None:
        member = self._members.get(worker)
        if member is None:  # The report before this one said that it is lost.
            return None
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            self._dismiss(worker)
            return Lost(worker, _why(error))
        if is_look:
            member.progress = None
            return Progress(worker, answer)
        member.busy = None
        return self._answered(worker, member, answer)

    def _answered(self, worker: int, member: _Member, answer: Answer) -> Report:
        found, kind, message = answer
        if kind:
            return Refused(worker, error_of(kind, message))
        if member.begun:
            return Done(worker, found)
        member.begun = True
        return Ready(worker)

    def _dismiss(self, worker: int) -> None:
        self.ray.kill(self._members.pop(worker).actor)

    def stop(self) -> None:
        for worker, member in list(self._members.items()):
            if member.begun:
                member.actor.stop.remote()
            else:
                self._dismiss(worker)

    def close(self) -> None:
        """Dismiss all workers, whatever they are doing."""
        for worker in list(self._members):
            self._dismiss(worker)


@contextmanager
def ray_workers(
    ray: Any, make: Callable[[], Worker], needs: Mapping[str, float], workers: int | None
) -> Iterator[RayWorkers]:
    """Yield workers that all end with the block."""
    started = RayWorkers(ray, make, needs, workers)
    try:
        yield started
    finally:
        started.close()


def _why(error: Exception) -> str:
    """Describe in one line the exception of a bug, or what Ray reports of a worker's death."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        log.warning("%s", error)  # This includes the traceback.
        return f"{type(cause).__name__}: {cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if "because" in line or "Error" in line]
    return f"{type(error).__name__}: {(reasons or lines or [''])[-1]}"
