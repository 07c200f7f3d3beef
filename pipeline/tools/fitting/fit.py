"""`fdet fit`: split, check, plan, extract, train, evaluate, predict, report, each by its own command."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from ....cache.disk.publish import publish_bytes
from ....cache.errors import FdetError, InputError
from ....cache.format.annotation_copy import read_annotations
from ....cache.format.header import NAME as HEADER
from ....cache.format.header import CacheHeader, read_key
from ...dataset.annotations import Annotations
from ...dataset.class_numbers import numbered_alike
from ...dataset.data_set import DataSet
from ...dataset.images import has_deep_pixels
from ...machines.duration import shown_time
from ...pictures.choice import choose_images
from ...runs.config import RunConfig
from ...runs.inspection import HEADING
from .checks import check_fit
from .child import Lines
from .choosing import PLANNED, choose
from .data_check import check_parts
from .ending import closing_lines
from .folder import (
    DATA,
    EXTRACT_TRAIN,
    EXTRACT_VAL,
    FOUND,
    PREDICTION,
    REPORT,
    RUN,
    TRAIN,
    TRAINING,
    VAL,
    VAL_ANNOTATIONS,
)
from .inputs import WHOLE
from .ladder import PLAIN, Costs
from .length import FEWEST_STEPS, Length, length_for
from .options import FitOptions
from .parts import Part, json_format, named_parts, split_parts
from .pilots import work_of
from .session import REMARKS, Session, Surroundings, session
from .words import (
    PICTURES,
    evaluate_words,
    extract_words,
    predict_words,
    report_words,
    split_words,
    train_words,
)


def fit(options: FitOptions, around: Surroundings | None = None) -> None:
    """Make a detector of a data set, or go on where the same command was interrupted.

    Raises InputError, ConfigError, StepFailed (a command failed), CorruptCache, StorageError, and
    KeyboardInterrupt once the command that was running has ended.
    """
    options = options.without_dashes()
    config = check_fit(options)
    with session(options, around or Surroundings()) as current:
        parts = _parts(current)
        if current.state.chosen is None:
            _choose(current, config, parts)
        _extract(current, parts)
        _train(current, config)
        _finish(current, parts)
        for line in closing_lines(current):
            current.say(line)


def _parts(current: Session) -> tuple[Part, Part]:
    """Return the parts of the data, split and checked."""
    options = current.options
    train, val = named_parts(options)
    if val is None:
        folder, whole = current.out / DATA, train
        current.step("split", split_words(whole, folder, options.seed), product=folder)
        images = current.inputs.parts[WHOLE].folder
        current.state.images = images
        train, val = split_parts(folder, Path(images), options)
    else:
        val = _numbered_as_train(current, train, val)
    check_parts(current, train, val)
    return train, val


def _numbered_as_train(current: Session, train: Part, val: Part) -> Part:
    """Return the part for validation with the ids that classes have in training, where ids are made up.

    Each of two VOC folders or CSV files numbers its own classes, and one may lack a class of the other.
    Raises InputError, StorageError.
    """
    mine, theirs = train.read(), val.read()
    if not theirs.numbered or _classes(mine.annotations) == _classes(theirs.annotations):
        return val
    alike = numbered_alike({"train": mine, "val": theirs})["val"]
    if _classes(mine.annotations) != _classes(alike.annotations):
        return val
    path = current.out / VAL_ANNOTATIONS
    publish_bytes(path, alike.raw, existing="replace")
    current.say(
        f"{theirs.source}: its classes get the numbers that they have in training, in {path}"
    )
    return Part(path, alike.images, json_format(val.format))


def _choose(current: Session, config: RunConfig, parts: tuple[Part, Part]) -> None:
    train, val = (part.read() for part in parts)
    _refuse_other_classes(train, val)
    _refuse_without_objects(train, "learn", "label some")
    _refuse_without_objects(val, "measure", "name other data for validation by --val")
    val_images = len(val.annotations.images)
    current.state.chosen = choose(current, config, parts[0], train.annotations, val_images)
    current.save()


def _refuse_other_classes(train: DataSet, val: DataSet) -> None:
    mine, theirs = (_classes(data.annotations) for data in (train, val))
    if mine != theirs:
        odd = ", ".join(map(str, sorted(set(mine.items()) ^ set(theirs.items()))[:3]))
        raise InputError(
            f"{val.source}: its classes are not those of {train.source}; differing (id, name): {odd}; list "
            "the same classes in both"
        )


def _refuse_without_objects(data: DataSet, purpose: str, remedy: str) -> None:
    if data.annotations.packed.crowd.all():
        raise InputError(
            f"{data.source}: none of its {len(data.annotations.images)} images has an object, so there is "
            f"nothing to {purpose}; {remedy}"
        )


def _classes(annotations: Annotations) -> dict[int, str]:
    return dict(zip(annotations.class_ids, annotations.class_names, strict=True))


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
    current.step(name, words, product=product)
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
        product=run / "best.safetensors",
        repeated=["--resume"] if begun else [],
        lines=_without_advice(current),
    )


def _open_settings(config: RunConfig, length: Length) -> list[str]:
    """Return the settings for a length, except for an interval of evaluations that was asked for."""
    asked = config.train.eval_every != "auto"
    return [a for a in length.assignments if not (asked and a.startswith("train.eval_every="))]


def _set_length(current: Session, config: RunConfig) -> None:
    """Set the length of the training from the time that is left, and keep it."""
    chosen, time = current.state.chosen, current.options.time
    assert chosen is not None and time is not None
    work = work_of(config, chosen.images, chosen.val_images)
    costs = Costs(0.0, chosen.step, chosen.evaluation, chosen.after)
    left = (1 + PLANNED) / 2 * time - current.used - chosen.after
    length = length_for(costs, work, left)
    current.state.length = length
    current.save()
    steps = length.steps(work)
    current.say(
        f"time: {shown_time(max(left, 0))} are left for training: about {steps:.0f} steps, "
        f"{length.epochs} epochs"
    )
    if steps * chosen.step > left + 1:
        current.say(f"time: fewer than {FEWEST_STEPS} steps make no detector: it will take longer")


def _finish(current: Session, parts: tuple[Part, Part]) -> None:
    """Evaluate the run, draw pictures of what it finds, and write the report, also without pictures."""
    options, out = current.options, current.out
    run, val = out / RUN, out / VAL
    evaluation = evaluate_words(options, run, val)
    current.step("evaluate", evaluation, lines=_without_advice(current))
    images = parts[1].images or parts[1].read().images
    assert images is not None
    failed = None
    try:
        _draw(current, images)
    except FdetError as error:
        failed = error
    page = out / REPORT
    current.step("report", report_words(options, run, val, images, page), product=page)
    if failed is not None:
        raise failed


def _draw(current: Session, folder: Path) -> None:
    """Draw what the run finds in some images for validation. folder: that of the images. Raises FdetError."""
    val, found = _cached_annotations(current, folder), current.out / FOUND
    images = pictured(val.read().annotations, folder)
    if not current.is_done(PREDICTION):
        shutil.rmtree(found, ignore_errors=True)  # An interrupted prediction starts anew.
    if images:
        words = predict_words(current.options, current.out / RUN, val, images, found)
        current.step(PREDICTION, words, product=found)


def _cached_annotations(current: Session, folder: Path) -> Part:
    """Write the annotations that the cache for validation keeps, and return them as a data set.

    Names and sizes in them are those of the files. Raises InputError, CorruptCache, StorageError.
    """
    cache, path = current.out / VAL, current.out / VAL_ANNOTATIONS
    publish_bytes(path, read_annotations(cache, CacheHeader.read(cache)), existing="replace")
    return Part(path, folder, json_format(current.options.format))


def pictured(annotations: Annotations, folder: Path, count: int = PICTURES) -> list[Path]:
    """Return some evenly chosen images that can be read, each with a file name of its own."""
    ids = [image.id for image in annotations.images if (folder / image.file_name).is_file()]
    chosen = choose_images(annotations, ids, count) if ids else []
    return list({Path(image.file_name).name: folder / image.file_name for image in chosen}.values())


def _without_advice(current: Session) -> Lines:
    """Return a function that prints lines up to the advice, which a fit gives once, at its end."""
    ended = False

    def line(text: str) -> None:
        nonlocal ended
        ended = ended or text == HEADING
        if not ended:
            current.say(text)

    return line
