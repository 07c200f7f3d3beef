"""`fdet fit`: split, check, plan, extract, train, evaluate, predict, report, each by its own command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ....cache.format.header import NAME as HEADER
from ....cache.format.header import read_key
from ....cache.wording import counted
from ...dataset.annotations import Annotations
from ...dataset.images.decoding import has_deep_pixels
from ...dataset.tiles import annotations_of_tiles
from ...dataset.tiling import tiles_of
from ...machines.duration import shown_time
from ...runs.config import RunConfig
from .checks import check_fit
from .choosing import PLANNED, choose
from .ending import closing_lines
from .finishing import finish, without_advice
from .folder import EXTRACT_TRAIN, EXTRACT_VAL, RUN, TRAIN, TRAINING, VAL
from .ladder import PLAIN, Costs
from .length import FEWEST_STEPS, Length, length_for
from .options import FitOptions
from .parts import Part
from .pilots import work_of
from .preparing import prepared_parts, refuse_unusable
from .session import REMARKS, Session, Surroundings, session
from .words import extract_words, train_words


def fit(options: FitOptions, around: Surroundings | None = None) -> None:
    """Make a detector of a data set, or go on where the same command was interrupted.

    Raises InputError, ConfigError, StepFailed (a command failed), CorruptCache, StorageError, and
    KeyboardInterrupt once the command that was running has ended.
    """
    options = options.without_dashes()
    config = check_fit(options)
    around = around or Surroundings()
    around.device(options.device)
    with session(options, around) as current:
        parts = prepared_parts(current)
        if current.state.chosen is None:
            _choose(current, config, parts)
        _extract(current, parts)
        _train(current, config)
        finish(current, parts[1])
        for line in closing_lines(current):
            current.say(line)


def _choose(current: Session, config: RunConfig, parts: tuple[Part, Part]) -> None:
    train, val = (part.read() for part in parts)
    refuse_unusable(train, val)
    of_train, of_val = (_samples(current, part.annotations) for part in (train, val))
    val_images = len(of_val.images)
    current.state.chosen = choose(current, config, parts[0], of_train, val_images)
    current.save()


def _samples(current: Session, annotations: Annotations) -> Annotations:
    """Return the annotations of what is extracted: of the images, or of their tiles."""
    tiling = current.options.tiling
    if tiling is None:
        return annotations
    return annotations_of_tiles(annotations, tiles_of(annotations.images, tiling))


def _extract(current: Session, parts: tuple[Part, Part]) -> None:
    chosen = current.state.chosen
    assert chosen is not None
    train, val = parts
    _extract_part(current, EXTRACT_TRAIN, train, current.out / TRAIN, chosen.views)
    _extract_part(current, EXTRACT_VAL, val, current.out / VAL, PLAIN)


def _extract_part(current: Session, name: str, part: Part, out: Path, views: str) -> None:
    chosen, options, product = current.state.chosen, current.options, out / "manifest.json"
    assert chosen is not None
    calibration = None
    if name == EXTRACT_VAL and not current.is_done(name, product):
        options = replace(options, bits=_bits_as_trained(current, part))
        calibration = _scales_as_trained(current)
    words = extract_words(options, part, out, chosen.canvas, views, chosen.codec, calibration)
    current.step(name, words, products=[product])
    if current.state.done[name].status == REMARKS:
        current.say(f"{out}: some images could not be read, and are left out")


def _scales_as_trained(current: Session) -> Path | None:
    """Return the cache whose scales the one for validation takes over; None where it has others or none.

    So `fdet evaluate` sees the maps that `fdet predict` sees. Raises InputError, CorruptCache.
    """
    train, val = current.out / TRAIN, current.out / VAL
    key = read_key(train)
    if (val / HEADER).exists() and read_key(val).calibration != key.calibration:
        return None  # An older fdet began it.
    return train if key.calibration else None


def _bits_as_trained(current: Session, val: Part) -> int | None:
    """Return the bits with which deep pixels for validation are read as those of the training cache are.

    None where both have none. Raises InputError, CorruptCache.
    """
    bits = current.options.bits or read_key(current.out / TRAIN).bits
    if bits:
        return bits
    data = val.read()
    assert data.images is not None
    files = (data.images / image.file_name for image in data.annotations.images)
    return 16 if any(map(has_deep_pixels, files)) else None


def _train(current: Session, config: RunConfig) -> None:
    options, chosen = current.options, current.state.chosen
    assert chosen is not None
    run = current.out / RUN
    begun = (run / "run.json").exists()
    if not begun:
        current.state.length = None
        if options.time is not None and config.train.epochs == "auto":
            _set_length(current, config)
    length = current.state.length
    settings = [] if length is None else _open_settings(config, length)
    caches = current.out / TRAIN, current.out / VAL
    preset = chosen.preset if options.config is None else None  # It may be given later.
    words = train_words(options, caches, run, preset, settings)
    current.step(
        TRAINING,
        words,
        products=[run / "best.safetensors"],
        repeated=["--resume"] if begun else [],
        lines=without_advice(current),
    )


def _open_settings(config: RunConfig, length: Length) -> list[str]:
    """Return the settings for a length, except for an interval of evaluations that was asked for."""
    asked = config.train.eval_every != "auto"
    return [a for a in length.assignments if not (asked and a.startswith("train.eval_every="))]


def _set_length(current: Session, config: RunConfig) -> None:
    """Set the length of the training from the time that is left, and keep it."""
    chosen, time = current.state.chosen, current.options.time
    assert chosen is not None and time is not None
    work = work_of(config, chosen.images, chosen.val_images, chosen.views)
    costs = Costs(0.0, chosen.step, chosen.evaluation, chosen.after)
    left = (1 + PLANNED) / 2 * time - current.used - chosen.after
    length = length_for(costs, work, left)
    current.state.length = length
    current.save()
    steps = length.steps(work)
    current.say(
        f"time: {shown_time(max(left, 0))} are left for training: about {steps:.0f} steps, "
        f"{counted(length.epochs, 'epoch')}"
    )
    if steps * chosen.step > left + 1:
        current.say(f"time: fewer than {FEWEST_STEPS} steps make no detector: it will take longer")
