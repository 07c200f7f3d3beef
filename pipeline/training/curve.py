"""curve.png: the losses and AP over the steps of a run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from ...cache.disk.publish import publish_bytes
from ..runs.history import History, evaluations_of, steps_of


def draw_curve(history: History, path: Path) -> None:
    """Draw the losses and APs of a run's history into a PNG."""
    from matplotlib.figure import Figure

    training = [of for of in steps_of(history) if of.losses]
    evaluations = evaluations_of(history)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = [of.step for of in training]
    for name in training[0].losses if training else ():
        axes.plot(steps, _smooth([of.losses[name] for of in training]), label=f"{name} loss")
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    if evaluations:
        right = axes.twinx()
        at = [evaluation.step for evaluation in evaluations]
        for name, style in (("ap", "k-"), ("ap50", "k--")):
            values = [evaluation.metrics[name] or 0.0 for evaluation in evaluations]
            right.plot(at, values, style, marker=".", label=name.upper())
        right.set(ylabel="AP", ylim=(0, 1))
        right.legend(loc="lower right")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    publish_bytes(path, image.getvalue(), existing="replace")


def _smooth(values: Sequence[float], keep: float = 0.8) -> list[float]:
    """Return a running mean, so that trends show through the noise of small batches."""
    smoothed: list[float] = []
    for value in values:
        smoothed.append(keep * smoothed[-1] + (1 - keep) * value if smoothed else value)
    return smoothed
