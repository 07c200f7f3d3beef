"""Rules on the training: its loss, its curve of AP, and whether it was evaluated, on which images."""

from __future__ import annotations

from statistics import fmean

from ....cache.wording import counted
from ..points import points
from .facts import MIN_EVALUATIONS, Facts
from .remedies import against_divergence, more_views
from .wording import in_points

# A loss falls, or a run has diverged, where the loss changes by at least these factors.
FALLEN, DIVERGED = 0.8, 2.0
# With one view, so many epochs show the same features so often that more views are the better next step.
PASSES = 12


def diverged(facts: Facts) -> str | None:
    """Say that the loss diverged, as the run found it or as the losses of its epochs show it."""
    hint = against_divergence(facts.lr, facts.clip_norm, facts.warmup_steps, facts.warms_up)
    if facts.diverged is not None:
        loss, step = facts.diverged
        return f"training diverged, its loss was {loss} at step {step}: {hint}"
    losses = [loss for _, loss in facts.losses]
    quarter = max(1, len(losses) // 4)
    if len(losses) < 2 * quarter + 1:
        return None
    lowest = min(fmean(losses[k : k + quarter]) for k in range(len(losses) - quarter + 1))
    last, aps = fmean(losses[-quarter:]), facts.aps
    collapsed = not aps or aps[-1] < max(aps) / 2
    if last < DIVERGED * lowest or not collapsed:
        return None
    return f"training diverged, its loss rose from {lowest:.3g} to {last:.3g}: {hint}"


def not_evaluated(facts: Facts) -> str | None:
    """Say that a finished run was never evaluated."""
    if not facts.finished or facts.curve or facts.scores is not None:
        return None
    return (
        f"nothing was evaluated: `fdet evaluate {facts.run} CACHE` shows how good it is; give the next "
        "training --val CACHE, so that the weights of its best epoch are kept"
    )


def same_images(facts: Facts) -> str | None:
    """Say that validation images were trained on."""
    if not facts.same_images:
        return None
    return "AP is that of images that were trained on: give --val a cache of other images"


def falls(facts: Facts) -> str | None:
    """Say that AP falls late, and whether the training loss fell meanwhile."""
    change, best, last = facts.late_change, facts.best, facts.curve[-1:]
    if change >= 0 or not last or best[0] >= last[0][0]:
        return None
    fell = f"AP fell from {points(best[1])} (epoch {best[0]}) to {points(last[0][1])} (epoch {last[0][0]})"
    before = _loss_around(facts, best[0])
    after = _loss_around(facts, last[0][0])
    if before is not None and after is not None and after <= FALLEN * before:
        why = f"while the training loss fell from {before:.3g} to {after:.3g}"
        return f"{fell} {why}: train with {more_views(facts)}, or shorter (train.epochs={best[0]})"
    return f"{fell}: train shorter (train.epochs={best[0]}) or with {more_views(facts)}"


def rises(facts: Facts) -> str | None:
    """Say that AP still rises at the end."""
    change = facts.late_change
    if change <= 0:
        return None
    first, last = facts.curve[-facts.later_half][0], facts.curve[-1][0]
    return (
        f"AP still rises, by {in_points(change)} from epoch {first} to {last}: train longer, e.g. with "
        f"train.epochs={2 * facts.epochs}"
    )


def one_view(facts: Facts) -> str | None:
    """Say that many epochs saw the same view of the images."""
    if not facts.finished or facts.views > 1 or facts.done < PASSES or facts.late_change > 0:
        return None
    return (
        f"each of the {facts.done} epochs saw the same view of the images: train with {more_views(facts)}, "
        "which gained up to 7 points of AP with 205 images (docs/recipe.md)"
    )


def few_evaluations(facts: Facts) -> str | None:
    """Say that there are too few evaluations to judge the curve by."""
    count = len(facts.curve)
    # Where train.patience ended the training, AP did not rise any more.
    if not facts.finished or facts.done < facts.epochs or not 0 < count < MIN_EVALUATIONS:
        return None
    start = f"{counted(count, 'evaluation')} cannot show whether AP still rises"
    every = max(1, facts.done // 10)
    if facts.done // every < MIN_EVALUATIONS or every >= facts.eval_every:
        now = counted(facts.done, "epoch")
        return f"{start}: train longer (now {now}; train.epochs=auto chooses a number)"
    return f"{start}: evaluate more often, with train.eval_every={every}"


def _loss_around(facts: Facts, epoch: int) -> float | None:
    """Return the mean loss of an epoch and of the two before it, None where none is known."""
    losses = [loss for at, loss in facts.losses if epoch - 3 < at <= epoch]
    return fmean(losses) if losses else None
