"""fdet ablate: each trial runs in a separate process, so a crash ends one trial only."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ....cache.disk.publish import make_folder, only_writer, publish_bytes
from ....cache.format.sealed import parse_json
from ....cache.wording import counted
from ...machines.children import ray_children
from ...machines.devices import pick_device
from ...machines.launching import Launcher, Started, children, signal_of
from ...machines.processes import Processes
from ...machines.progress import ProgressLine, progress_line
from ...machines.ray_cluster import check_reachable, import_ray
from ...machines.world import World
from ...runs.history import read_history
from ...runs.rows import Row
from ...training.threads import threads_of_run
from .checks import check_ablation
from .estimate import Costs
from .options import AblateOptions
from .plan import Plan
from .process import Place, answer_of, job_of
from .results import rows_of, write_results
from .state import State, Status, is_finished
from .trials import Opened, Trial, comparable, trials_of

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 2.0
_MODULE = "fdet.pipeline.tools.ablation.process"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan that can be run, and the state of its trials."""

    plan: Plan
    trials: Sequence[Trial]
    opened: Opened
    state: State

    @property
    def waiting(self) -> list[Trial]:
        return [trial for trial in self.trials if self.state.status(trial) == "waiting"]

    def rows(self) -> list[Row]:
        return rows_of(self.trials, self.state)


def prepared(options: AblateOptions) -> Prepared:
    """Return a plan that can be run, once all that can be refused beforehand is checked.

    Raises FdetError of every kind.
    """
    plan = check_ablation(options)
    place, ray = options.place, options.ray_options
    if ray is not None:
        import_ray()
        check_reachable(ray.address)
    assert plan.out is not None
    # Ray's nodes may have accelerators that this machine lacks.
    device = pick_device("cpu" if ray else place.device)
    opened = Opened(Processes(World(), device))
    trials = trials_of(plan, opened)
    return Prepared(plan, trials, opened, _state(plan.out, plan, trials, options))


def _state(out: Path, plan: Plan, trials: Sequence[Trial], options: AblateOptions) -> State:
    """Return the present state of the trials in a folder."""
    state = State.read(out)
    retried: set[Status] = {"failed"} if options.retry_failed else set()
    state.take(trials, retried if plan.pruning else {*retried, "pruned"})
    return state


def estimated(ready: Prepared, options: AblateOptions) -> list[float]:
    """Return the seconds of each trial run alone, and 0 for those that are not waiting."""
    costs = Costs(ready.opened, options.place.threads)
    digests = [trial.digest for trial in ready.waiting]
    seconds = dict(zip(digests, costs.seconds(ready.waiting), strict=True))
    return [seconds.get(trial.digest, 0.0) for trial in ready.trials]


def ablate(options: AblateOptions) -> Prepared:
    """Run every trial that waits; the same call goes on where it was interrupted.

    Raises FdetError before anything has run, and KeyboardInterrupt once all running trials have saved.
    """
    ready = prepared(options)
    out = ready.state.out
    make_folder(out)
    with only_writer(out):
        # The state is read again, since another ablation may have ended there meanwhile.
        ready = replace(ready, state=_state(out, ready.plan, ready.trials, options))
        ready.state.write()
        if ready.waiting:
            _Ablation(ready, options, deque(ready.waiting)).run()
        write_results(out, ready.rows())
    return ready


