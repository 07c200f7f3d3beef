"""How long a detector takes for one canvas."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

_WARM, _RUNS = 3, 20


@dataclass(frozen=True, slots=True)
class Latency:
    """The times of one canvas in ms: half of the runs, and 95 of 100, took at most these."""

    median: float
    p95: float


def latency(run: Callable[[], object]) -> Latency:
    """Measure a function, after it has run a few times."""
    times = []
    for _ in range(_WARM + _RUNS):
        begun = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - begun))
    median, p95 = np.percentile(times[_WARM:], [50, 95])
    return Latency(float(median), float(p95))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute with this many threads within the block; 0 for as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
