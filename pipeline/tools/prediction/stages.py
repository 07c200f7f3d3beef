"""How long the stages of an image take on average: decode, those of the detector, output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

# Those of a run. An exported file computes its detections in one.
STAGES = "decode", "backbone", "head", "output"


class Stages:
    """Adds up the seconds of each stage.

    finish: waits until the device has done what it was given. models: the names of the detector's stages. The
    first image, for which a device prepares itself, counts only where there is no other.
    """

    def __init__(
        self,
        finish: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
        models: Sequence[str] = STAGES[1:-1],
    ) -> None:
        self._finish, self._clock = finish, clock
        self._seconds = dict.fromkeys(("decode", *models, "output"), 0.0)
        self._first: Mapping[str, float] = {}
        self._started = self._ended = clock()
        self.images = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        begun = self._clock()
        try:
            yield
            self._finish()
        finally:
            self._seconds[stage] += self._clock() - begun

    def next_image(self) -> None:
        """Count an image whose stages are all done."""
        self.images += 1
        self._ended = self._clock()
        if self.images == 1:
            self._first = dict(self._seconds)

    @property
    def milliseconds(self) -> dict[str, float]:
        """The mean of each stage in ms; {} without an image."""
        if not self.images:
            return {}
        first = self._first if self.images > 1 else {}
        count = max(1, self.images - 1)
        return {k: 1000 * (v - first.get(k, 0.0)) / count for k, v in self._seconds.items()}

    @property
    def rate(self) -> float:
        """The number of images per second, everything included."""
        return self.images / max(self._ended - self._started, 1e-9)
