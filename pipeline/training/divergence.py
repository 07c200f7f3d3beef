"""What a run says when its loss is not finite any more: what to change, and which weights there are."""

from __future__ import annotations

from pathlib import Path

from ..runs.advice import against_divergence
from ..runs.config import RunConfig, fixed
from ..runs.position import BEST, LAST, Position


def remedies(config: RunConfig, out: Path, position: Position) -> str:
    """Return the settings to change, as far as they leave room for it, and the weights that `out` has."""
    schedule, best, kept = config.schedule, position.best_ap, list[str]()
    hint = against_divergence(
        fixed(config.optim.lr),
        config.train.clip_norm,
        schedule.warmup_steps,
        schedule.name != "onecycle",
    )
    if best is not None and (out / BEST).is_file():
        kept.append(f"{BEST} has the weights of epoch {position.best_epoch}, AP {best:.3f}")
    if (out / LAST).is_file():
        kept.append(f"{LAST} has the last checkpoint")
    return f"{hint}; {', '.join(kept) or 'no weights were kept yet'}"
