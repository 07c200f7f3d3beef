"""What helps a run, as the parts of sentences: views, a larger canvas, finer levels, a calmer optimiser."""

from __future__ import annotations

from ....cache.wording import counted
from .facts import Facts

VIEWS = "plain,hflip,scale=0.7..1.4x4"
# The canvas of a new extraction, as a factor of the present one, in multiples of so many px.
LARGER, MULTIPLE = 1.5, 32


def against_divergence(lr: float, clip_norm: float, warmup_steps: int, warms_up: bool) -> str:
    """Return what to change after a loss that diverged, as far as the settings leave room for it.

    warms_up: whether the schedule has a warm-up whose length may be set.
    """
    parts = [f"lower optim.lr (now {lr:g})"]
    parts += [
        f"lower train.clip_norm (now {clip_norm:g})"
        if clip_norm
        else "limit the gradient with train.clip_norm=1 (now 0, no limit)"
    ]
    if warms_up and not warmup_steps:
        parts.append("begin with schedule.warmup_steps=100 (now 0)")
    return f"{', '.join(parts[:-1])} or {parts[-1]}"


def more_views(facts: Facts) -> str:
    """Return a description of more views: those of the cache, or those of a new extraction."""
    if facts.views < facts.cached_views:
        return f"all {facts.cached_views} views of the cache (train.views=0)"
    if facts.views == 1:
        return f"more views (`fdet extract --views {VIEWS}`)"
    return f"more than {counted(facts.views, 'view')} (`fdet extract --views ...`)"


def better_boxes(facts: Facts) -> str:
    """Return what makes boxes tighter: a larger canvas, and a cascade where there is none."""
    cascade = "" if facts.head == "cascade-rcnn" else " or --head cascade-rcnn"
    return f"train with {larger(facts)}{cascade}"


def finer(facts: Facts) -> str:
    """Return what shows small objects better: a larger canvas, and a finer level."""
    level = "" if facts.finer else "with one more level from `fdet extract --levels ...` and "
    return (
        f"train with {larger(facts)}, or {level}with neck.min_level={max(0, facts.min_level - 1)}"
    )


def larger(facts: Facts) -> str:
    """Return a description of a larger canvas, with the options of extraction that make it."""
    options = " ".join(
        f"--{name} {MULTIPLE * round(LARGER * px / MULTIPLE)}" for name, px in facts.size.items()
    )
    return f"larger images (`fdet extract {options}`)" if options else "larger images"
