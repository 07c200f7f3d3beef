"""A fit in progress: its folder, its state and its clock, and the steps that it runs, each of them once."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....cache.disk.publish import publish_bytes
from ....cache.errors import FdetError, InputError
from ...command import echo
from ...machines.interrupt import INTERRUPTED
from ...machines.launching import signal_of
from ...runs.folder import held_folder
from .checks import check_free
from .child import Ended, Lines, Run, check_usable, has_accelerator, run_command
from .fixed import changed_options, open_options, refuse_fixed
from .folder import COMMANDS, DATA, PARTS, PILOT_NAMES, Begun
from .inputs import NAME as INPUTS
from .inputs import Inputs, content_is_same, differences, inputs_of
from .options import FitOptions
from .script import write_script
from .state import Done, State
from .words import command_text

# Exit status 3 of a command: it is done, and something about it is worth knowing.
REMARKS = 3
# Exit status 2: something was refused, and the same command would be refused again.
REFUSED = 2

Accepts = Callable[[int], bool]


def finished(status: int) -> bool:
    """Return whether a command with this exit status is done."""
    return status in (0, REMARKS)


class StepFailed(FdetError):
    """A command of a fit failed. status: its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StepInterrupted(KeyboardInterrupt):
    """A command of a fit was interrupted, and has said so."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The surroundings of a fit: the functions that run commands, print, and look at time and machine.

    device: raises InputError for a device that cannot be used.
    """

    run: Run = run_command
    say: Callable[[str], None] = echo
    clock: Callable[[], float] = time.monotonic
    accelerator: Callable[[str], bool] = has_accelerator
    device: Callable[[str], None] = check_usable


@dataclass
class Session:
    """A fit in progress.

    inputs: the data as they are now. resumed: whether a step was run, after which all later ones are run too.
    """

    options: FitOptions
    state: State
    inputs: Inputs
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
        write_script(self.out, self.out / COMMANDS, self.state.folder, self.state.done)

    def is_done(self, name: str, *products: Path) -> bool:
        """Return whether a step need not run, as it did before. products: what it makes."""
        there = all(product.exists() for product in products)
        return name in self.state.done and there and not self.resumed

    def step(
        self,
        name: str,
        words: Sequence[str],
        *,
        products: Sequence[Path] = (),
        repeated: Sequence[str] = (),
        lines: Lines | None = None,
        accepts: Accepts = finished,
    ) -> None:
        """Run a command, unless it has run already and what it made is there.

        products: what it makes. repeated: the words that continue it where it was interrupted. lines,
        accepts: as in `timed`. Raises StepFailed, and KeyboardInterrupt where it was interrupted.
        """
        if self.is_done(name, *products):
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
        if ended.status == INTERRUPTED:
            raise StepInterrupted
        if ended.status == -signal.SIGINT or (ended.interrupted and not accepts(ended.status)):
            raise KeyboardInterrupt
        if not accepts(ended.status):
            raise self._failed(words, ended.status)
        return self.around.clock() - started, ended

    def _failed(self, words: Sequence[str], status: int) -> StepFailed:
        """Return the error for a command that failed, which says how to go on."""
        why = f"exit status {status}" if status >= 0 else signal_of(status)
        flags = open_options(Begun.within(self.out, self.state.done))
        go_on = "run the same command to continue"
        if status == REFUSED:
            go_on = "correct what the line above names, and run fdet fit again to continue"
        text = (
            f"{command_text(words)}: it failed ({why}); what was finished is kept; {go_on}"
            f"{f'; {flags} may change' if flags else ''}"
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
        before = State.read(options.out)
        if before is not None and before.folder != str(Path.cwd()):
            options = options.absolute()
            before = State.read(options.out)
        inputs = inputs_of(options)
        state = _state(before, options, inputs, around.say)
        current = Session(options, state, inputs, around, begun)
        try:
            yield current
        finally:
            current.save()


def _state(
    state: State | None, options: FitOptions, inputs: Inputs, say: Callable[[str], None]
) -> State:
    """Return the state to continue from. state: that of the last command.

    As long as nothing is extracted a fit begins anew where options or data have changed. Raises InputError
    where they have changed later, CorruptCache, StorageError.
    """
    given = options.to_json()
    if state is None or state.chosen is None:
        return _new_state(state, options, given, inputs)
    begun = Begun.within(options.out, state.done)
    if begun.extraction:
        refuse_fixed(state, given, begun)
        _refuse_other_data(options, state, inputs, say)
    elif changed_options(state, given) or state.inputs != inputs.digest:
        return _new_state(state, options, given, inputs)
    state.options = given
    return state


def _new_state(
    before: State | None, options: FitOptions, given: dict[str, Any], inputs: Inputs
) -> State:
    """Write the state of a fit that begins."""
    new = State(options.out, given, str(Path.cwd()), inputs=inputs.digest)
    if before is not None and not changed_options(before, given):
        new.seconds = before.seconds
    for name in (DATA, PARTS, *PILOT_NAMES):
        shutil.rmtree(options.out / name, ignore_errors=True)
    publish_bytes(options.out / INPUTS, inputs.to_bytes(), existing="replace")
    new.write()
    return new


def _refuse_other_data(
    options: FitOptions, state: State, now: Inputs, say: Callable[[str], None]
) -> None:
    """Raise InputError where the data are not those that a fit was begun with."""
    if not state.inputs:
        say(
            f"{state.out}: an older fdet began it, and did not note from which data; whether they have "
            "changed since is not known"
        )
        return
    if state.inputs == now.digest:
        return
    before = Inputs.read(state.out, state.inputs)
    changes = ["in what is not known, as inputs.json was lost"]
    if before is not None:
        changes = differences(before, now, content_is_same(state.out, now))
    if changes:
        raise InputError(
            f"{options.data}: the data have changed since {state.out} was begun: {'; '.join(changes)}; what "
            f"was made of the earlier ones is kept: choose another --out, or delete {state.out} and run the "
            "same command"
        )
