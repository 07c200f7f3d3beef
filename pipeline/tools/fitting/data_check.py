"""`fdet dataset check` within a fit: one command for both parts, quick where decoding would take long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ....cache.disk.publish import publish_bytes
from ....cache.wording import counted
from ...dataset.data_set import DataSet
from .folder import CHECK, PARTS
from .parts import Part, check_words, json_format
from .session import Session, StepFailed, finished
from .words import command_text

# The maximum numbers of images that the check decodes, without and with a limit of time.
DECODED, DECODED_IN_TIME = 5_000, 1_000
# The exit status of `fdet dataset check` for errors in the data; a refused command has it too.
ERRORS = 2


def check_parts(current: Session, train: Part, val: Part, refuse: Callable[[], None]) -> None:
    """Run one `fdet dataset check`, which finds images that are in both parts.

    refuse: raises InputError for data that are of no use, whatever errors are ignored. Raises InputError,
    StorageError, StepFailed.
    """
    if current.state.chosen is not None and not current.resumed:
        for name, step in current.state.done.items():
            if name.startswith(CHECK):
                current.say(f"done before: {command_text(step.words)}")
        return
    quick = _quick(current, current.inputs.images)
    words = check_words(train, val, _folders(current)) or _words_of_copies(current, train, val)
    _check(current, f"{CHECK} 1", [*words, *quick], refuse)


def _folders(current: Session) -> list[Path]:
    """Return the folders of the images, of both parts or of what they were split from."""
    return [Path(part.folder) for part in current.inputs.parts.values()]


def _words_of_copies(current: Session, train: Part, val: Part) -> list[str]:
    """Write the annotations of both parts as COCO JSON, and return the words that check these.

    One command can name these files, but not every pair of splits. Raises InputError, StorageError.
    """
    copies = []
    for part, name in ((train, "train"), (val, "val")):
        data = part.read()
        for remark in data.annotations.remarks:
            current.say(f"{data.source}: {remark}")
        copies.append(written_part(current, name, part, data, data.raw))
    current.say(
        f"check: {copies[0].path} and {copies[1].path} have both parts, to compare their images"
    )
    words = check_words(copies[0], copies[1], _folders(current))
    assert words is not None
    return words


def written_part(current: Session, name: str, part: Part, data: DataSet, raw: bytes) -> Part:
    """Write a part as COCO JSON, unless it is there, and return the part that this file is.

    data: what the part was read as. Raises StorageError.
    """
    path = current.out / PARTS / f"{name}.json"
    if not (path.is_file() and path.read_bytes() == raw):
        publish_bytes(path, raw, existing="replace")
    return Part(path, data.images, json_format(part.format))


def _quick(current: Session, images: int) -> list[str]:
    """Return the option that reads the headers of the images alone where decoding all would take long."""
    limit = DECODED if current.options.time is None else DECODED_IN_TIME
    if images <= limit:
        return []
    current.say(
        f"check: of {counted(images, 'image')} the headers alone are read (--quick), so damaged files and "
        "files of the same content are not found; `fdet dataset check` without it finds them"
    )
    return ["--quick"]


def _check(current: Session, name: str, words: Sequence[str], refuse: Callable[[], None]) -> None:
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
        refuse()
        text = (
            "the data set has errors (above): correct them and run the same command to continue, or give "
            "--ignore-errors"
        )
        raise StepFailed(text, error.status) from error
    if current.state.done[name].status == ERRORS:
        current.say("warning: the data set has errors (above), which --ignore-errors ignores")
