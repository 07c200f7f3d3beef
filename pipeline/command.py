"""What the commands' options share."""

from __future__ import annotations

from dataclasses import MISSING, fields
from enum import StrEnum
from typing import Any

import typer

# What --masks says.
MASKS = "head.masks=true: Mask R-CNN of faster-rcnn, Cascade Mask R-CNN of cascade-rcnn"


class Checkpoint(StrEnum):
    """Which weights of a run."""

    best = "best"
    last = "last"


def opt(help: str, **more: Any) -> Any:
    """An option of a command: what its help says."""
    return typer.Option(help=help, **more)


def defaults_of(kind: type[Any]) -> dict[str, Any]:
    """Of a dataclass's fields, so that a command does not say them again."""
    return {f.name: f.default for f in fields(kind) if f.default is not MISSING}
