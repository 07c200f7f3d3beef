"""The figures that are measured: those of `fdet plan`, and those of a short training."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from ....cache.errors import FdetError
from ...runs.history import Steps, read_history, steps_of
from .canvas import Canvas
from .ladder import Rates

# A pilot trains on so many images, or on so many batches if these are more, for so many steps.
_IMAGES, _BATCHES, _STEPS = 16, 4, 16


def pilot_images(batch_size: int) -> int:
    """Return how many images a pilot extracts."""
    return max(_IMAGES, _BATCHES * batch_size)


def pilot_epochs(images: int, batch_size: int) -> int:
    """Return the epochs of a pilot, the first of which does not count. images: those that it has."""
    return 1 + max(1, math.ceil(_STEPS * batch_size / images))


def rates_of_plan(text: str, canvas: Canvas) -> Rates:
    """Return the rates that the JSON of `fdet plan` states. Raises FdetError where it lacks them."""
    try:
        plan = json.loads(text)
        asked = next(codec for codec in plan["codecs"] if codec["codec"] == plan["asked"])
        sample = float(asked["extraction_seconds"]) / float(plan["samples"])
        sizes = {str(codec["codec"]): float(codec["sample_bytes"]) for codec in plan["codecs"]}
        return Rates(canvas, sample, sizes, float(plan["disk"]["free"]))
    except (LookupError, TypeError, ValueError, StopIteration, ZeroDivisionError) as error:
        raise FdetError(f"fdet plan did not print its figures as JSON ({error!r})") from error


def step_seconds(run: Path) -> float:
    """Return the seconds of a step of a run, without those of its first epoch. Raises FdetError."""
    history = steps_of(read_history(run))
    begun = max((entry.step for entry in history if entry.epoch == 1), default=0)
    later = [entry for entry in history if entry.step > begun]
    counted, first = (later, begun) if later else (history, 0)
    if not counted or counted[-1].step <= first:
        raise FdetError(f"{run}: a short training, to measure its rate, logged no step")
    return max(seconds_of(counted) / (counted[-1].step - first), 1e-6)


def seconds_of(history: Sequence[Steps]) -> float:
    """Return the seconds of some steps."""
    return sum(entry.seconds for entry in history)
