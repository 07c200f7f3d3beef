"""What to do next with a run: documented rules, each a function of facts that gives a sentence or nothing.

docs/training.md has the same rules with their thresholds. A difference counts only where it is more than
chance (pipeline/runs/chance.py). This module imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

from .chance import lead_error, standard_error
from .facts import MIN_EVALUATIONS, Facts

# The maximum number of sentences.
COUNT = 3
# The smallest gain of AP50 that is worth a sentence.
WORTH_GAIN = 0.05
# A loss falls, or a run has diverged, where the loss changes by at least these factors.
FALLEN, DIVERGED = 0.8, 2.0
# An AP on the training images is far above that of validation from this difference on.
GAP = 0.15
# Boxes are loose where AP75 is less than this share of AP50, of at least that height.
TIGHT, FOUND = 0.5, 0.3
# Small objects are found worse where their AP is less than this share of that of medium ones. They matter
# from this share of the objects, and this number, on.
SMALL, SMALL_SHARE, SMALL_COUNT = 0.5, 0.1, 20
# With one view, so many epochs show the same features so often that more views are the better next step.
PASSES = 12
VIEWS = "plain,hflip,scale=0.7..1.4x4"
# The canvas of a new extraction, as a factor of the present one, in multiples of so many px.
LARGER, MULTIPLE = 1.5, 32
NAMED = 3
# Scores of detections that are drawn are too high or too low from this difference to the share of hits on,
# where there are enough of them.
DRAWN, CALIBRATED, ENOUGH = 0.3, 0.15, 50

About = Literal["training", "evaluation"]


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence on what to do next. rule: the name of the rule that gave it."""

    rule: str
    text: str


class Rule(NamedTuple):
    """A row of RULES. topic: what it proposes; of one topic only the first sentence is given."""

    name: str
    topic: str
    about: About
    says: Callable[[Facts], str | None]


def advise(
    facts: Facts, about: Collection[About] = ("training", "evaluation"), count: int = COUNT
) -> list[Advice]:
    """Return at most `count` sentences, the most valuable first, by the rules that are about these things."""
    found: dict[str, Advice] = {}
    for rule in RULES:
        if rule.about in about and rule.topic not in found and (text := rule.says(facts)):
            found[rule.topic] = Advice(rule.name, text)
    return list(found.values())[:count]


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


def _diverged(facts: Facts) -> str | None:
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


def _not_evaluated(facts: Facts) -> str | None:
    if not facts.finished or facts.curve or facts.scores is not None:
        return None
    return (
        f"nothing was evaluated: `fdet evaluate {facts.run} CACHE` shows how good it is; give the next "
        "training --val CACHE, so that the weights of its best epoch are kept"
    )


def _same_images(facts: Facts) -> str | None:
    if not facts.same_images:
        return None
    return "AP is that of images that were trained on: give --val a cache of other images"


def _falls(facts: Facts) -> str | None:
    change, best, last = facts.late_change, facts.best, facts.curve[-1:]
    if change >= 0 or not last or best[0] >= last[0][0]:
        return None
    fell = f"AP fell from {best[1]:.3f} (epoch {best[0]}) to {last[0][1]:.3f} (epoch {last[0][0]})"
    before = _loss_around(facts, best[0])
    after = _loss_around(facts, last[0][0])
    if before is not None and after is not None and after <= FALLEN * before:
        why = f"while the training loss fell from {before:.3g} to {after:.3g}"
        return f"{fell} {why}: train with {_more_views(facts)}, or shorter (train.epochs={best[0]})"
    return f"{fell}: train shorter (train.epochs={best[0]}) or with {_more_views(facts)}"


def _gap(facts: Facts) -> str | None:
    if facts.training_ap is None or facts.scores is None:
        return None
    ap = facts.scores.ap
    gap, error = facts.training_ap - ap, facts.scores.error(ap)
    if gap < GAP or gap <= 2 * error:
        return None
    return (
        f"AP is {facts.training_ap:.3f} on the training images and {ap:.3f} on the others: train with "
        f"{_more_views(facts)}, more images or fewer epochs"
    )


def _rises(facts: Facts) -> str | None:
    change = facts.late_change
    if change <= 0:
        return None
    first, last = facts.curve[-facts.later_half][0], facts.curve[-1][0]
    return (
        f"AP still rises, by {_points(change)} from epoch {first} to {last}: train longer, e.g. with "
        f"train.epochs={2 * facts.epochs}"
    )


