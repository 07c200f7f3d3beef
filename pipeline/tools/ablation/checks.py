"""What can be refused of an ablation before torch is imported: options, the plan, its settings and paths."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from ....cache.errors import InputError
from ....cache.format.header import read_key
from ...backbones.known import check_weights
from ...command import check_ranges
from ...dataset.presence import check_data
from ...machines.choices import check_device, check_threads
from ...training.checks import check_refining, check_settings, check_start
from .combinations import Caches, Faults, asked_config, caches_of, combinations_of
from .options import AblateOptions
from .plan import Plan

# Settings of the first trials only are checked here, as thousands would take seconds; all are checked later.
_CHECKED = 50


def check_ablation(options: AblateOptions) -> Plan:
    """Return the plan. Raises InputError, ConfigError for what is wrong with it, or with the options."""
    check_ranges(options)
    check_device(options.device)
    check_threads(options.threads)
    options.ray_options  # noqa: B018  # It raises where the options do not go together.
    plan = options.read_plan()
    if plan.out is None:
        raise InputError("--out: expected in the plan or on the command line")
    combinations = list(combinations_of(plan))
    faults, checked = Faults(len(combinations) * len(plan.seeds)), set[Caches]()
    for choices in islice(combinations, _CHECKED):
        with faults.noted(choices):
            caches = caches_of(plan, choices)
            config = asked_config(plan, choices, plan.seeds[0])
            options_of = caches.options(Path())
            check_settings(config, options_of, 1)
            check_refining(config, options_of)
            check_weights("weights", options_of.weights)
            if caches not in checked:
                check_caches(caches)
                checked.add(caches)
    faults.refuse()
    return plan


def check_caches(caches: Caches) -> None:
    """Raise InputError where a cache or a data set is not there."""
    for cache in (caches.cache, caches.val):
        read_key(cache)
    check_data(caches.annotations, caches.val_annotations)
    check_start(caches.start)
