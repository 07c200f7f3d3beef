"""The pilots of a fit: `fdet plan`, and with a limit of time a small cache and short trainings on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...dataset.images.views import parse_views
from ...runs.config import RunConfig
from ...runs.history import read_history, steps_of
from ...runs.presets import smaller_preset
from ...training.length import auto_epochs
from .canvas import Canvas
from .child import Lines
from .folder import PILOT_CACHE, PILOT_RUN, SMALL_PILOT_RUN, TRAIN
from .ladder import CODECS, PLAIN, Costs, Rates, Rung, Work, costs_of
from .measuring import pilot_epochs, pilot_images, rates_of_plan, seconds_of, step_seconds
from .options import FitOptions
from .parts import Part
from .session import Session
from .words import command_text, extract_words, plan_words, train_words

# At most so many times the epochs that are chosen without a limit: more has gained nothing (docs/recipe.md).
LONGEST = 2
# A pilot measures how fast the settings are, and not what they are chosen for.
_PILOT_SETTINGS = ("train.patience=0", "train.fraction=1", "train.views=0")


def work_of(config: RunConfig, images: int, val_images: int, views: str) -> Work:
    """Return what is to be done with so many images, in these views at most."""
    train = config.train
    trained = max(1, round(images * train.fraction))
    auto = auto_epochs(trained, train.batch_size, train.views or len(parse_views(views)))
    epochs = auto if train.epochs == "auto" else train.epochs
    steps = epochs * trained / train.batch_size
    return Work(images, val_images, trained, train.batch_size, steps, LONGEST * auto)


@dataclass
class Pilots:
    """The rates that were measured, and those that are measured when they are first needed.

    part: what is trained on. rates: what `fdet plan` measured, and the pilots in addition. steps: the seconds
    of a step on the canvas of the rates, by whether it is the smaller detector. cut: the mean number of tiles
    that an image is cut into, which are the images of `work`.
    """

    session: Session
    config: RunConfig
    part: Part
    work: Work
    rates: Rates
    steps: dict[bool, float] = field(default_factory=dict)
    cut: float = 1.0

    @property
    def options(self) -> FitOptions:
        return self.session.options

    @property
    def preset(self) -> str | None:
        """The smaller detector that may be chosen; None where there is none, or the options name one."""
        sections = ("neck.", "head.")
        if self.options.config or any(a.startswith(sections) for a in self.options.assignments):
            return None
        neck, head = self.config.neck, self.config.head
        return smaller_preset(neck.name, head.name, neck.channels)

    def costs(self, rung: Rung) -> Costs:
        """Return what a rung costs, after a short training where its detector has had none yet."""
        if rung.small not in self.steps:
            self.steps[rung.small] = self._pilot(rung.small)
        return costs_of(rung, self.work, self.rates, self.steps[rung.small])

    def _pilot(self, small: bool) -> float:
        session, batch_size = self.session, self.work.batch_size
        cache = session.out / PILOT_CACHE
        images = min(pilot_images(batch_size), self.work.images)
        if not self.steps:
            words = extract_words(
                self.options, self.part, cache, self.rates.canvas, PLAIN, usual_codec(self.options)
            )
            limit = math.ceil(images / self.cut)
            seconds = measure(session, [*words, "--limit", str(limit)])
            # The calibration passes all images through the backbone once more.
            start = max(seconds - 2 * images * self.rates.sample, 1.0)
            self.rates = replace(self.rates, start=start)
        run = session.out / (SMALL_PILOT_RUN if small else PILOT_RUN)
        epochs = f"train.epochs={pilot_epochs(images, batch_size)}"
        settings, preset = (epochs, *_PILOT_SETTINGS), self.preset if small else None
        seconds = measure(session, train_words(self.options, (cache, None), run, preset, settings))
        rest = seconds - seconds_of(steps_of(read_history(run)))
        self.rates = replace(self.rates, train_start=max(rest, 1.0))
        return step_seconds(run)


def planned(session: Session, part: Part, canvas: Canvas, views: str) -> Rates:
    """Run `fdet plan` and return the rates that it states."""
    lines: list[str] = []
    options = session.options
    codec = usual_codec(options)
    measure(
        session, plan_words(options, part, session.out / TRAIN, canvas, views, codec), lines.append
    )
    return rates_of_plan("\n".join(lines), canvas)


def usual_codec(options: FitOptions) -> str:
    """Return the codec that is used where there is room."""
    return options.codec or CODECS[0]


def measure(session: Session, words: Sequence[str], lines: Lines = lambda line: None) -> float:
    """Run a command that only measures, and return how long it took; its output is not printed.

    Raises StepFailed, and KeyboardInterrupt where it was interrupted.
    """
    session.say(f"\n$ {command_text(words)}")
    seconds, ended = session.timed(words, lines)
    if ended.interrupted:
        raise KeyboardInterrupt
    return seconds