def _one_view(facts: Facts) -> str | None:
    if not facts.finished or facts.views > 1 or facts.done < PASSES or facts.late_change > 0:
        return None
    return (
        f"each of the {facts.done} epochs saw the same view of the images: train with {_more_views(facts)}, "
        "which gained up to 7 points of AP with 205 images (docs/recipe.md)"
    )


def _localisation(facts: Facts) -> str | None:
    gain = _leading(facts, "localisation")
    return gain and f"most would be gained by better boxes ({gain}): {_better_boxes(facts)}"


def _loose_boxes(facts: Facts) -> str | None:
    s = facts.scores
    if s is None or s.ap50 is None or s.ap75 is None or s.ap50 < FOUND:
        return None
    if s.ap75 >= TIGHT * s.ap50 or s.ap50 - s.ap75 <= 2 * math.hypot(
        s.error(s.ap50), s.error(s.ap75)
    ):
        return None
    return f"boxes are loose, AP75 is {s.ap75:.3f} and AP50 {s.ap50:.3f}: {_better_boxes(facts)}"


def _classification(facts: Facts) -> str | None:
    gain = _leading(facts, "classification")
    if gain is None or facts.scores is None:
        return None
    known = sorted((ap, name) for name, ap in facts.scores.per_class.items() if ap is not None)
    worst = _listed([f"{name!r} ({ap:.3f})" for ap, name in known[:2]])
    return (
        f"most would be gained by the right classes ({gain}): look at what is confused (`fdet report "
        f"{facts.run} --out report.html --val CACHE --images DIR`), merge classes that cannot be told apart, "
        f"and add images of those with the lowest AP, {worst}"
    )


def _missed(facts: Facts) -> str | None:
    gain = _leading(facts, "missed")
    if gain is None:
        return None
    start = f"most would be gained by objects that no detection is near ({gain})"
    if (small := _small_ap(facts)) is not None:
        return f"{start}, and {small}: {_finer(facts)}"
    return f"{start}: train longer, with more images of such objects or with {_larger(facts)}"


def _background(facts: Facts) -> str | None:
    gain = _leading(facts, "background")
    return gain and (
        f"most would be gained without detections of background ({gain}): train with more images that show "
        "what is mistaken for objects, and no objects"
    )


def _duplicates(facts: Facts) -> str | None:
    gain = _leading(facts, "duplicate")
    return gain and (
        f"most would be gained without second detections of an object ({gain}): lower head.nms_iou (now "
        f"{facts.nms_iou:g})"
    )


def _small_objects(facts: Facts) -> str | None:
    small = _small_ap(facts)
    return small and f"{small}: {_finer(facts)}"


def _rare_classes(facts: Facts) -> str | None:
    s = facts.scores
    if s is None or not facts.rare:
        return None
    if len(facts.rare) == facts.classes:
        return "no class is shown by more than 10 training images: label more images"
    known = [(ap, name) for name in facts.rare if (ap := s.per_class.get(name)) is not None]
    low = sorted((ap, name) for ap, name in known if ap < s.ap)
    if not low:
        return None
    named = _listed([f"{name!r} (AP {ap:.3f})" for ap, name in low], NAMED)
    repeat = "" if facts.repeat_factor else "show them more often (train.repeat_factor=0.1), "
    return (
        f"at most 10 training images show {named}: label more of them, {repeat}or train the last layer once "
        f"more (`fdet retrain-classifier {facts.run}`)"
    )


def _calibration(facts: Facts) -> str | None:
    s = facts.scores
    if s is None or not s.reliability:
        return None
    tenths = len(s.reliability)
    drawn = [tenth for k, tenth in enumerate(s.reliability) if k >= DRAWN * tenths]
    count = sum(n for n, _, _ in drawn)
    if count < ENOUGH:
        return None
    score, right = (sum(t[0] * t[k] for t in drawn) / count for k in (1, 2))
    if abs(score - right) <= max(CALIBRATED, 2 * standard_error(right, s.images, count)):
        return None
    half = next((k for k, t in enumerate(s.reliability) if t[0] >= 10 and t[2] >= 0.5), None)
    start = (
        f"scores are too {'high' if score > right else 'low'}: detections from a score of {DRAWN:g} on have "
        f"a mean score of {score:.2f}, and {100 * right:.0f} % of them are right"
    )
    if half is None:
        return f"{start}: do not read scores as probabilities"
    return (
        f"{start}: choose thresholds (`fdet predict --draw-above`) by that; from {half / tenths:g} to "
        f"{(half + 1) / tenths:g}, {100 * s.reliability[half][2]:.0f} % are right"
    )


