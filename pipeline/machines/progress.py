"""A progress line with rate and time left: a bar in a terminal, or a line from time to time in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...cache.disk.sizes import megabytes
from .duration import hours_minutes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LOG_EVERY_SECONDS = 30.0
# The widths of the bar, with the space beside it, and of the narrowest terminal that has one.
BAR_WIDTH, BAR_FROM = 12, 60


@dataclass
class ProgressLine:
    """A progress line; advance() counts, and note() sets the text behind the bar.

    begun: the count that earlier runs had reached. rate: the count per second in this run.
    """

    title: str
    total: int
    console: Console
    bar: Progress
    task: TaskID
    begun: int = 0
    done: int = 0
    text: str = ""
    started: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def rate(self) -> float:
        return (self.done - self.begun) / self.seconds

    @property
    def left(self) -> float | None:
        """The seconds that the rest will take, None where nothing was done in this run yet.

        The count of earlier runs says nothing about the speed of this one.
        """
        return (self.total - self.done) / self.rate if self.done > self.begun else None

    def note(self, text: str) -> None:
        """Set the text behind the counts: parts separated by ", ", the most important first."""
        self.text = text
        if self.console.is_terminal:
            self.bar.update(self.task, line=self._line(self._width))

    def speed(self, unit: str) -> str:
        """Return the rate in a unit, "" where nothing was done in this run yet."""
        return shown_rate(self.rate, unit)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Clear the terminal for another progress line, or for text, while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        self.bar.stop()
        try:
            yield
        finally:
            self.bar.start()

    def advance(self, count: int = 1, unit: str = "") -> None:
        """Count; with a unit, e.g. "images/s", the text behind the counts is the rate."""
        self.done += count
        if unit:
            self.text = self.speed(unit)
        if self.console.is_terminal:
            self.bar.update(self.task, completed=self.done, line=self._line(self._width))
        elif time.monotonic() - self.logged > LOG_EVERY_SECONDS:
            self.logged = time.monotonic()
            self.console.print(self._line(), soft_wrap=True, markup=False, highlight=False)

    @property
    def _width(self) -> int:
        """The width that the terminal leaves for the text."""
        width = self.console.width
        return width - BAR_WIDTH if width >= BAR_FROM else width

    def _line(self, width: int | None = None) -> str:
        return progress_text(self.title, self.done, self.total, self.left, self.text, width)


def shown_rate(rate: float, unit: str) -> str:
    """Return a rate with its unit: `12.3 images/s`, `0.04 images/s`; "" where it is not known yet.

    unit: with "MB/s" the rate is in bytes.
    """
    if rate <= 0:
        return ""
    if unit == "MB/s":
        return f"{megabytes(rate)}/s"
    return f"{rate:.1f} {unit}" if rate >= 1 else f"{rate:.2g} {unit}"


def progress_text(
    title: str, done: int, total: int, left: float | None, note: str, width: int | None = None
) -> str:
    """Return a progress line of at most `width` characters; the counts and the time left are never cut.

    left: seconds, None where they are not known. note: parts separated by ", ", of which the last ones are
    left out where they do not fit. None as the width stands for any.
    """
    time_left = "" if left is None else f"{hours_minutes(left)} left"
    counts = ", ".join(filter(None, [f"{done}/{total}", time_left]))
    line = f"{title}: {counts}"
    if width is not None and len(line) > width:
        room = width - len(counts) - 2
        line = f"{title[:room]}: {counts}" if room > 0 else counts
    for part in filter(None, note.split(", ")):
        if width is not None and len(line) + len(part) + 2 > width:
            break
        line += f", {part}"
    return line


@contextmanager
def progress_line(
    title: str, total: int, begun: int = 0, *, shown: bool = True
) -> Iterator[ProgressLine]:
    """Show a progress line while the block runs.

    begun: the part of `total` that earlier runs have done. shown: False where another process of the same
    command shows the line.
    """
    # What is refused before any work starts does not wait for rich.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    console = Console(stderr=True, quiet=not shown)
    text = TextColumn(
        "{task.fields[line]}", markup=False, table_column=Column(no_wrap=True, overflow="crop")
    )
    bar = BarColumn(BAR_WIDTH - 1)
    progress = Progress(
        *([bar, text] if console.width >= BAR_FROM else [text]),
        console=console,
        transient=True,
        disable=not shown,
    )
    # Without a terminal a bar that stops writes a line end; in older releases of rich a disabled one too.
    with progress if console.is_terminal else nullcontext():
        task = progress.add_task(
            title, total=total, completed=begun, line=f"{title}: {begun}/{total}"
        )
        yield ProgressLine(title, total, console, progress, task, begun, begun)
