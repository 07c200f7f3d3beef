"""The first lines of a run: how long it is, and whether its anchors or locations fit the objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ...cache.sampler import Sampler
from ...cache.wording import counted
from ...heads.detector import Head
from ..machines.duration import shown_time
from ..runs.config import RunConfig, fixed
from ..runs.info import RunInfo
from ..runs.presets import smaller_preset
from .auto import SeenTargets, class_shares
from .schedule import lr_factor

# A class is named where a greater share of its objects has no anchor or location for their size.
NAMED_SHARE = 0.05
NO_VALIDATION = (
    "there is no --val: nothing is evaluated, no best epoch is chosen, and the weights of the last epoch are "
    "kept; give --val CACHE to see how good the detector becomes"
)
LONG_SECONDS = 3600.0


def described_length(config: RunConfig, total: int, evaluated: bool) -> str:
    """Return a line on the number of steps and how they are done.

    evaluated: whether there are data to evaluate on.
    """
    train, optim = config.train, config.optim
    line = (
        f"{counted(total, 'step')} in {counted(fixed(train.epochs), 'epoch')}, "
        f"{counted(train.batch_size, 'image')} each; {optim.name}, "
        f"peak rate {fixed(optim.lr):.3g}, {train.precision}"
    )
    every = fixed(train.eval_every)
    often = "epoch" if every == 1 else f"{every} epochs"
    return f"{line}; evaluated every {often}" if evaluated else line


def described_extension(info: RunInfo, step: int, sampler: Sampler) -> str:
    """Return how the learning rate of a run that was just extended goes on, "" for any other run.

    step: the steps that it has done. sampler: that of all of its epochs.
    """
    if not info.extensions or step > info.extensions[-1].step:
        return ""
    before, epochs = info.extensions[-1].epochs, fixed(info.config.train.epochs)
    shorter = replace(sampler, epochs=before)
    was, now = (
        fixed(info.config.optim.lr) * lr_factor(info.config.schedule, min(step, steps), steps)
        for steps in (shorter.steps, sampler.steps)
    )
    return (
        f"extended from {before} to {epochs} epochs at step {step}: the rate goes on as that of a run of "
        f"{epochs} epochs at this step, {now:.3g} (by {counted(before, 'epoch')} it would be {was:.3g}); "
        f"this is not a run of {epochs} epochs from the start, and run.json says so"
    )


def described_fit(head: Head, seen: SeenTargets, names: Sequence[str]) -> Iterator[str]:
    """Yield a line on the anchors, where there are any, and one where objects of a class have none.

    names: the names of the classes, by label.
    """
    labels, boxes = seen.labels, seen.boxes
    if not len(labels):
        return
    anchors = head.anchor_generator
    if anchors is not None:
        smallest = min(anchors.scales) * anchors.spec.strides[0]
        sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
        tenth = float(torch.quantile(sides[: 2**20], 0.1))
        scales = ", ".join(f"{scale:.3g}" for scale in anchors.scales)
        yield (
            f"anchors of {scales} strides: the smallest has a side of {smallest:.0f} px, a tenth of the "
            f"objects one below {tenth:.0f} px"
        )
    missed = torch.cat(
        [
            ~head.fit(t.boxes, p.canvas_hw).reached
            for t, p in zip(seen.targets, seen.placements, strict=True)
        ]
    )
    shares = class_shares(missed, labels)
    odd = [f"{names[k]} {share:.0%}" for k, share in shares.items() if share > NAMED_SHARE]
    if odd:
        kind = "an anchor" if anchors is not None else "a location"
        yield f"objects without {kind} for their size, by class: {', '.join(odd)}"


def described_time(config: RunConfig, seconds: float) -> str:
    """Return a line on the time that the remaining steps take, with a smaller preset where it is long."""
    line = f"the remaining steps will take about {shown_time(seconds)}, without evaluations"
    if seconds <= LONG_SECONDS:
        return line
    neck, head = config.neck, config.head
    smaller = smaller_preset(neck.name, head.name, neck.channels)
    return line if smaller is None else f"{line}; --config {smaller} is a smaller detector"
