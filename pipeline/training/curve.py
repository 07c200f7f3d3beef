"""curve.png: the losses, AP and learning rate over the steps of a run, also while it trains."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...cache.disk.publish import publish_bytes
from ...cache.errors import FdetError
from ..runs.history import Evaluation, History, Steps, evaluations_of, read_history, steps_of
from ..watching.events import Event, Hook

log = logging.getLogger(__name__)

CURVE = "curve.png"
# s: no curve is drawn before, as the first one also imports matplotlib.
FIRST_SECONDS = 10.0
# The maximum share of the time that drawing takes.
LARGEST_SHARE = 0.02


def curve_hook(run: Path, clock: Callable[[], float] = time.monotonic) -> Hook:
    """Return a hook that draws a run's curve after each evaluation, or each epoch if none is evaluated.

    It leaves a curve out where drawing would take more than LARGEST_SHARE of the time; the last one is drawn
    at the end of the run. A curve that cannot be written is only a warning, and only once.
    """
    pause_until, epoch, warned = clock() + FIRST_SECONDS, 0, False

    def draw(event: Event) -> None:
        """Draw the curve where it is due and drawing has paused long enough."""
        nonlocal pause_until, epoch, warned
        before, epoch = epoch, event.line["epoch"]
        due = event.kind == "eval" or 0 < before < epoch
        began = clock()
        if not due or began < pause_until:
            return
        try:
            draw_curve(read_history(run), run / CURVE)
        except FdetError as error:
            if not warned:
                log.warning("%s is not drawn while the run trains (%s)", CURVE, error)
            warned = True
        now = clock()
        pause_until = now + (now - began) / LARGEST_SHARE

    return draw


def draw_curve(history: History, path: Path) -> None:
    """Draw the losses, APs and learning rates of a run's history into a PNG, which replaces an older one.

    The plots stand one above the other, and their legends beside them, so that they cover nothing. Raises
    StorageError.
    """
    from matplotlib.figure import Figure

    steps, evaluations = steps_of(history), evaluations_of(history)
    rates = [of for of in steps if of.lr is not None]
    heights = [3, *([3] if evaluations else []), *([1.5] if rates else [])]
    figure = Figure(figsize=(9, 1 + sum(heights)), layout="constrained")
    places = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    loss, *others = places[:, 0]
    _losses(loss, [of for of in steps if of.losses])
    if evaluations:
        _precisions(others[0], evaluations)
    if rates:
        others[-1].plot([of.step for of in rates], [of.lr for of in rates], color="tab:gray")
        others[-1].set(ylabel="learning rate", ylim=(0, None))
    for axes in (loss, *others):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    places[-1, 0].set(xlabel="step", xlim=(0, None))
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    publish_bytes(path, image.getvalue(), existing="replace")


def _losses(axes: Any, steps: Sequence[Steps]) -> None:
    """Plot the losses by name and, where there are several, their sum."""
    at = [of.step for of in steps]
    names = list(dict.fromkeys(name for of in steps for name in of.losses))
    if len(names) > 1:
        total = [sum(of.losses.values()) for of in steps]
        axes.plot(at, _smooth(total), color="black", label="all losses")
    for name in names:
        axes.plot(at, _smooth([of.losses.get(name, 0.0) for of in steps]), label=f"{name} loss")
    axes.set(ylabel="loss, running mean", ylim=(0, None))


def _precisions(axes: Any, evaluations: Sequence[Evaluation]) -> None:
    at = [evaluation.step for evaluation in evaluations]
    for name, style in (("ap", "-"), ("ap50", "--")):
        values = [100 * (evaluation.metrics.get(name) or 0.0) for evaluation in evaluations]
        axes.plot(at, values, style, color="black", marker=".", label=name.upper())
    axes.set(ylabel="AP", ylim=(0, 100))


def _smooth(values: Sequence[float], keep: float = 0.8) -> list[float]:
    """Return a running mean, so that trends show through the noise of small batches."""
    smoothed: list[float] = []
    for value in values:
        smoothed.append(keep * smoothed[-1] + (1 - keep) * value if smoothed else value)
    return smoothed
