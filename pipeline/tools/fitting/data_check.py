"""`fdet dataset check` within a fit: one command for both parts, quick where decoding would take long."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....cache.disk.publish import publish_bytes
from .folder import TRAIN_ANNOTATIONS, VAL_ANNOTATIONS
from .parts import Part, check_words, json_format
from .session import Session, StepFailed, finished
from .words import command_text

# The maximum numbers of images that the check decodes, without and with a limit of time.
DECODED, DECODED_IN_TIME = 5_000, 1_000
# The exit status of `fdet dataset check` for errors in the data; a refused command has it too.
ERRORS = 2
CHECK = "check"


def check_parts(current: Session, train: Part, val: Part) -> None:
    """Run one `fdet dataset check`, which finds images that are in both parts.

    Raises InputError, StorageError, StepFailed.
    """
    if current.state.chosen is not None and not current.resumed:
        for name, step in current.state.done.items():
            if name.startswith(CHECK):
                current.say(f"done before: {command_text(step.words)}")
        return
    quick = _quick(current, current.inputs.images)
    words = check_words(train, val, _folders(current)) or _words_of_copies(current, train, val)
    _check(current, f"{CHECK} 1", [*words, *quick])


def _folders(current: Session) -> list[Path]:
    """Return the folders of the images, of both parts or of what they were split from."""
    return [Path(part.folder) for part in current.inputs.parts.values()]


def _words_of_copies(current: Session, train: Part, val: Part) -> list[str]:
    """Write the annotations of both parts as COCO JSON, and return the words that check these.

    One command can name these files, but not every pair of splits. Raises InputError, StorageError.
    """
    copies = []
    for part, name in ((train, TRAIN_ANNOTATIONS), (val, VAL_ANNOTATIONS)):
        data = part.read()
        for remark in data.annotations.remarks:
            current.say(f"{data.source}: {remark}")
        publish_bytes(current.out / name, data.raw, existing="replace")
        copies.append(Part(current.out / name, data.images, json_format(part.format)))
    current.say(
        f"check: {copies[0].path} and {copies[1].path} have both parts, to compare their images"
    )
    words = check_words(copies[0], copies[1], _folders(current))
    assert words is not None
    return words


def _quick(current: Session, images: int) -> list[str]:
    """Return the option that reads the headers of the images alone where decoding all would take long."""
    limit = DECODED if current.options.time is None else DECODED_IN_TIME
    if images <= limit:
        return []
    current.say(
        f"check: of {images} images the headers alone are read (--quick), so damaged files and files of the "
        "same content are not found; `fdet dataset check` without it finds them"
    )
    return ["--quick"]


def _check(current: Session, name: str, words: Sequence[str]) -> None:
    """Check data; errors in them end the fit, unless they are to be ignored. Raises StepFailed."""
    findings: list[str] = []  # None are printed where the command itself refused something.

    def line(text: str) -> None:
        findings.append(text)
        current.say(text)

    def accepts(status: int) -> bool:
        ignored = current.options.ignore_errors and status == ERRORS and bool(findings)
        return ignored or finished(status)

    try:
        current.step(name, ["dataset", "check", *words], lines=line, accepts=accepts)
    except StepFailed as error:
        if error.status != ERRORS or not findings:
            raise
        text = (
            "the data set has errors (above): correct them and run the same command to continue, or give "
            "--ignore-errors"
        )
        raise StepFailed(text, error.status) from error
    if current.state.done[name].status == ERRORS:
        current.say("warning: the data set has errors (above), which --ignore-errors ignores")
