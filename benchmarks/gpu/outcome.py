"""The outcome of a check or of a measurement, and the reasons for which one is left out."""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

State = Literal["ok", "failed", "skipped"]


class Skipped(Exception):
    """A check that cannot be made here; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check. text: what was found and what was allowed, or the reason, in one line."""

    name: str
    state: State
    text: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.state:<8} {self.name}: {self.text}"


@dataclass(frozen=True, slots=True)
class Check:
    """A check: `run` returns what it found, or raises AssertionError or Skipped."""

    name: str
    run: Callable[[], str]


def outcomes(checks: Iterable[Check], until: float) -> Iterator[Outcome]:
    """Make each check that begins before `until`, of time.monotonic; one that fails ends no other."""
    for check in checks:
        started = time.monotonic()
        state, text = _made(check) if started < until else ("skipped", "no time is left")
        yield Outcome(check.name, state, text, time.monotonic() - started)


def _made(check: Check) -> tuple[State, str]:
    try:
        return "ok", check.run()
    except Skipped as reason:
        return "skipped", str(reason)
    except torch.OutOfMemoryError:
        return "skipped", "it does not fit into the memory of the device"
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return "failed", f"{type(error).__name__}: {lines[0]}"
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def within(found: float, allowed: float, what: str) -> str:
    """Return what was found and what was allowed. Raises AssertionError where it is more, or no number."""
    text = f"{what} {found:.2g}, allowed {allowed:.2g}"
    if not found <= allowed:
        raise AssertionError(text)
    return text
