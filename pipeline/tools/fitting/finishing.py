"""The steps after training: the evaluation, the pictures and the report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ....cache.errors import FdetError
from ...dataset.annotations import Annotations
from ...pictures.choice import choose_images
from ...runs.inspection import HEADING
from .child import Lines
from .folder import (
    ANNOTATIONS,
    EVALUATION,
    EVALUATION_TRAIN,
    FOUND,
    PREDICTION,
    REPORT,
    RUN,
    TRAIN,
    VAL,
    VAL_ANNOTATIONS,
)
from .parts import Part, json_format
from .session import Session
from .words import PICTURES, annotations_words, evaluate_words, predict_words, report_words

# Of at most so many images for training an evaluation is made. It takes about a thirtieth of a training of
# usual length, which passes each image a dozen times, forward and backward.
EVALUATED_IMAGES = 5_000
# The seconds that a command takes to start, on slow machines too.
START = 10.0


def finish(current: Session, val: Part) -> None:
    """Evaluate the run, draw pictures of what it finds, and write the report, also without pictures.

    Raises FdetError, and KeyboardInterrupt where it was interrupted.
    """
    options, run, cache = current.options, current.out / RUN, current.out / VAL
    if _may_evaluate_training(current):
        _evaluate(current, EVALUATION_TRAIN, TRAIN)
    _evaluate(current, EVALUATION, VAL)
    images = val.images or val.read().images
    assert images is not None
    failed = None
    try:
        _draw(current, images)
    except FdetError as error:
        failed = error
    page = current.out / REPORT
    current.step("report", report_words(options, run, cache, images, page), products=[page])
    if failed is not None:
        raise failed


def _evaluate(current: Session, name: str, cache: str) -> None:
    words = evaluate_words(current.options, current.out / RUN, current.out / cache)
    products = _evaluations(current.out / RUN, Path(cache).stem)
    current.step(name, words, products=products, lines=without_advice(current))


def _may_evaluate_training(current: Session) -> bool:
    """Return whether the training images are evaluated too, which shows whether they were learnt by heart.

    They are not where there are many of them, where a limit of time leaves no room for it, and where an older
    fdet has done what follows.
    """
    done, chosen, time = current.state.done, current.state.chosen, current.options.time
    if EVALUATION_TRAIN in done:
        return True
    if current.is_done(EVALUATION, *_evaluations(current.out / RUN, Path(VAL).stem)):
        return False
    assert chosen is not None
    if chosen.images > EVALUATED_IMAGES:
        return False
    if time is None:
        return True
    seconds = chosen.evaluation * chosen.images / chosen.val_images
    return START + seconds <= time - current.used - chosen.after


def _evaluations(run: Path, name: str) -> Sequence[Path]:
    """Return the files of an evaluation, under another name where the run has one of another cache, too.

    name: that of the cache.
    """
    return sorted(run.glob(f"evaluation-{name}*.json")) or [run / f"evaluation-{name}.json"]


def _draw(current: Session, folder: Path) -> None:
    """Draw what the run finds in some images for validation. folder: that of the images. Raises FdetError."""
    path, found = current.out / VAL_ANNOTATIONS, current.out / FOUND
    if not current.is_done(ANNOTATIONS, path):
        path.unlink(missing_ok=True)
    current.step(ANNOTATIONS, annotations_words(current.out / VAL, path), products=[path])
    val = Part(path, folder, json_format(current.options.format))
    images = pictured(val.read().annotations, folder)
    products = found / "detections.json", found / "pictures"
    if not (found / "prediction.json").exists() and not current.is_done(PREDICTION, *products):
        shutil.rmtree(found, ignore_errors=True)  # An older fdet cannot have finished it.
    if images:
        words = predict_words(current.options, current.out / RUN, val, images, found)
        current.step(PREDICTION, words, products=products)


def pictured(annotations: Annotations, folder: Path, count: int = PICTURES) -> list[Path]:
    """Return some evenly chosen images that can be read, each with a file name of its own."""
    ids = [image.id for image in annotations.images if (folder / image.file_name).is_file()]
    chosen = choose_images(annotations, ids, count) if ids else []
    return list({Path(image.file_name).name: folder / image.file_name for image in chosen}.values())


def without_advice(current: Session) -> Lines:
    """Return a function that prints lines up to the advice, which a fit gives once, at its end."""
    ended = False

    def line(text: str) -> None:
        nonlocal ended
        ended = ended or text == HEADING
        if not ended:
            current.say(text)

    return line
