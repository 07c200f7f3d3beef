"""The choices of `fdet fit` before it extracts: the canvas, the views, the codec and the detector.

Each choice is printed with the figures that it follows from.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ....cache.disk.sizes import format_bytes
from ....cache.errors import InputError
from ....cache.wording import counted
from ...dataset.annotations import Annotations
from ...dataset.images.sides import chosen_long, usual_long
from ...dataset.tiling import files_of
from ...machines.duration import shown_time, written_duration
from ...runs.config import RunConfig
from .canvas import ACCELERATOR, PROCESSOR, SMALL_SIDE, Canvas, choose_canvas, sizes_of
from .folder import PILOT_NAMES
from .ladder import (
    CODECS,
    Rung,
    cache_bytes,
    codec_that_fits,
    costs_of,
    fits,
    ladder,
    length_within,
    seconds_needed,
    views_for,
)
from .length import FEWEST_STEPS
from .parts import Part
from .pilots import Pilots, planned, work_of
from .session import Session
from .state import Chosen

# The shares of the time and of the free disk space that are planned for.
PLANNED, ROOM = 0.9, 0.95
# Where no rung fits, the best of those that leave time for nearly as many steps as the cheapest: this share.
CHEAPEST = 0.9


@dataclass(frozen=True, slots=True)
class _Choice:
    """A rung that there is room for, and its codec."""

    rung: Rung
    codec: str


def choose(
    session: Session, config: RunConfig, part: Part, annotations: Annotations, val_images: int
) -> Chosen:
    """Choose what is extracted and trained, and say why.

    part, annotations: what is trained on. val_images: the number of images for validation. Raises InputError
    where nothing fits into room and time.
    """
    options, images = session.options, len(annotations.images)
    canvas = _canvas(session, annotations)
    views = options.views or views_for(images)
    why = "" if options.views else f", for {counted(images, 'image')}"
    session.say(f"views: {views}{why}")
    rates = planned(session, part, canvas, views)
    cut = images / len(files_of(annotations.images))
    work = work_of(config, images, val_images, views)
    pilots = Pilots(session, config, part, work, rates, cut=cut)
    first = Rung(canvas, views)
    _refuse_hopeless(pilots, first)
    choice = _choice(pilots, first)
    for line in _described(pilots, choice, first):
        session.say(line)
    for name in PILOT_NAMES:
        shutil.rmtree(session.out / name, ignore_errors=True)
    return _chosen(pilots, choice)


def _canvas(session: Session, annotations: Annotations) -> Canvas:
    options = session.options
    if options.size is not None:
        return Canvas(options.size, options.size, square=True)
    if options.short is not None:
        if line := chosen_long(options.short, options.long):
            session.say(line)
        return Canvas(options.short, options.long or usual_long(options.short))
    accelerator = session.around.accelerator(options.device)
    limit = ACCELERATOR if accelerator else PROCESSOR
    found = choose_canvas(sizes_of(annotations), limit)
    why = f"the median of the images' shorter sides is {found.median:.0f} px"
    if found.enlarged:
        why += f"; above {limit}, as a tenth of the objects would have a side below {SMALL_SIDE:.0f} px"
    elif found.canvas.short == limit < found.median:
        why += f", and more is slow on {'an accelerator' if accelerator else 'a processor'}"
    session.say(f"input: {' '.join(found.canvas.words)}: {why}")
    return found.canvas


def _rungs(pilots: Pilots, first: Rung, *, heads: bool = True) -> Iterator[Rung]:
    """Yield the rungs. heads: whether those with the smaller detector are wanted."""
    options = pilots.options
    return ladder(
        first.canvas,
        first.views,
        sizes=options.size is None and options.short is None,
        fewer=options.views is None,
        heads=heads and options.time is not None and pilots.preset is not None,
    )


def _choice(pilots: Pilots, first: Rung) -> _Choice:
    """Return the best rung that fits into room and time, and its codec. Raises InputError."""
    options = pilots.options
    codecs = CODECS if options.codec is None else (options.codec,)
    room = ROOM * min(pilots.rates.free, options.disk or float("inf"))
    roomy = []
    for rung in _rungs(pilots, first):
        codec = codec_that_fits(rung, pilots.work, pilots.rates, codecs, room)
        if codec is None:
            continue
        if _in_time(pilots, rung):
            return _Choice(rung, codec)
        roomy.append(_Choice(rung, codec))
    if not roomy:
        rungs = _rungs(pilots, first)
        sizes = [cache_bytes(r, pilots.work, pilots.rates, c) for r in rungs for c in codecs]
        raise InputError(
            f"--disk: the caches need at least {format_bytes(min(sizes) / ROOM)}, and there is room for "
            f"{format_bytes(room / ROOM)}: make room, or give a smaller input, fewer --views or fewer images"
        )
    return _cheapest(pilots, roomy)


def _in_time(pilots: Pilots, rung: Rung) -> bool:
    if pilots.options.time is None:
        return True
    return fits(pilots.costs(rung), pilots.work, _time_left(pilots))


def _refuse_hopeless(pilots: Pilots, first: Rung) -> None:
    """Raise InputError where the extractions of every rung take too long, before any step is measured."""
    if pilots.options.time is None:
        return
    rungs = _rungs(pilots, first, heads=False)
    least = min(costs_of(rung, pilots.work, pilots.rates, 0.0).fixed for rung in rungs)
    needed = (pilots.session.used + least) / PLANNED
    if needed > pilots.options.time:
        raise InputError(
            f"--time {shown_time(pilots.options.time)}: it is too little for these data, as extraction alone "
            f"takes {shown_time(least)}; give more than --time {written_duration(needed)}, or fewer images"
        )


def _time_left(pilots: Pilots) -> float:
    assert pilots.options.time is not None
    return PLANNED * pilots.options.time - pilots.session.used


def _steps_left(pilots: Pilots, rung: Rung) -> float:
    """Return how many steps of a rung there is time for."""
    costs = pilots.costs(rung)
    return length_within(costs, _time_left(pilots) - costs.fixed)[0]


def _cheapest(pilots: Pilots, roomy: Sequence[_Choice]) -> _Choice:
    """Return the best of the cheapest choices, whose training is cut to end in time. Raises InputError."""
    full = pilots.work.minimum_steps
    steps_of = {choice: _steps_left(pilots, choice.rung) for choice in roomy}
    maximum = max(steps_of.values())
    choice, steps = next((c, steps) for c, steps in steps_of.items() if steps >= CHEAPEST * maximum)
    costs = pilots.costs(choice.rung)

    def enough(steps: float) -> str:
        seconds = pilots.session.used + seconds_needed(costs, steps)
        return f"--time {written_duration(seconds / PLANNED)}"

    given = f"--time {shown_time(pilots.options.time or 0)}"
    if pilots.config.train.epochs != "auto":
        raise InputError(
            f"{given}: it is not enough for train.epochs={pilots.config.train.epochs}; give {enough(full)}, "
            "or leave the epochs to fdet fit"
        )
    if steps < FEWEST_STEPS:
        raise InputError(
            f"{given}: it is too little for these data; {enough(FEWEST_STEPS)} is enough for the least "
            f"training, {enough(full)} for a full one; or give fewer images"
        )
    pilots.session.say(
        f"time: too little for a full training: it is cut to about {steps:.0f} of {full:.0f} steps, which "
        f"costs AP; {enough(full)} would be enough"
    )
    return choice


def _described(pilots: Pilots, choice: _Choice, first: Rung) -> Iterator[str]:
    """Yield the lines on what was chosen, and where it is less than the first rung."""
    rung = choice.rung
    changes = {
        " ".join(rung.canvas.words): rung.canvas != first.canvas,
        f"--views {rung.views}": rung.views != first.views,
        f"--config {pilots.preset}": rung.small,
    }
    if any(changes.values()):
        why = "room" if pilots.options.time is None else "time"
        yield f"{why}: {', '.join(text for text, made in changes.items() if made)}, so that it fits"
    size = cache_bytes(rung, pilots.work, pilots.rates, choice.codec)
    yield (
        f"codec: {choice.codec}; both caches take about {format_bytes(size)}, and "
        f"{format_bytes(pilots.rates.free)} are free"
    )
    if pilots.options.time is not None:
        costs = pilots.costs(rung)
        yield (
            f"time: extraction takes about {shown_time(costs.extraction)}, a step {costs.step:.2g} s, an "
            f"evaluation {shown_time(costs.evaluation)}"
        )


def _chosen(pilots: Pilots, choice: _Choice) -> Chosen:
    rung, rates = choice.rung, pilots.rates
    measured: dict[str, float] = {
        "sample_seconds": rates.sample,
        "sample_bytes": rates.bytes[choice.codec],
        "short": rates.canvas.short,
        "long": rates.canvas.long,
        "free_bytes": rates.free,
    }
    chosen = Chosen(
        rung.canvas,
        rung.views,
        choice.codec,
        pilots.work.images,
        pilots.work.val_images,
        pilots.preset if rung.small else None,
        measured=measured,
    )
    if pilots.options.time is None:
        return chosen
    costs = pilots.costs(rung)
    measured |= {"start_seconds": rates.start, "train_start_seconds": rates.train_start}
    for small, seconds in pilots.steps.items():
        measured["small_step_seconds" if small else "step_seconds"] = seconds
    return replace(chosen, step=costs.step, evaluation=costs.evaluation, after=costs.after)
