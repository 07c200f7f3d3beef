"""What the commands' options share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

import typer

from ..cache.errors import printable

Command = TypeVar("Command", bound=Callable[..., None])

# What --masks says.
MASKS = "head.masks=true: Mask R-CNN of faster-rcnn, Cascade Mask R-CNN of cascade-rcnn"


class Checkpoint(StrEnum):
    """Which weights of a run."""

    best = "best"
    last = "last"


def opt(help: str, **more: Any) -> Any:
    """An option of a command: what its help says."""
    return typer.Option(help=help, **more)


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print it. Names of files may be anything: control characters are shown, not sent."""
    typer.echo(printable(text), err=err, nl=nl)


def defaults_of(kind: type[Any]) -> dict[str, Any]:
    """Of a dataclass's fields, so that a command does not say them again."""
    return {f.name: f.default for f in fields(kind) if f.default is not MISSING}


def with_options_of(other: Callable[..., None]) -> Callable[[Command], Command]:
    """For a command that takes all of another one's options as **keywords, before its own."""

    def applied(command: Command) -> Command:
        mine = [p for p in _parameters(command) if p.kind is not inspect.Parameter.VAR_KEYWORD]
        shown = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*_parameters(other), *mine)
        ]
        command.__signature__ = inspect.Signature(shown, return_annotation=None)  # type: ignore[attr-defined]
        return command

    return applied


def _parameters(command: Callable[..., None]) -> list[inspect.Parameter]:
    """Their annotations are types, no strings."""
    hints = get_type_hints(command, include_extras=True)
    given = inspect.signature(command).parameters.values()
    return [p.replace(annotation=hints[p.name]) for p in given]
