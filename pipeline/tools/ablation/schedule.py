"""Which trials go through one pass over their cache, and why.

A pass of K trials costs one reading and K steps of a head. So a reading is worth sharing where it is a
part of a step to speak of, and K needs to be no larger than makes it a small one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from ....cache.errors import InputError
from ...training.together import sharing_key
from .estimate import Cost, Costs
from .trials import Trial

# Of a pass: a reading that takes less is not worth sharing.
SMALL = 0.05
# Each one's weights and activations, and all are lost when their process is killed.
MOST_TOGETHER = 16
# Heads that are measured for a choice.
_LOOKED_AT = 3

Group = list[Trial]


def parse_together(text: str) -> int | None:
    """Of "auto" (None) or a number. Raises InputError."""
    if text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST_TOGETHER:
        raise InputError(
            f"--together: expected auto or a number from 1 to {MOST_TOGETHER}, got {text!r}"
        )
    return int(text)


def sharing(trials: Sequence[Trial], threads: Mapping[str, int] | None = None) -> list[Group]:
    """Those that can be trained in one pass, in the order of their first ones. threads: of trials that were
    begun with others than a new one gets, by digest.
    """
    groups: dict[object, Group] = {}
    for trial in trials:
        shared = sharing_key(trial.config, trial.caches.options(Path()))
        key = (shared, (threads or {}).get(trial.digest))
        groups.setdefault(key, []).append(trial)
    return list(groups.values())


def cut(groups: Sequence[Group], together: int) -> list[Group]:
    """Into ones of at most `together`, as even as can be."""
    found = []
    for group in groups:
        count = -(-len(group) // together)
        found += [
            group[k * len(group) // count : (k + 1) * len(group) // count] for k in range(count)
        ]
    return found


def choose_together(groups: Sequence[Group], jobs: int, costs: Costs) -> tuple[int, str]:
    """How many at most, and why, in words."""
    largest = max(groups, key=len)
    most = min(MOST_TOGETHER, max(-(-len(group) // jobs) for group in groups))
    if most == 1:
        return 1, "no two trials share cache, views, order and batch"
    found = [costs.of(trial) for trial in largest[:: -(-len(largest) // _LOOKED_AT)]]
    return worth(found, most)


def worth(costs: Sequence[Cost], most: int) -> tuple[int, str]:
    """As `choose_together`, of at most `most`."""
    reading, step = (fmean(getattr(cost, name) for cost in costs) for name in ("reading", "step"))
    share = reading / (reading + step)
    told = f"reading takes {1e3 * reading:.1f} ms, a step of a head {1e3 * step:.1f} ms"
    if share < SMALL:
        return 1, f"{told}: {share:.1%} of a pass, not worth sharing"
    wanted = math.ceil(reading * (1 - SMALL) / (SMALL * step)) if step else most
    count = max(2, min(most, wanted))
    left = reading / (reading + count * step)
    return count, f"{told}: {share:.0%} of a pass alone, {left:.0%} of one of {count}"
