"""A fit in progress: its folder, its state and its clock, and the steps that it runs, each of them once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
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
from .script import write_script
from .state import Done, State
from .words import command_text

# Exit status 3 of a command: it is done, and something about it is worth knowing.
REMARKS = 3
# The names in the folder.
DATA, TRAIN, VAL, RUN, FOUND = "data", "train.fdet", "val.fdet", "run", "found"
VAL_ANNOTATIONS, REPORT, COMMANDS = "val.json", "report.html", "commands.sh"
# What is only measured, and then removed: a small cache, and two short runs on it.
PILOT_NAMES = PILOT_CACHE, PILOT_RUN, SMALL_PILOT_RUN = "pilot.fdet", "pilot", "pilot-s"


Accepts = Callable[[int], bool]


def finished(status: int) -> bool:
    """Return whether a command with this exit status is done."""
    return status in (0, REMARKS)


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
    """A fit in progress. resumed: whether a step was run, after which all later ones are run too."""

    options: FitOptions
    state: State
    around: Surroundings
    begun: float
    resumed: bool = False
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
        """Publish the state, and the commands that are done as a script. Raises StorageError."""
        self.state.seconds = self.used
        self.state.write()
        write_script(self.out / COMMANDS, self.state.folder, self.state.done)

    def is_done(self, name: str, product: Path | None = None) -> bool:
        """Return whether a step need not run, as it did before. product: what it makes."""
        there = product is None or product.exists()
        return name in self.state.done and there and not self.resumed

    def step(
        self,
        name: str,
        words: Sequence[str],
        *,
        product: Path | None = None,
        repeated: Sequence[str] = (),
        lines: Lines | None = None,
        accepts: Accepts = finished,
    ) -> None:
        """Run a command, unless it has run already and what it made is there.

        product: what it makes. repeated: the words that continue it where it was interrupted. lines, accepts:
        as in `timed`. Raises StepFailed, and KeyboardInterrupt where it was interrupted.
        """
        if self.is_done(name, product):
            self.say(f"done before: {command_text(self.state.done[name].words)}")
            return
        self.resumed = True
        self.forget(name)
        self.say(f"\n$ {command_text([*words, *repeated])}")
        seconds, ended = self.timed([*words, *repeated], lines, accepts)
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
        self, words: Sequence[str], lines: Lines | None, accepts: Accepts = finished
    ) -> tuple[float, Ended]:
        """Run a command and return how long it took, and how it ended.

        lines: what takes the lines of its standard output. accepts: whether it is done with an exit status.
        Raises StepFailed where it is not, and KeyboardInterrupt where it was interrupted before it was done.
        """
        started = self.around.clock()
        ended = self.around.run(words, lines)
        if ended.status in (INTERRUPTED, -2) or (ended.interrupted and not accepts(ended.status)):
            raise KeyboardInterrupt
        if not accepts(ended.status):
            raise _failed(words, ended.status)
        return self.around.clock() - started, ended


def _failed(words: Sequence[str], status: int) -> StepFailed:
    why = f"exit status {status}" if status >= 0 else signal_of(status)
    text = (
        f"{command_text(words)}: it failed ({why}); what was finished is kept; run the same command to "
        "continue"
    )
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
    for name in (DATA, *PILOT_NAMES):
        shutil.rmtree(options.out / name, ignore_errors=True)
    new.write()
    return new