@dataclass
class _Ablation:
    """The trials that wait and those that run, each in one of `jobs` slots; Ray gets all at once."""

    ready: Prepared
    options: AblateOptions
    waiting: deque[Trial]

    def run(self) -> None:
        """Run until no trial waits or runs. Raises KeyboardInterrupt once the interrupted ones have saved."""
        place, out = self.options.place, self.ready.state.out
        running: dict[Started, tuple[Trial, Path]] = {}
        free = list(range(self._slots()))[::-1]
        slots: dict[Started, int] = {}
        with self._launcher() as launcher, self._progress() as progress:
            refreshed = time.monotonic()
            while True:
                while self.waiting and free and not launcher.stop_requests:
                    slot, trial = free.pop(), self.waiting.popleft()
                    where = _on_slot(place, slot) if self._local else place
                    process, job = self._start(launcher, trial, where)
                    running[process], slots[process] = (trial, job), slot
                if not running:
                    break
                for process in launcher.ended():
                    trial, job = running.pop(process)
                    free.append(slots.pop(process))
                    status = process.returncode
                    assert status is not None
                    self._record(trial, job, status, leaving=bool(launcher.stop_requests))
                    self.ready.state.write()
                    write_results(out, self.ready.rows())
                    refreshed = 0.0
                if time.monotonic() - refreshed > _REFRESH_SECONDS:
                    refreshed = time.monotonic()
                    self._refresh(progress)
        if launcher.stop_requests:
            raise KeyboardInterrupt

    def _launcher(self) -> AbstractContextManager[Launcher]:
        ray = self.options.ray_options
        if ray is None:
            return children()
        return ray_children(ray, accelerators=self.options.device != "cpu")

    @property
    def _local(self) -> bool:
        return self.options.engine == "local"

    def _slots(self) -> int:
        return self.options.jobs if self._local else len(self.ready.trials)

    def _start(self, launcher: Launcher, trial: Trial, place: Place) -> tuple[Started, Path]:
        state, pruning = self.ready.state, self.ready.plan.pruning
        folder = state.folder(trial)
        place = _as_begun(place, folder)
        others = comparable(trial, self.ready.trials) if pruning else []
        job = state.out / "logs" / f"{trial.id}.json"
        answer_of(job).unlink(missing_ok=True)
        content = job_of(trial, folder, [state.folder(other) for other in others], place, pruning)
        publish_bytes(job, content, existing="replace")
        log.info("%s: %s", job.with_suffix(".log"), trial.name)
        return launcher.start([_MODULE, str(job.absolute())], job.with_suffix(".log")), job

    def _record(self, trial: Trial, job: Path, status: int, *, leaving: bool) -> None:
        """Record how a trial ended; one that was asked to stop goes on waiting."""
        state, answer, log_file = self.ready.state, answer_of(job), job.with_suffix(".log")
        ended: tuple[Status, str]
        if is_finished(state.folder(trial)):
            ended = ("finished", "")
        elif answer.is_file():
            said = parse_json(answer.read_bytes(), answer)
            ended = (said["status"], said["reason"])
        elif leaving:
            return
        else:
            ended = ("failed", _failure_reason(status, log_file))
        state.note(trial, *ended, f"logs/{log_file.name}")
        if ended[0] != "finished":
            log.warning("%s %s: %s", trial.name, *ended)

    def _progress(self) -> AbstractContextManager[ProgressLine]:
        total = sum(trial.steps for trial in self.ready.trials)
        return progress_line("ablate", total, self._steps())

    def _steps(self) -> int:
        """Return the steps done so far by all trials; a trial that has ended counts as complete."""
        state = self.ready.state
        return sum(
            _steps_of(state.folder(t)) if state.status(t) == "waiting" else t.steps
            for t in self.ready.trials
        )

    def _refresh(self, progress: ProgressLine) -> None:
        statuses = [self.ready.state.status(trial) for trial in self.ready.trials]
        progress.note(by_status(statuses))
        progress.advance(max(0, self._steps() - progress.done))


def _steps_of(run: Path) -> int:
    history = read_history(run)
    return history[-1].step if history else 0


def _as_begun(place: Place, folder: Path) -> Place:
    """Return `place` with the thread count that a trial was begun with; another gives other weights."""
    threads = threads_of_run(folder) or place.threads
    if threads != place.threads:
        log.info("%s: with %s, as it was begun", folder, counted(threads, "thread"))
    return replace(place, threads=threads)


def _on_slot(place: Place, slot: int) -> Place:
    """Return `place` with a different accelerator for each slot where there are several and none is named."""
    count = torch.cuda.device_count() if place.device in ("auto", "cuda") else 0
    return replace(place, device=f"cuda:{slot % count}") if count > 1 else place


def _failure_reason(status: int, path: Path) -> str:
    if status < 0:
        return f"its process was ended by {signal_of(status)}"
    lines = path.read_text(errors="replace").split("\n")
    said = [line for line in lines if line.strip()][-1:]
    return f"its process ended with status {status}: {''.join(said)[:500]}"


def by_status(statuses: Iterable[Status]) -> str:
    """Return a text such as `7 of 12 trials finished, 1 failed`."""
    found = list(statuses)
    words = [f"{found.count('finished')} of {counted(len(found), 'trial')} finished"]
    others: tuple[Status, ...] = ("failed", "pruned")
    words += [f"{found.count(status)} {status}" for status in others if status in found]
    return ", ".join(words)
