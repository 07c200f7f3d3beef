"""The events that a training run passes to its hooks: lines of metrics.jsonl and detections of evaluations.

A hook is a plain function of an event. An exception that it raises ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...heads.types import Detections


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a run.

    line: the line that metrics.jsonl gets. detections: the detections of an evaluation by image id, in
    image px.
    """

    line: Mapping[str, Any]
    detections: Mapping[int, Detections] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of the event, "train" or "eval"."""
        kind: str = self.line["kind"]
        return kind

    @property
    def step(self) -> int:
        """The number of steps done."""
        step: int = self.line["step"]
        return step


Hook = Callable[[Event], None]
