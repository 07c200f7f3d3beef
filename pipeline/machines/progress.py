"""A progress line with rate and time left: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

LOG_EVERY_SECONDS = 30.0


@dataclass
class ProgressLine:
    """advance() counts; note() sets the text behind the bar.

    begun: what earlier runs had done. rate: of this run, a second.
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

    def note(self, text: str) -> None:
        self.text = text

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Clear the terminal for another line, or for text."""
        self.bar.stop()
        try:
            yield
        finally:
            if self.console.is_terminal:
                self.bar.start()

    def advance(self, count: int = 1) -> None:
        self.done += count
        if self.console.is_terminal:
            self.bar.update(self.task, completed=self.done, note=self.text)
        elif time.monotonic() - self.logged > LOG_EVERY_SECONDS:
            self.logged = time.monotonic()
            # What an earlier run has done tells nothing of how fast this one is.
            known = self.done > self.begun
            left = f", {(self.total - self.done) / self.rate:.0f} s left" if known else ""
            self.console.print(
                f"{self.title}: {self.done}/{self.total}, {self.text}{left}", soft_wrap=True
            )


@contextmanager
def progress_line(
    title: str, total: int, begun: int = 0, *, shown: bool = True
) -> Iterator[ProgressLine]:
    """Shows nothing once the block has ended. begun: what earlier runs have done of `total`. shown:
    not where another of the same command's processes shows it.
    """
    console = Console(stderr=True, quiet=not shown)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
    with bar:
        task = bar.add_task(title, total=total, completed=begun, note="")
        yield ProgressLine(title, total, console, bar, task, begun, begun)
