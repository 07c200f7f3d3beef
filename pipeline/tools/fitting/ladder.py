"""The rungs of `fdet fit`: what may be extracted and trained, the best first, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...dataset.images.views import parse_views
from ...extraction.options import CALIBRATION_IMAGES
from .canvas import SMALLEST, Canvas
from .words import PICTURES

# The views of a data set of up to so many images, and the fewer that it has to make do with.
SIX = "plain,hflip,scale=0.7..1.4x2,scale=0.7..1.4+hflipx2"
THREE = "plain,hflip,scale=0.7..1.4"
PLAIN = "plain"
MANY, VERY_MANY = 5_000, 20_000

# Factors of the canvas' sides and numbers of views, by how much AP they lose (docs/recipe.md: half the
# size loses six points, one view instead of six seven).
_ORDER = (
    *((1.0, SIX), (1.0, THREE), (0.75, SIX), (0.75, THREE), (1.0, PLAIN)),
    *((0.5, SIX), (0.5, THREE), (0.75, PLAIN), (0.5, PLAIN)),
)
# The codecs that are tried for lack of room, the finest first.
CODECS = ("int5", "int5+pca", "int4", "int4+pca")

# An evaluation of an image takes about this share of the time that training on it takes.
EVALUATED = 0.5
# Evaluations while training: so many, but no more than this share of its time, except for the last two.
MAX_EVALUATIONS, MIN_EVALUATIONS, EVALUATION_SHARE = 10, 2, 0.2


@dataclass(frozen=True, slots=True)
class Rung:
    """A choice of what is extracted and trained. small: whether it is the smaller detector."""

    canvas: Canvas
    views: str
    small: bool = False

    @property
    def count(self) -> int:
        """The number of views."""
        return len(parse_views(self.views))


def views_for(images: int) -> str:
    """Return the views of a data set of that many images: the fewer images, the more views."""
    return SIX if images <= MANY else THREE if images <= VERY_MANY else PLAIN


def ladder(canvas: Canvas, views: str, *, sizes: bool, fewer: bool, heads: bool) -> Iterator[Rung]:
    """Yield the rungs, the best first.

    canvas, views: those of the first rung. sizes, fewer, heads: whether smaller canvases, fewer views and the
    smaller detector may be chosen.
    """
    maximum = len(parse_views(views))
    own = [(scale, given) for scale, given in _ORDER if len(parse_views(given)) <= maximum]
    wanted = own if fewer else [(scale, views) for scale in dict.fromkeys(s for s, _ in _ORDER)]
    seen = set()
    for scale, given in wanted:
        scaled = canvas.scaled(scale)
        too_small = scale < 1 and (not sizes or scaled.short < SMALLEST)
        if too_small or (scaled, given) in seen:
            continue
        seen.add((scaled, given))
        yield Rung(scaled, given)
        if heads:
            yield Rung(scaled, given, small=True)


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates that were measured on a canvas.

    sample: the seconds of extracting one sample. bytes: the size of a sample, by codec. free: the bytes that
    are free. start, train_start: the seconds that a command, and a training, take beside samples and steps.
    """

    canvas: Canvas
    sample: float
    bytes: Mapping[str, float]
    free: float
    start: float = 0.0
    train_start: float = 0.0


@dataclass(frozen=True, slots=True)
class Work:
    """The work that is to be done.

    images, val_images: those that are extracted. trained: the images of an epoch. minimum_steps: the steps of
    a full training. maximum_epochs: those of the longest training.
    """

    images: int
    val_images: int
    trained: int
    batch_size: int
    minimum_steps: float
    maximum_epochs: int


@dataclass(frozen=True, slots=True)
class Costs:
    """The seconds of a rung: both extractions, a step, an evaluation, and all that follows training."""

    extraction: float
    step: float
    evaluation: float
    after: float

    @property
    def fixed(self) -> float:
        """The seconds beside the steps and evaluations of training."""
        return self.extraction + self.after


def codec_that_fits(
    rung: Rung, work: Work, rates: Rates, codecs: Sequence[str], room: float
) -> str | None:
    """Return the first of some codecs whose caches fit into the room, bytes; None where none does."""
    return next((c for c in codecs if cache_bytes(rung, work, rates, c) <= room), None)


def cache_bytes(rung: Rung, work: Work, rates: Rates, codec: str) -> float:
    """Return the bytes of both caches."""
    samples = work.images * rung.count + work.val_images
    return samples * rates.bytes[codec] * rung.canvas.area / rates.canvas.area


def costs_of(rung: Rung, work: Work, rates: Rates, step: float) -> Costs:
    """Return what a rung costs. step: the seconds of a step of its detector on the canvas of the rates."""
    area = rung.canvas.area / rates.canvas.area
    samples = work.images * rung.count + work.val_images + CALIBRATION_IMAGES
    evaluation = EVALUATED * step * area * work.val_images / work.batch_size
    sample = rates.sample * area
    # The start of the training; then come an evaluation, the pictures and the report.
    after = rates.train_start + 3 * rates.start + evaluation + PICTURES * sample
    return Costs(2 * rates.start + samples * sample, step * area, evaluation, after)


def length_within(costs: Costs, seconds: float) -> tuple[float, int]:
    """Return how many steps and evaluations training may have. seconds: the time for these alone."""
    seconds = max(seconds, 0.0)
    evaluations = MAX_EVALUATIONS
    if costs.evaluation > 0:
        affordable = int(EVALUATION_SHARE * seconds / costs.evaluation)
        evaluations = min(MAX_EVALUATIONS, max(MIN_EVALUATIONS, affordable))
    left = seconds - evaluations * costs.evaluation
    return max(left, 0.0) / costs.step, evaluations


def fits(costs: Costs, work: Work, seconds: float) -> bool:
    """Return whether a rung and its least number of steps fit into the time."""
    return length_within(costs, seconds - costs.fixed)[0] >= work.minimum_steps


def seconds_needed(costs: Costs, steps: float) -> float:
    """Return the seconds of a rung with so many steps."""
    training = steps * costs.step
    evaluations = MAX_EVALUATIONS * costs.evaluation
    if evaluations > EVALUATION_SHARE * (training + evaluations):
        share = training * EVALUATION_SHARE / (1 - EVALUATION_SHARE)
        evaluations = max(MIN_EVALUATIONS * costs.evaluation, share)
    return costs.fixed + training + evaluations
