"""A progress line with rate and time left: a bar in a terminal, or a line from time to time in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LOG_EVERY_SECONDS = 30.0


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

    def note(self, text: str) -> None:
        self.text = text

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Clear the terminal for another progress line, or for text, while the block runs."""
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
            # The count of earlier runs says nothing about the speed of this one.
            known = self.done > self.begun
            left = f", {(self.total - self.done) / self.rate:.0f} s left" if known else ""
            self.console.print(
                f"{self.title}: {self.done}/{self.total}, {self.text}{left}", soft_wrap=True
            )


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
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

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
