"""Rules on the evaluation: the kinds of errors, boxes, small objects, rare classes and scores."""

from __future__ import annotations

import math

from ....cache.wording import listed
from ..chance import lead_error, standard_error
from ..points import points
from .facts import Facts
from .remedies import better_boxes, finer, larger, more_views
from .wording import in_points

# The smallest gain of AP50 that is worth a sentence.
WORTH_GAIN = 0.05
# An AP on the training images is far above that of validation from this difference on.
GAP = 0.15
# Boxes are loose where AP75 is less than this share of AP50, of at least that height.
TIGHT, FOUND = 0.5, 0.3
# Small objects are found worse where their AP is less than this share of that of medium ones. They matter
# from this share of the objects, and this number, on.
SMALL, SMALL_SHARE, SMALL_COUNT = 0.5, 0.1, 20
# Scores of detections that are drawn are too high or too low from this difference to the share of hits on,
# where there are enough of them.
DRAWN, CALIBRATED, ENOUGH = 0.3, 0.15, 50
# Duplicates across classes are many from this share of the finds, and this number, on. NMS over all classes
# helps where they are at least so many times the right finds that it drops.
MANY_SHARE, MANY, WORTH_DROPPING = 0.1, 10, 3


def far_above(facts: Facts) -> str | None:
    """Say that AP on the training images is far above that of the others."""
    if facts.training_ap is None or facts.scores is None:
        return None
    ap = facts.scores.ap
    gap, error = facts.training_ap - ap, facts.scores.error(ap)
    if gap < GAP or gap <= 2 * error:
        return None
    return (
        f"AP is {points(facts.training_ap)} on the training images and {points(ap)} on the others: train "
        f"with {more_views(facts)}, more images or fewer epochs"
    )


def localisation(facts: Facts) -> str | None:
    """Say that better boxes would gain the most."""
    gain = _leading(facts, "localisation")
    return gain and f"most would be gained by better boxes ({gain}): {better_boxes(facts)}"


def missed(facts: Facts) -> str | None:
    """Say that objects which no detection is near cost the most."""
    gain = _leading(facts, "missed")
    if gain is None:
        return None
    start = f"most would be gained by objects that no detection is near ({gain})"
    if (small := _small_ap(facts)) is not None:
        return f"{start}, and {small}: {finer(facts)}"
    return f"{start}: train longer, with more images of such objects or with {larger(facts)}"


def classification(facts: Facts) -> str | None:
    """Say that the right classes would gain the most."""
    gain = _leading(facts, "classification")
    if gain is None or facts.scores is None:
        return None
    known = sorted((ap, name) for name, ap in facts.scores.per_class.items() if ap is not None)
    worst = listed([f"{name!r} ({points(ap)})" for ap, name in known[:2]])
    return (
        f"most would be gained by the right classes ({gain}): look at what is confused (`fdet report "
        f"{facts.run} --out report.html {facts.val}`), merge classes that cannot be told apart, and add "
        f"images of those with the lowest AP, {worst}"
    )


def background(facts: Facts) -> str | None:
    """Say that detections of background cost the most."""
    gain = _leading(facts, "background")
    return gain and (
        f"most would be gained without detections of background ({gain}): train with more images that show "
        "what is mistaken for objects, and no objects"
    )


def across_classes(facts: Facts) -> str | None:
    """Say that many finds are of another class on an object that is found already."""
    s = facts.scores
    if s is None or s.duplicates is None:
        return None
    finds, wrong, right = s.duplicates
    if wrong < max(MANY, MANY_SHARE * finds, WORTH_DROPPING * right):
        return None
    lost = f", and {right} that are right" if right else ""
    return (
        f"{wrong} of {finds} finds are of another class on an object that is found already: "
        f"`fdet evaluate` and `fdet predict` with --nms agnostic drop them{lost}; --set head.nms=agnostic "
        f"makes a training do so"
    )


def duplicates(facts: Facts) -> str | None:
    """Say that second detections of an object cost the most."""
    gain = _leading(facts, "duplicate")
    if facts.nms_iou is None:
        return None
    return gain and (
        f"most would be gained without second detections of an object ({gain}): lower head.nms_iou (now "
        f"{facts.nms_iou:g})"
    )


def loose_boxes(facts: Facts) -> str | None:
    """Say that AP75 is far below AP50."""
    s = facts.scores
    if s is None or s.ap50 is None or s.ap75 is None or s.ap50 < FOUND:
        return None
    if s.ap75 >= TIGHT * s.ap50 or s.ap50 - s.ap75 <= 2 * math.hypot(
        s.error(s.ap50), s.error(s.ap75)
    ):
        return None
    return f"boxes are loose, AP75 is {points(s.ap75)} and AP50 {points(s.ap50)}: {better_boxes(facts)}"


def small_objects(facts: Facts) -> str | None:
    """Say that small objects are found worse than medium ones."""
    small = _small_ap(facts)
    return small and f"{small}: {finer(facts)}"


def rare_classes(facts: Facts) -> str | None:
    """Say which classes few training images show and whose AP is low by more than chance."""
    s = facts.scores
    if s is None or not facts.rare:
        return None
    if len(facts.rare) == facts.classes:
        return "no class is shown by more than 10 training images: label more images"
    known = [(ap, name) for name in facts.rare if (ap := s.per_class.get(name)) is not None]
    # Few objects of such a class are evaluated too, on which AP may be anything.
    low = sorted(
        (ap, name)
        for ap, name in known
        if s.ap - ap > 2 * standard_error(s.ap, s.images, s.objects.get(name))
    )
    if not low:
        return None
    named = listed([f"{name!r} (AP {points(ap)})" for ap, name in low])
    repeat = "" if facts.repeat_factor else "show them more often (train.repeat_factor=0.1), "
    return (
        f"at most 10 training images show {named}: label more of them, {repeat}or train the last layer once "
        f"more (`fdet retrain-classifier {facts.run}`)"
    )


def calibration(facts: Facts) -> str | None:
    """Say that scores are too high or too low, and where hits begin to prevail."""
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
        f"{start}: choose thresholds (`fdet predict --threshold`) by that; from {half / tenths:g} to "
        f"{(half + 1) / tenths:g}, {100 * s.reliability[half][2]:.0f} % are right"
    )


def _leading(facts: Facts, kind: str) -> str | None:
    """Return what AP50 would gain without a kind of error, where this gain leads by more than chance."""
    s = facts.scores
    if s is None or s.gains.get(kind, 0.0) < WORTH_GAIN:
        return None
    gain = s.gains[kind]
    second = max((other for name, other in s.gains.items() if name != kind), default=0.0)
    if gain - second <= 2 * lead_error(gain, second, s.images, s.counted):
        return None
    return f"{in_points(gain)} of AP50"


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
    return f"AP is {points(s.ap_small)} for small objects and {points(s.ap_medium)} for medium ones"
