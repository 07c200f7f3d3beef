"""The table of classes on the terminal: AP, the best threshold, and precision, recall and F1 at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...cache.wording import counted
from ..runs.names import telling_names
from ..runs.points import points
from .coco import Metrics
from .ranking import Quality
from .resampling import FEW_IMAGES, Comparison, Interval
from .scores import FEW_OBJECTS, Scored, ScoreFigures

# The maximum number of classes in a table, and of characters of their names.
ROWS, NAME_LENGTH = 25, 22
# How many confusions a line names.
CONFUSIONS = 3
_ALL = "all classes"
_WIDTHS = {
    **{"objects": 7, "AP": 5, "mask AP": 7, "score": 5},
    **{"precision": 9, "recall": 6, "F1": 5},
}


def class_table(metrics: Metrics, scores: ScoreFigures) -> Iterator[str]:
    """Yield the lines on the classes of an evaluation, at most 80 characters wide.

    Of many classes those with the lowest F1 are shown.
    """
    shown = _worst(scores)
    names = dict(zip(shown, telling_names(shown, NAME_LENGTH), strict=True))
    width = max(map(len, [_ALL, *names.values()]))
    masks = metrics.masks_per_class
    columns = [name for name in _WIDTHS if masks or name != "mask AP"]
    yield " " * width + "".join(f"  {name:>{_WIDTHS[name]}}" for name in columns)
    for name, label in names.items():
        of = scores.classes[name]
        aps = metrics.per_class.get(name), (masks or {}).get(name)
        yield label.ljust(width) + _cells(columns, of.objects, aps, _score(of), of.at)
    together, mask_ap = scores.together, (metrics.masks or {}).get("ap")
    aps = metrics.ap, mask_ap
    yield _ALL.ljust(width) + _cells(columns, together.objects, aps, "", scores.at_thresholds)
    alone = _cells(columns, together.objects, aps, _score(together), together.at)
    yield "one score".ljust(width) + alone
    yield from _notes(scores, len(shown))


def _cells(
    columns: Sequence[str],
    objects: int,
    aps: tuple[float | None, float | None],
    score: str,
    at: Quality,
) -> str:
    """Return the cells of a row. aps: the AP of boxes, and of masks."""
    shares = (*aps, at.precision, at.recall, at.f1)
    named = zip(("AP", "mask AP", "precision", "recall", "F1"), map(points, shares), strict=True)
    cells = {"objects": str(objects), "score": score, **dict(named)}
    return "".join(f"  {cells[name]:>{_WIDTHS[name]}}" for name in columns)


def _score(of: Scored) -> str:
    """Return a threshold, with a star where it is not the class's own."""
    return "-" if of.threshold is None else f"{of.threshold:.2f}{' ' if of.own else '*'}"


def _worst(scores: ScoreFigures) -> list[str]:
    """Return the classes to show: all, or those with the lowest F1."""
    names = list(scores.classes)
    if len(names) <= ROWS:
        return names
    known = [name for name in names if scores.classes[name].at.f1 is not None]
    return sorted(known, key=lambda name: scores.classes[name].at.f1 or 0.0)[:ROWS]


def _notes(scores: ScoreFigures, shown: int) -> Iterator[str]:
    if shown < len(scores.classes):
        yield f"the {shown} of {len(scores.classes)} classes with the lowest F1; the JSON has all"
    if any(not of.own and of.threshold is not None for of in scores.classes.values()):
        yield f"* the best of all classes, for one with fewer than {FEW_OBJECTS} objects or no hit"
    if scores.calibration.error is not None:
        yield f"scores are off by {points(scores.calibration.error)} points (expected calibration error)"
    confused = most_confused(scores)
    if confused:
        yield "most often taken for another class:"
        yield from (f"- {true} for {found}: {count}" for true, found, count in confused)


def most_confused(scores: ScoreFigures) -> list[tuple[str, str, int]]:
    """Return the most frequent confusions: the true class, the class found, and how often."""
    names = telling_names(list(scores.classes), NAME_LENGTH)
    pairs = [entry for entry in scores.confusion if len({*entry[:2], len(names)}) == 3]
    best = sorted(pairs, key=lambda entry: -entry[2])[:CONFUSIONS]
    return [(names[true], names[found], count) for true, found, count in best]


def comparison_lines(metrics: Metrics, compared: Comparison) -> Iterator[str]:
    """Yield the lines that say how much better the run is than another, at most 80 characters wide."""
    rows = [("AP", metrics.ap, compared.ap, compared.difference.ap)]
    of_classes = compared.difference.per_class
    chosen = _telling(of_classes)
    for name, label in zip(chosen, telling_names(chosen, NAME_LENGTH), strict=True):
        aps = metrics.per_class[name], compared.per_class[name]
        rows.append((f"AP of {label!r}", *aps, of_classes[name]))
    width = max(len(label) for label, *_ in rows)
    yield f"compared with {compared.other} on the same images"
    yield f"{'':{width}}  {'this':>6}  {'other':>6}  {'change':>6}  95 % interval"
    for label, mine, theirs, interval in rows:
        yield f"{label:{width}}  {points(mine):>6}  {points(theirs):>6}  {_interval(interval)}"
    both = compared.difference.ap
    if both is not None:
        rounds, images = compared.difference.rounds, counted(metrics.images, "image")
        if metrics.images < FEW_IMAGES:
            yield f"{images}: too few to say whether the change of AP is more than chance;"
        else:
            verdict = "more than chance" if both.certain else "not more than chance"
            yield f"the change of AP is {verdict} over the images ({rounds} resamples);"
        yield "another seed of the training changes AP too, which this does not say"


def _telling(of_classes: Mapping[str, Interval | None]) -> list[str]:
    """Return the classes to show: all, or those whose change is more than chance, the largest first."""
    if len(of_classes) <= ROWS:
        return list(of_classes)
    certain = {name: each for name, each in of_classes.items() if each and each.certain}
    return sorted(certain, key=lambda name: -abs(certain[name].difference))[:ROWS]


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return f"{'-':>6}"
    values = interval.difference, interval.low, interval.high
    change, low, high = (f"{100 * value:+.1f}" for value in values)
    return f"{change:>6}  {low} to {high}"
