"""The choice of the trials that share one pass over their cache.

A pass of K trials costs one reading and K steps of a head. Sharing a reading therefore pays where it is a
notable part of a step, and K need not be larger than what makes that part a small one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from ...training.together import sharing_key
from .estimate import Cost, Costs
from .options import MAX_TOGETHER
from .trials import Trial

# A reading that takes a smaller share of a pass than this is not worth sharing.
SMALL = 0.05
# Every trial of a pass has its weights and activations in memory, and a killed process ends them all.
# At most this many heads are measured to make the choice.
_MAX_MEASURED = 3

Group = list[Trial]


def sharing(trials: Sequence[Trial], threads: Mapping[str, int] | None = None) -> list[Group]:
    """Return the groups that can be trained in one pass, in the order of their first trials.

    threads: the thread counts, by digest, of the trials that were begun with another count than a new trial
    gets.
    """
    groups: dict[object, Group] = {}
    for trial in trials:
        shared = sharing_key(trial.config, trial.caches.options(Path()))
        key = (shared, (threads or {}).get(trial.digest))
        groups.setdefault(key, []).append(trial)
    return list(groups.values())


def cut(groups: Sequence[Group], together: int) -> list[Group]:
    """Split the groups into groups of at most `together` trials that are as even as possible."""
    found = []
    for group in groups:
        count = -(-len(group) // together)
        found += [
            group[k * len(group) // count : (k + 1) * len(group) // count] for k in range(count)
        ]
    return found


def choose_together(groups: Sequence[Group], jobs: int, costs: Costs) -> tuple[int, str]:
    """Return the maximum number of trials in one pass, and the reason in words."""
    largest = max(groups, key=len)
    most = min(MAX_TOGETHER, max(-(-len(group) // jobs) for group in groups))
    if most == 1:
        return 1, "no two trials share cache, views, order and batch"
    found = [costs.of(trial) for trial in largest[:: -(-len(largest) // _MAX_MEASURED)]]
    return worth(found, most)


def worth(costs: Sequence[Cost], most: int) -> tuple[int, str]:
    """Return what `choose_together` does, from the given costs and for at most `most` trials."""
    reading, step = (fmean(getattr(cost, name) for cost in costs) for name in ("reading", "step"))
    share = reading / (reading + step)
    measured = f"reading takes {1e3 * reading:.1f} ms, a step of a head {1e3 * step:.1f} ms"
    if share < SMALL:
        return 1, f"{measured}: {share:.1%} of a pass, not worth sharing"
    wanted = math.ceil(reading * (1 - SMALL) / (SMALL * step)) if step else most
    count = max(2, min(most, wanted))
    left = reading / (reading + count * step)
    return count, f"{measured}: {share:.0%} of a pass alone, {left:.0%} of one of {count}"
