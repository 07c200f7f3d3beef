"""A fit in progress: its folder, its state and its clock, and the steps that it runs, each of them once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ....cache.errors import FdetError
from ...command import echo
from ...machines.interrupt import INTERRUPTED
from ...machines.launching import signal_of
from ...runs.folder import held_folder
from .checks import check_free
from .child import Ended, Lines, Run, has_accelerator, run_command
from .options import FitOptions
from .state import Done, State
from .words import shown

# Exit status 3 of a command: it is done, and something about it is worth knowing.
REMARKS = 3
# The names in the folder.
DATA, TRAIN, VAL, RUN, FOUND = "data", "train.fdet", "val.fdet", "run", "found"
REPORT, COMMANDS = "report.html", "commands.sh"
# What is only measured, and removed again: a small cache, and two short runs on it.
PILOTS = PILOT_CACHE, PILOT_RUN, SMALL_PILOT_RUN = "pilot.fdet", "pilot", "pilot-s"


class StepFailed(FdetError):
    """A command of a fit failed. status: its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a fit gets from outside: how commands are run, what is printed, the time, and the machine."""

    run: Run = run_command
    say: Callable[[str], None] = echo
    clock: Callable[[], float] = time.monotonic
    accelerator: Callable[[str], bool] = has_accelerator


@dataclass
class Session:
    """A fit in progress. again: whether a step was run, after which all later ones are run too."""

    options: FitOptions
    state: State
    around: Surroundings
    begun: float
    again: bool = False
    _before: float = field(default=0.0)

    def __post_init__(self) -> None:
        self._before = self.state.seconds

    @property
    def out(self) -> Path:
        return self.options.out

    @property
    def used(self) -> float:
        """The seconds that were used so far, those before an interruption included."""
        return self._before + self.around.clock() - self.begun

    def say(self, line: str) -> None:
        self.around.say(line)

    def save(self) -> None:
        """Publish the state. Raises StorageError."""
        self.state.seconds = self.used
        self.state.write()

    def step(
        self,
        name: str,
        words: Sequence[str],
        *,
        product: Path | None = None,
        repeated: Sequence[str] = (),
        lines: Lines | None = None,
    ) -> None:
        """Run a command, unless it has run already and what it made is there.

        product: what it makes. repeated: the words that continue it where it was interrupted. Raises
        StepFailed, and KeyboardInterrupt where it was interrupted.
        """
        there = product is None or product.exists()
        if name in self.state.done and there and not self.again:
            self.say(f"done before: {shown(self.state.done[name].words)}")
            return
        self.again = True
        self.forget(name)
        self.say(f"\n$ {shown([*words, *repeated])}")
        seconds, ended = self.timed([*words, *repeated], lines, (0, REMARKS))
        self.state.done[name] = Done(tuple(words), round(seconds, 3), ended.status)
        self.save()
        if ended.interrupted:  # It was done before the stop request reached it.
            raise KeyboardInterrupt

    def forget(self, name: str) -> None:
        """Forget a step and all after it."""
        names = list(self.state.done)
        if name in names:
            for later in names[names.index(name) :]:
                del self.state.done[later]

    def timed(
        self, words: Sequence[str], lines: Lines | None, allowed: Collection[int] = (0,)
    ) -> tuple[float, Ended]:
        """Run a command and return how long it took, and how it ended.

        allowed: the exit statuses with which it is done. Raises StepFailed for others, and KeyboardInterrupt
        where it was interrupted before it was done.
        """
        started = self.around.clock()
        ended = self.around.run(words, lines)
        if ended.status in (INTERRUPTED, -2) or (ended.interrupted and ended.status not in allowed):
            raise KeyboardInterrupt
        if ended.status not in allowed:
            raise _failed(words, ended.status)
        return self.around.clock() - started, ended


def _failed(words: Sequence[str], status: int) -> StepFailed:
    why = f"exit status {status}" if status >= 0 else signal_of(status)
    text = f"{shown(words)}: it failed ({why}); what was finished is kept, and the same command goes on"
    return StepFailed(text, status if status >= 0 else 128 - status)


@contextmanager
def session(options: FitOptions, around: Surroundings) -> Iterator[Session]:
    """Hold the folder of a fit and yield the session, new or continued; its state is saved at the end.

    Raises InputError, CorruptCache, StorageError.
    """
    begun = around.clock()
    with held_folder(options.out):
        check_free(options.out)
        state = _state(options)
        if state.folder != str(Path.cwd()):
            options = options.absolute()
        current = Session(options, state, around, begun)
        try:
            yield current
        finally:
            current.save()


def _state(options: FitOptions) -> State:
    """Return the state to continue from.

    As long as nothing is chosen a fit begins anew, also with other options: the data may have been corrected.
    """
    state = State.read(options.out)
    if state is not None and state.chosen is not None:
        state.refuse_other(options)
        return state
    new = State(options.out, options.to_json(), str(Path.cwd()))
    if state is not None and state.options == new.options:
        new.seconds = state.seconds
    for name in (DATA, *PILOTS):
        shutil.rmtree(options.out / name, ignore_errors=True)
    new.write()
    return new
