"""What a run says when its loss is not finite any more: what to change, and which weights there are."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

from ..runs.advice.remedies import against_divergence
from ..runs.config import RunConfig, fixed
from ..runs.info import RunInfo
from ..runs.points import points
from ..runs.position import BEST, LAST, Position, read_position


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
        kept.append(f"{BEST} has the weights of epoch {position.best_epoch}, AP {points(best)}")
    if (out / LAST).is_file() and (out / "run.json").is_file():  # A trial has only the former.
        kept.append(f"{LAST} has {_last_weights(out)}")
    return (
        f"{hint}; begin a new --out, as --resume would repeat the same steps; "
        f"{', '.join(kept) or 'no weights were kept yet'}"
    )


def _last_weights(out: Path) -> str:
    """Return what the last checkpoint holds, where an infinite gradient may have spoilt the weights."""
    step = read_position(out / LAST, RunInfo.read(out)).step
    with safe_open(out / LAST, "pt") as file:
        names = [name for name in file.keys() if name.startswith("model.")]  # noqa: SIM118
        sound = all(bool(file.get_tensor(name).isfinite().all()) for name in names)
    lost = "" if sound else ", which are not finite any more and of no use"
    return f"the weights of step {step}{lost}"
