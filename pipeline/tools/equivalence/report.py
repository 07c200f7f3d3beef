"""The report of an equivalence check for people: a line per level, a line per failure, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from ....cache.wording import counted
from .check import Equivalence, TrainingCheck
from .features import LevelFeatures

_COLUMNS = "{:<8} {:>7} {:>12} {:>13} {:>15} {:>9}"
_MAX_SHOWN = 20


def report_lines(found: Equivalence) -> Iterator[str]:
    """Yield the lines in the order in which one reads them; the last one is the verdict."""
    yield (
        f"{counted(found.samples, 'sample')} of {counted(found.images, 'image')} in "
        f"{counted(found.shards, 'shard')}, "
        f"{found.key.batch_size} a pass"
    )
    yield f"features: expected {found.expected}"
    yield f"bound: {_bound(found)}"
    yield _COLUMNS.format(
        "level", "samples", "same bits", "largest error", "of the largest", "of bound"
    )
    yield from map(_level, found.levels)
    if found.training is not None:
        yield from _training(found.training)
    yield from (f"failed: {failure}" for failure in found.failures[:_MAX_SHOWN])
    if len(found.failures) > _MAX_SHOWN:
        yield f"failed: ... and {len(found.failures) - _MAX_SHOWN} more"
    yield (
        "equivalent"
        if found.equivalent
        else f"not equivalent: {counted(len(found.failures), 'failure')}"
    )


def _bound(found: Equivalence) -> str:
    if found.expected.exact:
        return found.promise
    allowed = found.allowance
    return (
        f"{found.promise}; other arithmetic: {allowed.features:.2g} of a map's largest value, and "
        f"{allowed.map:.2g} of a map as a whole"
    )


def _level(level: LevelFeatures) -> str:
    share = level.same_bits / level.values if level.values else 0.0
    # Rounding does not show 100 % where some bits differ.
    shown = "all" if level.same_bits == level.values else f"{min(share, 0.99999):.3%}"
    return _COLUMNS.format(
        level.name,
        level.samples,
        shown if level.values else "-",
        f"{level.absolute:.2g}",
        f"{level.relative:.2g}",
        f"{level.of_bound:.2g}",
    )


def _training(found: TrainingCheck) -> Iterator[str]:
    yield (
        f"training: {counted(found.steps, 'step')} of {found.detector}, batches of {found.batch_size}, "
        f"cached against live: expected {found.expected}"
    )
    yield f"live features through the codec: {found.training_distance}"
    if not found.train_from:
        yield f"live features as they are: {found.raw}"
        return
    expected = "the codec changes the maps" if found.raw_expected is None else found.raw_expected
    yield f"finetune from {found.train_from}: {found.raw}; expected {expected}"
