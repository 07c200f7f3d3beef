"""curve.png: losses and AP over the steps of a run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...cache.disk.publish import publish_bytes


def draw_curve(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """From the lines of metrics.jsonl."""
    from matplotlib.figure import Figure

    training = [line for line in lines if line["kind"] == "train" and "losses" in line]
    evaluations = [line for line in lines if line["kind"] == "eval"]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = [line["step"] for line in training]
    for name in training[0]["losses"] if training else ():
        axes.plot(steps, _smooth([line["losses"][name] for line in training]), label=f"{name} loss")
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    if evaluations:
        right = axes.twinx()
        at = [line["step"] for line in evaluations]
        for name, style in (("ap", "k-"), ("ap50", "k--")):
            values = [line["metrics"][name] or 0.0 for line in evaluations]
            right.plot(at, values, style, marker=".", label=name.upper())
        right.set(ylabel="AP", ylim=(0, 1))
        right.legend(loc="lower right")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    publish_bytes(path, image.getvalue(), existing="replace")


def _smooth(values: Sequence[float], keep: float = 0.8) -> list[float]:
    """A running mean, so that trends show through the noise of small batches."""
    smoothed: list[float] = []
    for value in values:
        smoothed.append(keep * smoothed[-1] + (1 - keep) * value if smoothed else value)
    return smoothed
