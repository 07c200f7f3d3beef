"""`fdet dataset check` within a fit: one command for both parts, quick where decoding would take long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .parts import Part, check_words
from .session import Session, StepFailed, finished
from .words import command_text

# The maximum numbers of images that the check decodes, without and with a limit of time.
DECODED, DECODED_IN_TIME = 5_000, 1_000
# The exit status of `fdet dataset check` for errors in the data; a refused command has it too.
ERRORS = 2
CHECK = "check"


def check_parts(current: Session, train: Part, val: Part) -> None:
    """Run `fdet dataset check`, in one command where that is possible. Raises InputError, StepFailed."""
    if current.state.chosen is not None and not current.resumed:
        for name, step in current.state.done.items():
            if name.startswith(CHECK):
                current.say(f"done before: {command_text(step.words)}")
        return
    parts = train, val
    read = [part.read() for part in parts]
    quick = _quick(current, sum(len(data.annotations.images) for data in read))
    if train.images != val.images:
        train, val = (replace(p, images=d.images) for p, d in zip(parts, read, strict=True))
    del read  # They may be large, and the check reads them itself.
    checks = check_words(train, val)
    if len(checks) > 1:
        current.say("check: the parts are checked apart, so images that are in both are not found")
    for k, words in enumerate(checks, start=1):
        _check(current, f"{CHECK} {k}", [*words, *quick])


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
