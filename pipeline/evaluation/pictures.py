"""curves-<cache>.png and confusion-<cache>.png: the figures of the scores, drawn next to an evaluation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...cache.disk.publish import publish_bytes
from ..pictures.fonts import face_of
from ..runs.evaluations import beside
from ..runs.names import telling_names
from ..runs.points import points
from .coco import Metrics
from .matching import Floats, Ints
from .ranking import GRID
from .scores import FEW_OBJECTS, Scored, ScoreFigures

# The colours and dashes of classes: each colour with each dash is told apart, which makes 30.
COLOURS = [f"C{k}" for k in range(10)]
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.2)))
# The maximum number of classes that have a colour; of more, those with the lowest F1 have one.
COLOURED, OF_MANY = 24, 10
# The maximum number of classes in the matrix, and of those whose cells have numbers.
LARGEST, NUMBERED = 40, 30
NAME_LENGTH = 28
_DPI = 120


def draw_evaluation(evaluation: Path, metrics: Metrics) -> list[Path]:
    """Draw the curves and the confusion matrix next to an evaluation, and return the paths of the pictures.

    There are none where it has no figures of scores. Raises StorageError.
    """
    if metrics.scores is None:
        return []
    drawn = {
        beside(evaluation, "curves-", ".png"): curves_picture(metrics.scores),
        beside(evaluation, "confusion-", ".png"): confusion_picture(metrics.scores),
    }
    for path, picture in drawn.items():
        publish_bytes(path, picture, existing="replace")
    return list(drawn)


def curves_picture(scores: ScoreFigures) -> bytes:
    """Return a PNG with precision over recall, F1 over the score, and the reliability of the scores."""
    from matplotlib.figure import Figure

    shown = _coloured(scores)
    rows = -(-(len(shown) + 1) // 4)
    figure = Figure(figsize=(13.5, 4.8 + 0.24 * rows), layout="constrained")
    precision, f1, reliability = figure.subplots(1, 3)
    for scored in scores.classes.values():
        if len(shown) < len(scores.classes):
            _line(precision, scored.precision_at_recall, color="0.85", linewidth=0.6)
            _line(f1, scored.f1, color="0.85", linewidth=0.6)
    for k, (name, scored) in enumerate(shown.items()):
        style = {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k // len(COLOURS)]}
        at = scored.at
        _line(precision, scored.precision_at_recall, label=name, linewidth=1.4, **style)
        _line(f1, scored.f1, linewidth=1.4, **style)
        _dot(precision, at.recall, at.precision, style["color"])
        _dot(f1, scored.threshold, at.f1, style["color"])
    together = scores.together
    _line(
        precision, together.precision_at_recall, label="all classes", color="black", linewidth=2.4
    )
    _line(f1, together.f1, color="black", linewidth=2.4)
    _dot(f1, together.threshold, together.at.f1, "black")
    precision.set(xlabel="recall", ylabel="precision", title="precision over recall, IoU 0.5")
    f1.set(xlabel="score threshold", ylabel="F1", title="F1 over the score; dots: best thresholds")
    _draw_reliability(reliability, scores)
    for axes in (precision, f1, reliability):
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(loc="outside lower center", ncols=4, frameon=False, handlelength=3.2)
    for text in legend.get_texts():
        _set_font(text)
    return _png(figure)


def _coloured(scores: ScoreFigures) -> dict[str, Scored]:
    """Return the classes that have a colour, by the name that is drawn: those with objects, or the worst."""
    known = [(name, of) for name, of in scores.classes.items() if of.objects]
    if len(known) > COLOURED:
        many = [each for each in known if each[1].objects >= FEW_OBJECTS] or known
        known = sorted(many, key=lambda each: each[1].at.f1 or 0.0)[:OF_MANY]
    names = legible([name for name, _ in known])
    return dict(zip(names, (of for _, of in known), strict=True))


def _line(axes: Any, values: Sequence[float | None], **style: Any) -> None:
    axes.plot(GRID, [np.nan if v is None else v for v in values], **style)


def _dot(axes: Any, x: float | None, y: float | None, colour: str) -> None:
    if x is not None and y is not None:
        axes.plot([x], [y], "o", color=colour, markersize=5, markeredgecolor="white", zorder=3)


def _draw_reliability(axes: Any, scores: ScoreFigures) -> None:
    """Draw the share of right detections in each tenth of scores, and the number of them."""
    bins = scores.calibration.bins
    left = np.arange(len(bins)) / len(bins)
    axes.bar(left, [s for _, _, s in bins], 1 / len(bins), align="edge", color="C0", alpha=0.55)
    filled = [(score, share) for count, score, share in bins if count]
    axes.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1)
    axes.plot([score for score, _ in filled], [share for _, share in filled], "o", color="C3")
    for x, (count, _, share) in zip(left, bins, strict=True):
        above = share + 0.02 if share < 0.9 else share - 0.06
        axes.text(x + 0.5 / len(bins), above, _short(count), ha="center", fontsize=7)
    error = scores.calibration.error
    off = "no detection" if error is None else f"scores are off by {points(error)} points"
    axes.set(
        xlabel="score; dots: mean of each tenth, numbers: detections",
        ylabel="share that is right",
        title=f"reliability; {off}",
    )


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def confusion_picture(scores: ScoreFigures) -> bytes:
    """Return a PNG with the confusion matrix; its colours are shares of each class."""
    from matplotlib.figure import Figure

    matrix, chosen = scores.matrix(), _in_matrix(scores)
    matrix = matrix[np.ix_(chosen, chosen)]
    every = [*legible(list(scores.classes)), "background"]
    names = [every[k] for k in chosen]
    side = max(2.5, 0.42 * len(chosen)) if len(chosen) <= NUMBERED else 0.3 * len(chosen)
    margin = 0.4 + 0.075 * max(map(len, names))
    figure = Figure(figsize=(side + margin + 0.8, side + margin + 0.6), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    shares[-1] = matrix[-1] / np.maximum(1, matrix.sum(axis=0))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="found as", ylabel="true class")
    left_out = len(scores.classes) + 1 - len(chosen)
    title = "confusion at the best thresholds, IoU 0.5"
    axes.set_title(
        title + (f"\n{left_out} classes with fewer confusions left out" if left_out else "")
    )
    places = range(len(names))
    axes.set_xticks(places, names, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        text.set_fontsize(9)
        _set_font(text)
    if len(chosen) <= NUMBERED + 1:
        _number(axes, matrix, shares)
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the row (the last: of the column)")
    return _png(figure)


def _number(axes: Any, matrix: Ints, shares: Floats) -> None:
    """Write the counts that are not 0 into their cells."""
    for row, column in np.argwhere(matrix):
        colour = "white" if shares[row, column] > 0.55 else "black"
        text = _short(int(matrix[row, column]))
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)


def _in_matrix(scores: ScoreFigures) -> list[int]:
    """Return the classes of the matrix, the background last: all, or those with the most confusions."""
    matrix = scores.matrix()
    classes = len(scores.classes)
    if classes <= LARGEST:
        return list(range(classes + 1))
    wrong = matrix[:-1, :-1] - np.diag(matrix.diagonal()[:-1])
    most = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:LARGEST]
    return [*sorted(most.tolist()), classes]


def legible(names: Sequence[str]) -> list[str]:
    """Return names as they are drawn: short, told apart, and a number for one that no font can write."""
    drawn: list[str] = []
    for number, name in enumerate(telling_names(names, NAME_LENGTH), start=1):
        text = " ".join(name.split()) or f"class {number}"
        try:
            face_of(text, in_system=False)
        except LookupError:
            text = f"class {number}"
        # matplotlib would take dollars for formulas, and leaves out what begins with an underscore.
        text = text.replace("$", r"\$").removeprefix("_") or f"class {number}"
        drawn.append(text if text not in drawn else f"{text} ({number})")
    return drawn


def _set_font(text: Any) -> None:
    """Give a text a font that has its letters."""
    from matplotlib.font_manager import FontProperties

    face = face_of(text.get_text(), in_system=False)
    if face is not None:
        text.set_fontproperties(FontProperties(fname=str(face), size=text.get_fontsize()))


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()