def _few_evaluations(facts: Facts) -> str | None:
    count = len(facts.curve)
    # Where train.patience ended the training, AP did not rise any more.
    if not facts.finished or facts.done < facts.epochs or not 0 < count < MIN_EVALUATIONS:
        return None
    start = f"{count} evaluation{'s' * (count > 1)} cannot show whether AP still rises"
    every = max(1, facts.done // 10)
    if facts.done // every < MIN_EVALUATIONS or every >= facts.eval_every:
        return (
            f"{start}: train longer (now {facts.done} epochs; train.epochs=auto chooses a number)"
        )
    return f"{start}: evaluate more often, with train.eval_every={every}"


# The rules, the most valuable first.
RULES: tuple[Rule, ...] = (
    Rule("diverged", "divergence", "training", _diverged),
    Rule("not evaluated", "evaluation", "training", _not_evaluated),
    Rule("same images", "evaluation", "training", _same_images),
    Rule("falls", "views", "training", _falls),
    Rule("training far above validation", "views", "evaluation", _gap),
    Rule("still rises", "length", "training", _rises),
    Rule("one view", "views", "training", _one_view),
    Rule("localisation", "canvas", "evaluation", _localisation),
    Rule("missed", "canvas", "evaluation", _missed),
    Rule("classification", "classes", "evaluation", _classification),
    Rule("background", "background", "evaluation", _background),
    Rule("duplicates", "suppression", "evaluation", _duplicates),
    Rule("loose boxes", "canvas", "evaluation", _loose_boxes),
    Rule("small objects", "canvas", "evaluation", _small_objects),
    Rule("rare classes", "classes", "evaluation", _rare_classes),
    Rule("scores", "scores", "evaluation", _calibration),
    Rule("few evaluations", "evaluation", "training", _few_evaluations),
)


def _loss_around(facts: Facts, epoch: int) -> float | None:
    """Return the mean loss of an epoch and of the two before it, None where none is known."""
    losses = [loss for at, loss in facts.losses if epoch - 3 < at <= epoch]
    return fmean(losses) if losses else None


def _leading(facts: Facts, kind: str) -> str | None:
    """Return what AP50 would gain without a kind of error, where this gain leads by more than chance."""
    s = facts.scores
    if s is None or s.gains.get(kind, 0.0) < WORTH_GAIN:
        return None
    gain = s.gains[kind]
    second = max((other for name, other in s.gains.items() if name != kind), default=0.0)
    if gain - second <= 2 * lead_error(gain, second, s.images, s.counted):
        return None
    return f"{_points(gain)} of AP50"


def _small_ap(facts: Facts) -> str | None:
    """Return how much worse small objects are found, where there are enough and it is more than chance."""
    s = facts.scores
    if s is None or s.ap_small is None or s.ap_medium is None:
        return None
    small, medium, total = s.sizes.get("small", 0), s.sizes.get("medium", 0), sum(s.sizes.values())
    if small < max(SMALL_COUNT, SMALL_SHARE * total) or s.ap_small >= SMALL * s.ap_medium:
        return None
    errors = (
        standard_error(s.ap_small, s.images, small),
        standard_error(s.ap_medium, s.images, medium),
    )
    if s.ap_medium - s.ap_small <= 2 * math.hypot(*errors):
        return None
    return f"AP is {s.ap_small:.3f} for small objects and {s.ap_medium:.3f} for medium ones"


def _more_views(facts: Facts) -> str:
    if facts.views < facts.cached_views:
        return f"all {facts.cached_views} views of the cache (train.views=0)"
    if facts.views == 1:
        return f"more views (`fdet extract --views {VIEWS}`)"
    return f"more than {facts.views} views (`fdet extract --views ...`)"


def _better_boxes(facts: Facts) -> str:
    cascade = "" if facts.head == "cascade-rcnn" else " or --head cascade-rcnn"
    return f"train with {_larger(facts)}{cascade}"


def _finer(facts: Facts) -> str:
    level = "" if facts.finer else "with one more level from `fdet extract --levels ...` and "
    return (
        f"train with {_larger(facts)}, or {level}with neck.min_level={max(0, facts.min_level - 1)}"
    )


def _larger(facts: Facts) -> str:
    """Return a description of a larger canvas, with the options of extraction that make it."""
    options = " ".join(
        f"--{name} {MULTIPLE * round(LARGER * px / MULTIPLE)}" for name, px in facts.size.items()
    )
    return f"larger images (`fdet extract {options}`)" if options else "larger images"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _listed(names: list[str], most: int = NAMED) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
